"""How far the database is, and who the members are: the two rows that there is one of."""

from __future__ import annotations

from typing import Final, NamedTuple

from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.sql import Sql
from tallystick_node.storage.sums import check_sum, row_sum

_ID: Final = 1


class Meta(NamedTuple):
    """The last entry applied and what it led to."""

    applied_index: int
    applied_term: int
    position: int
    digest: bytes
    last_log: int
    agents: int


def load_meta(sql: Sql) -> Meta:
    """Raises DatabaseDamaged where it is missing or not what was written."""
    row = sql.row("SELECT * FROM meta WHERE id = 1")
    if row is None:
        raise DatabaseDamaged(sql.path, "it lacks its first row")
    *columns, stored = row
    check_sum(sql.path, "how far it is", stored, *columns)
    return Meta(*columns[1:])


def save_meta(sql: Sql, meta: Meta) -> None:
    """Within the transaction that it speaks of."""
    sql.execute("INSERT OR REPLACE INTO meta VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (_ID, *meta, row_sum(_ID, *meta)))


def load_members(sql: Sql) -> bytes | None:
    """The members as the last entry that carried any has them; None before the first. Raises as `load_meta`."""
    row = sql.row("SELECT members, sum FROM members WHERE id = 1")
    if row is None:
        raise DatabaseDamaged(sql.path, "it lacks the row of its members")
    members: bytes | None
    members, stored = row
    check_sum(sql.path, "the row of its members", stored, _ID, members)
    return members


def save_members(sql: Sql, members: bytes | None) -> None:
    """Within the transaction of the entry that carries them, or that makes the tables."""
    sql.execute("INSERT OR REPLACE INTO members VALUES (?, ?, ?)", (_ID, members, row_sum(_ID, members)))
