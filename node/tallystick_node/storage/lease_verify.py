"""Looks at all that is stored of leases; a part of `verify.py`.

A lease whose row is hidden would begin anew at epoch 1, and an old owner could write again. So the epochs are counted
against the acquisitions among the events.
"""

from __future__ import annotations

from contextlib import closing

from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.lease_rows import LEASE_SELECT, lease_of
from tallystick_node.storage.sql import Sql

_ACQUISITIONS = "SELECT count(*) FROM events WHERE kind = 6 AND substr(body, 1, 3) = x'5B312C'"  # the JSON begins: [1,


def check_leases(sql: Sql) -> None:
    """Raises DatabaseDamaged where a lease is not what was written, or is not there."""
    epochs = held = 0
    with closing(sql.each(LEASE_SELECT)) as rows:
        for row in rows:
            lease = lease_of(sql, row)
            epochs += lease.epoch
            held += lease.is_held
            if sql.row("SELECT kind FROM events WHERE position = ? AND kind = 6", (lease.position,)) is None:
                raise DatabaseDamaged(sql.path, f"the lease of {lease.target} lacks its event")
    if sql.row(_ACQUISITIONS) != (epochs,):
        raise DatabaseDamaged(sql.path, "a lease that was acquired is not there")
    if sql.row("SELECT count(*) FROM leases WHERE change = 1") != (held,):
        raise DatabaseDamaged(sql.path, "a lease that is held is not found by its index")
