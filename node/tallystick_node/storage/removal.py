"""Removes logs with all that hangs on them: of an agent, or of one branch.

Rules of this file:
- One statement for each table, however long the logs: the loop stands still meanwhile.
- What is gathered was written before. The events of an end are not removed, nor the rows of `deletions`.
"""

from __future__ import annotations

from typing import Final

from tallystick_node.storage.sql import Sql

_AGENT: Final = "SELECT number FROM logs WHERE namespace = ? AND agent = ?"
_BRANCH: Final = f"{_AGENT} AND branch = ?"

_STATEMENTS: Final = (
    "DELETE FROM events WHERE position IN (SELECT position FROM checkpoints WHERE log IN ({logs}))",
    "DELETE FROM events WHERE position IN (SELECT fork_position FROM branches WHERE log IN ({logs}))",
    "DELETE FROM events WHERE position IN (SELECT position FROM retention_events WHERE log IN ({logs}))",
    "DELETE FROM events WHERE kind = 1 AND log IN ({logs})",
    "DELETE FROM retention_events WHERE log IN ({logs})",
    "DELETE FROM anchors WHERE log IN ({logs})",
    "DELETE FROM kept_states WHERE log IN ({logs})",
    "DELETE FROM remains WHERE log IN ({logs})",
    "DELETE FROM pins WHERE log IN ({logs})",
    "DELETE FROM checkpoints WHERE log IN ({logs})",
    "DELETE FROM snapshots WHERE log IN ({logs})",
    "DELETE FROM keys WHERE log IN ({logs})",
    "DELETE FROM steps WHERE log IN ({logs})",
    "DELETE FROM turns WHERE log IN ({logs})",
    "DELETE FROM observations WHERE log IN ({logs})",
    "DELETE FROM state_versions WHERE log IN ({logs})",
    "DELETE FROM branches WHERE log IN ({logs})",
    "DELETE FROM logs WHERE number IN ({logs})",
)


def remove_agent(sql: Sql, namespace: str, agent: str) -> None:
    """All logs of an agent."""
    for statement in _STATEMENTS:
        sql.execute(statement.format(logs=_AGENT), (namespace, agent))


def remove_branch(sql: Sql, namespace: str, agent: str, branch: str) -> None:
    """One log of an agent."""
    for statement in _STATEMENTS:
        sql.execute(statement.format(logs=_BRANCH), (namespace, agent, branch))
