"""Core's table of leases in SQLite, read through a cache, for each append looks here, and written behind.

Rules of this file:
- Nothing is read past the gathered rows: a look-up by name looks among them first, any other flushes them.
- After a failed transaction `reset` forgets all that is in memory.
- A row that a look-up leads to must be the one that was looked for.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from tallystick_node.core.commands import Target
from tallystick_node.core.outcomes import LeaseRecord
from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.lease_rows import LEASE_SELECT, LEASE_UPSERT, lease_of, lease_row
from tallystick_node.storage.sql import Sql

LEASES_KEPT: Final = 16_384
"""Names whose lease, or that they never had one, is known without looking; those asked for longest ago go first."""


class SqlLeaseTables:
    """An implementation of `tallystick_node.core.tables.LeaseTables`.

    Attributes:
        held_count: leases that are held now.
    """

    held_count: int

    def __init__(self, sql: Sql) -> None:
        self._sql = sql
        self._known: OrderedDict[Target, LeaseRecord | None] = OrderedDict()
        self._gathered: dict[Target, LeaseRecord] = {}

    def reset(self) -> None:
        """Forget what is in memory and begin with what the database holds."""
        self._known.clear()
        self._gathered.clear()
        row = self._sql.row("SELECT count(*) FROM leases WHERE change = 1")
        self.held_count = int(row[0]) if row is not None else 0

    def flush(self) -> None:
        """Write the rows that gathered."""
        if self._gathered:
            self._sql.execute_many(LEASE_UPSERT, [lease_row(record) for record in self._gathered.values()])
            self._gathered.clear()

    def lease(self, target: Target) -> LeaseRecord | None:
        """See `LeaseTables`."""
        try:
            record = self._known[target]
        except KeyError:
            record = self._gathered.get(target) or self.stored(target)
            self._keep(target, record)
        else:
            self._known.move_to_end(target)
        return record

    def stored(self, target: Target) -> LeaseRecord | None:
        """The lease as the database has it: for reads, which push nothing out of the cache."""
        row = self._sql.row(f"{LEASE_SELECT} WHERE namespace = ? AND agent = ? AND branch = ?", tuple(target))
        if row is None:
            return None
        record = lease_of(self._sql, row)
        if record.target != target:
            raise DatabaseDamaged(self._sql.path, f"looking for the lease of {target} leads to {record.target}")
        return record

    def held_of_agent(self, namespace: str, agent: str) -> Sequence[LeaseRecord]:
        """See `LeaseTables`."""
        self.flush()
        rows = self._sql.rows(
            f"{LEASE_SELECT} WHERE change = 1 AND namespace = ? AND agent = ? ORDER BY branch", (namespace, agent)
        )
        return [lease_of(self._sql, row) for row in rows]

    def save(self, record: LeaseRecord) -> None:
        """See `LeaseTables`."""
        before = self.lease(record.target)
        self.held_count += record.is_held - (before is not None and before.is_held)
        self._gathered[record.target] = record
        self._keep(record.target, record)

    def _keep(self, target: Target, record: LeaseRecord | None) -> None:
        self._known[target] = record
        self._known.move_to_end(target)
        if len(self._known) > LEASES_KEPT:
            self._known.popitem(last=False)
