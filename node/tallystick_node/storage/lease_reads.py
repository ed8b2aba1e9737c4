"""What can be asked of leases: one, a page of them, those that are held.

Rules of this file: those of `reads.py`.
"""

from __future__ import annotations

from typing import Final

from tallystick_node.core.commands import Target
from tallystick_node.core.outcomes import LeaseRecord
from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.lease_rows import LEASE_SELECT, lease_of
from tallystick_node.storage.lease_tables import SqlLeaseTables
from tallystick_node.storage.pages import AFTER_ANY_NAME, Page
from tallystick_node.storage.sql import Row, Sql

_BEFORE_ANY: Final = Target("", "", "")


class LeaseReads:
    """The reads of leases, over the connection of the thread that applies."""

    def __init__(self, sql: Sql, tables: SqlLeaseTables) -> None:
        self._sql = sql
        self._tables = tables

    @property
    def held_count(self) -> int:
        """Leases that are held now, in all namespaces."""
        return self._tables.held_count

    def lease(self, target: Target) -> LeaseRecord | None:
        """The lease of that log; None: it was never acquired."""
        return self._tables.stored(target)

    def leases(self, namespace: str, prefix: str, after: Target | None, limit: int) -> Page[LeaseRecord]:
        """The leases of a namespace by agent and branch, those of agents with the prefix and after that log."""
        _, agent, branch = after or _BEFORE_ANY
        rows = self._sql.rows(
            f"{LEASE_SELECT} WHERE namespace = ? AND agent >= ? AND agent < ? AND (agent, branch) > (?, ?)"
            " ORDER BY agent, branch LIMIT ?",
            (namespace, prefix, prefix + AFTER_ANY_NAME, agent, branch, limit + 1),
        )
        return self._page(rows, limit)

    def held(self, after: Target | None, limit: int) -> Page[LeaseRecord]:
        """The leases that are held, of all namespaces, by name."""
        rows = self._sql.rows(
            f"{LEASE_SELECT} WHERE change = 1 AND (namespace, agent, branch) > (?, ?, ?)"
            " ORDER BY namespace, agent, branch LIMIT ?",
            (*(after or _BEFORE_ANY), limit + 1),
        )
        page = self._page(rows, limit)
        if not all(record.is_held for record in page.items):
            raise DatabaseDamaged(self._sql.path, "looking for leases that are held leads to another")
        return page

    def _page(self, rows: list[Row], limit: int) -> Page[LeaseRecord]:
        return Page([lease_of(self._sql, row) for row in rows[:limit]], len(rows) > limit)
