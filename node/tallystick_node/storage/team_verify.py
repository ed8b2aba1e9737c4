"""Looks at all cuts through teams of a database: that each is what was written, and has its event, and the event it."""

from __future__ import annotations

from contextlib import closing
from typing import Final

from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.sql import Sql
from tallystick_node.storage.team_rows import TEAM_SELECT, cut_rows, team_checkpoint_of

_UNPAIRED: Final = {
    "a team's checkpoint": "SELECT 1 FROM team_checkpoints AS t LEFT JOIN events AS e"
    " ON e.position = t.position AND e.kind = 10 AND e.hash = t.hash WHERE e.kind IS NULL LIMIT 1",
    "the event of a team's checkpoint": "SELECT 1 FROM events AS e LEFT JOIN team_checkpoints AS t"
    " ON t.position = e.position WHERE e.kind = 10 AND t.position IS NULL LIMIT 1",
}
"""Rows whose other half is missing, where there is any."""

_CUT_POINT: Final = (
    "SELECT 1 FROM cut_points WHERE namespace = ? AND agent = ? AND branch = ? AND seq = ? AND position = ?"
    " AND hash = ? AND sum = ?"
)


def check_teams(sql: Sql) -> None:
    """Raises DatabaseDamaged where anything is not what was written."""
    with closing(sql.each(TEAM_SELECT)) as rows:
        for row in rows:
            for cut in cut_rows(team_checkpoint_of(sql, row)):
                if sql.row(_CUT_POINT, cut) is None:
                    raise DatabaseDamaged(sql.path, "a team's checkpoint binds a log that it is not found by")
    for what, query in _UNPAIRED.items():
        if sql.row(query) is not None:
            raise DatabaseDamaged(sql.path, f"{what} lacks its other half")
