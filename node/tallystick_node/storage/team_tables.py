"""What core asks of cuts through teams, and the pages of them, in SQLite. Each row is written at once: they are few.

Their events are gathered like all others, and flushed before one is looked for or removed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from tallystick_node.core import limits
from tallystick_node.core.outcomes import TeamCheckpointDeleted, TeamCheckpointRecord
from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.events import EVENT_SELECT, event_of
from tallystick_node.storage.pages import Page, take_page
from tallystick_node.storage.sql import MAX_INTEGER, Sql
from tallystick_node.storage.team_rows import (
    CUT_INSERT,
    TEAM_INSERT,
    TEAM_SELECT,
    cut_rows,
    team_checkpoint_bytes,
    team_checkpoint_of,
    team_row,
)


class SqlTeamTables:
    """An implementation of `tallystick_node.core.tables.TeamTables`."""

    def __init__(self, sql: Sql, flush: Callable[[], None]) -> None:
        self._sql = sql
        self._flush = flush

    def checkpoint(self, namespace: str, name: str) -> TeamCheckpointRecord | None:
        """See `TeamTables`."""
        row = self._sql.row(f"{TEAM_SELECT} WHERE namespace = ? AND name = ?", (namespace, name))
        if row is None:
            return None
        record = team_checkpoint_of(self._sql, row)
        if (record.namespace, record.name) != (namespace, name):
            raise DatabaseDamaged(self._sql.path, "looking for a team's checkpoint leads to another")
        return record

    def add(self, record: TeamCheckpointRecord) -> None:
        """See `TeamTables`."""
        self._sql.execute(TEAM_INSERT, team_row(record))
        self._sql.execute_many(CUT_INSERT, cut_rows(record))

    def delete(self, record: TeamCheckpointRecord) -> None:
        """See `TeamTables`."""
        self._flush()
        self._sql.execute("DELETE FROM team_checkpoints WHERE position = ?", (record.position,))
        self._sql.execute("DELETE FROM cut_points WHERE position = ?", (record.position,))
        self._sql.execute("DELETE FROM events WHERE position = ?", (record.position,))

    def deletion(self, taken: int) -> TeamCheckpointDeleted | None:
        """See `TeamTables`."""
        self._flush()
        row = self._sql.row(f"{EVENT_SELECT} WHERE e.kind = 17 AND e.seq = ?", (taken,))
        event = event_of(self._sql, row) if row is not None else None
        if event is None or (isinstance(event, TeamCheckpointDeleted) and event.taken == taken):
            return event
        raise DatabaseDamaged(self._sql.path, "looking for the deletion of a cut leads to another event")

    def checkpoints(self, namespace: str, after_position: int, limit: int) -> Page[TeamCheckpointRecord]:
        """The cuts of a namespace after a position, oldest first."""
        rows = self._sql.each(
            f"{TEAM_SELECT} WHERE namespace = ? AND position > ? ORDER BY position LIMIT ?",
            (namespace, min(after_position, MAX_INTEGER), limit + 1),
        )
        with closing(rows):
            records = (team_checkpoint_of(self._sql, row) for row in rows)
            page = take_page(records, limit, limits.PAGE_BYTES, team_checkpoint_bytes)
        before = after_position
        for record in page.items:
            if record.namespace != namespace or record.position <= before:
                raise DatabaseDamaged(self._sql.path, "looking for teams' checkpoints leads to others")
            before = record.position
        return page
