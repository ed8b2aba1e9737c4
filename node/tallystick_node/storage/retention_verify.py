"""Looks at all that is stored of retention; a part of `verify.py`.

What is kept of a compacted log must lead on from its anchor, and what was answered before must still be answered: a
remembered key whose event is not there would stop the node at the next retry.
"""

from __future__ import annotations

from contextlib import closing
from typing import Final

from tallystick_node.core.chain import hash_mutation
from tallystick_node.storage.compacting import newest_gone
from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.events import MUTATION_SELECT, REMAINS_SELECT, event_of
from tallystick_node.storage.lineage import log_numbered
from tallystick_node.storage.retention_rows import KEPT_SELECT, anchor_of, kept_of, retention_of
from tallystick_node.storage.sql import Sql
from tallystick_node.storage.sums import check_sum

_UNPAIRED: Final = {
    "an anchor": "SELECT 1 FROM anchors AS a LEFT JOIN kept_states AS k ON k.log = a.log AND k.seq = a.seq"
    " AND k.hash = a.hash AND k.digest = a.digest AND k.position = a.position"
    " LEFT JOIN logs AS l ON l.number = a.log WHERE k.seq IS NULL OR l.number IS NULL",
    "the compaction of an anchor": "SELECT 1 FROM anchors AS a LEFT JOIN events AS e ON e.position ="
    " a.compacted_position AND e.log = a.log AND e.kind IN (7, 11) WHERE e.kind IS NULL",
    "a kept state": "SELECT 1 FROM kept_states AS k LEFT JOIN anchors AS a ON a.log = k.log WHERE a.log IS NULL",
    "a pin": "SELECT 1 FROM pins AS p LEFT JOIN checkpoints AS c ON c.position = p.checkpoint AND c.log = p.log"
    " LEFT JOIN events AS e ON e.position = p.position AND e.kind = 12 WHERE c.log IS NULL OR e.kind IS NULL",
    "a pinned checkpoint's state": "SELECT 1 FROM pins AS p JOIN checkpoints AS c ON c.position = p.checkpoint"
    " JOIN anchors AS a ON a.log = c.log AND a.seq > c.seq LEFT JOIN kept_states AS k ON k.log = c.log"
    " AND k.seq = c.seq AND k.digest = c.state_digest WHERE k.seq IS NULL",
    "the event of a compaction or a pin": "SELECT 1 FROM events AS e LEFT JOIN retention_events AS r"
    " ON r.position = e.position AND r.log = e.log WHERE e.kind IN (11, 12) AND r.position IS NULL",
    "a row of retention_events": "SELECT 1 FROM retention_events AS r LEFT JOIN events AS e ON e.position = r.position"
    " WHERE e.kind IS NULL",
    "a remembered key": "SELECT 1 FROM keys AS k LEFT JOIN events AS e ON e.position = k.position"
    " LEFT JOIN remains AS r ON r.position = k.position WHERE e.kind IS NULL AND r.kind IS NULL",
    "what a cut binds": "SELECT 1 FROM cut_points AS p LEFT JOIN team_checkpoints AS t ON t.position = p.position"
    " WHERE t.name IS NULL",
    "a mutation behind its anchor": "SELECT 1 FROM anchors AS a JOIN events AS e ON e.kind = 1 AND e.log = a.log"
    " AND e.seq <= a.seq",
}
"""Rows whose other half is missing, or that should not be there, where there is any."""


def check_retention(sql: Sql) -> None:
    """Raises DatabaseDamaged where anything is not what was written."""
    for what, query in _UNPAIRED.items():
        if sql.row(f"{query} LIMIT 1") is not None:
            raise DatabaseDamaged(sql.path, f"{what} is not there, or lacks its other half")
    with closing(sql.each("SELECT * FROM retention")) as rows:
        for row in rows:
            retention_of(sql, row)
    with closing(sql.each(KEPT_SELECT)) as rows:
        for row in rows:
            kept_of(sql, row)
    with closing(sql.each(REMAINS_SELECT)) as rows:
        for row in rows:
            event_of(sql, row)
    for table in ("pins", "retention_events", "cut_points"):
        with closing(sql.each(f"SELECT * FROM {table}")) as rows:  # noqa: S608
            for *columns, stored in rows:
                check_sum(sql.path, f"a row of {table}", stored, *columns)
    _check_anchors(sql)


def _check_anchors(sql: Sql) -> None:
    with closing(sql.each("SELECT * FROM anchors")) as rows:
        for row in rows:
            number, anchor = anchor_of(sql, row)
            log = log_numbered(sql, number)
            if anchor.mutations and newest_gone(sql, log.target.namespace) < anchor.point.position:
                raise DatabaseDamaged(sql.path, f"log {number}: that its mutations went is not known")
            following = sql.row(f"{MUTATION_SELECT} AND log = ? AND seq = ?", (number, anchor.point.seq + 1))
            if following is None:
                if log.seq != anchor.point.seq:
                    raise DatabaseDamaged(sql.path, f"log {number} lacks the mutation that follows its anchor")
                continue
            _, _, _, seq, time_unix_ms, actor, hash_, raw, _ = following
            if hash_mutation(anchor.point.hash, seq, time_unix_ms, actor.encode(), raw) != hash_:
                raise DatabaseDamaged(sql.path, f"log {number}: the hash chain breaks behind its anchor")
