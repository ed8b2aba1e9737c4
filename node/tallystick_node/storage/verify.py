"""Looks at all of a database: that SQLite finds it whole, that each row is what was written, that no row is missing.

What a read returns is checked when it is read. A row that an index no longer leads to is not returned, and so not
noticed: only this finds it. It takes a second for some 50 MB, so it is for a database that nobody waits for.
"""

from __future__ import annotations

import hashlib
from contextlib import closing
from typing import Final

from tallystick_node.core.limits import FIRST_WRITER
from tallystick_node.storage.branch_verify import check_branches
from tallystick_node.storage.context_rows import (
    CONTEXT_SELECT,
    DELETION_SELECT,
    VERSION_SELECT,
    WRITERS_SELECT,
    check_content,
    context_of,
    deletion_of,
    version_of,
    writers_of,
)
from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.events import CHECKPOINT_SELECT, EVENT_SELECT, event_of
from tallystick_node.storage.lease_verify import check_leases
from tallystick_node.storage.log_rows import LOG_SELECT, log_of
from tallystick_node.storage.meta import load_members, load_meta
from tallystick_node.storage.observation_verify import check_observations
from tallystick_node.storage.payload_verify import check_payloads
from tallystick_node.storage.registry_verify import check_registry
from tallystick_node.storage.retention_verify import check_retention
from tallystick_node.storage.sql import Sql
from tallystick_node.storage.step_verify import check_steps
from tallystick_node.storage.sums import check_sum
from tallystick_node.storage.team_verify import check_teams

_UNPAIRED: Final = {
    "a context": "SELECT 1 FROM contexts AS c LEFT JOIN bases AS b ON b.guid = c.guid AND b.epoch = c.epoch"
    " LEFT JOIN events AS e ON e.position = c.position AND e.kind = 4 WHERE b.guid IS NULL OR e.kind IS NULL",
    "a base": "SELECT 1 FROM bases AS b LEFT JOIN contexts AS c ON c.guid = b.guid WHERE c.guid IS NULL",
    "a version": "SELECT 1 FROM versions AS v LEFT JOIN contexts AS c ON c.guid = v.guid"
    " LEFT JOIN events AS e ON e.position = v.position AND e.kind = 4 WHERE c.guid IS NULL OR e.kind IS NULL",
    "the deletion of a context": "SELECT 1 FROM context_deletions AS d"
    " LEFT JOIN events AS e ON e.position = d.position AND e.kind = 4 WHERE e.kind IS NULL",
}
"""Rows of contexts whose other half is missing, where there is any."""


def verify(sql: Sql) -> None:
    """Raises DatabaseDamaged where anything is not what was written."""
    found = sql.row("PRAGMA integrity_check(1)")
    if found != ("ok",):
        raise DatabaseDamaged(sql.path, str(found[0]) if found is not None else "SQLite cannot check it")
    load_members(sql)
    _check_events(sql)
    _check_logs(sql)
    _check_others(sql)
    _check_contexts(sql)
    check_leases(sql)
    check_steps(sql)
    check_branches(sql)
    check_teams(sql)
    check_payloads(sql)
    check_observations(sql)
    check_retention(sql)
    check_registry(sql)


def _check_events(sql: Sql) -> None:
    newest = 0
    with closing(sql.each(f"{EVENT_SELECT} ORDER BY e.position")) as rows:
        for row in rows:
            newest = event_of(sql, row).position
    if newest != load_meta(sql).position:
        raise DatabaseDamaged(sql.path, f"it ends with the event at position {newest}, and says another")


def _check_logs(sql: Sql) -> None:
    main_logs = 0
    with closing(sql.each(LOG_SELECT)) as rows:
        for row in rows:
            log = log_of(sql, row).record
            main_logs += log.target.branch == "main"
            head = sql.row("SELECT hash FROM events WHERE kind = 1 AND log = ? AND seq = ?", (log.number, log.seq))
            if log.seq > log.fork_seq and head != (log.hash,):
                raise DatabaseDamaged(sql.path, f"log {log.number}: its record and its last mutation differ")
    if main_logs != load_meta(sql).agents:
        raise DatabaseDamaged(sql.path, f"it holds {main_logs} agents, and says another number")


def _check_others(sql: Sql) -> None:
    unpaired = sql.row(f"{CHECKPOINT_SELECT} WHERE e.kind IS NOT 2 LIMIT 1")
    if unpaired is not None:
        raise DatabaseDamaged(sql.path, f"the checkpoint at position {unpaired[0]} has no event")
    for table in ("keys", "deletions"):
        with closing(sql.each(f"SELECT * FROM {table}")) as rows:  # noqa: S608
            for *columns, stored in rows:
                check_sum(sql.path, f"a row of {table}", stored, *columns)
    with closing(sql.each("SELECT log, seq, hash, digest, sum, state FROM snapshots")) as rows:
        for *columns, stored, state in rows:
            check_sum(sql.path, "a snapshot", stored, *columns)
            if type(state) is not bytes or hashlib.sha256(state).digest() != columns[-1]:
                raise DatabaseDamaged(sql.path, f"log {columns[0]}: the snapshot at seq {columns[1]} is another")


def _check_contexts(sql: Sql) -> None:
    with closing(sql.each(CONTEXT_SELECT)) as rows:
        for row in rows:
            context_of(sql, row)
    with closing(sql.each("SELECT * FROM bases")) as rows:
        for *columns, stored in rows:
            check_sum(sql.path, "the base of a context", stored, *columns)
    with closing(sql.each(DELETION_SELECT)) as rows:
        for row in rows:
            deletion_of(sql, row)
    with closing(sql.each(VERSION_SELECT.replace(" FROM", ", content FROM"))) as rows:
        for *columns, content in rows:
            check_content(sql, version_of(sql, tuple(columns)), content)
    _check_pairs(sql)
    _check_writers(sql)


def _check_pairs(sql: Sql) -> None:
    """Each context has its base, each base and version its context, and each of these its event."""
    for what, query in _UNPAIRED.items():
        if sql.row(f"{query} LIMIT 1") is not None:
            raise DatabaseDamaged(sql.path, f"{what} lacks its other half")


def _check_writers(sql: Sql) -> None:
    expected = FIRST_WRITER
    with closing(sql.each(f"{WRITERS_SELECT} ORDER BY first")) as rows:
        for row in rows:
            first, count, *_ = writers_of(sql, row)
            if first != expected:
                raise DatabaseDamaged(sql.path, f"writers from {expected} on are not there")
            expected += count
    ended = sql.row("SELECT position, seq FROM events WHERE kind = 5 ORDER BY position DESC LIMIT 1")
    last = sql.row("SELECT position, first FROM writers ORDER BY first DESC LIMIT 1")
    if ended != last:
        raise DatabaseDamaged(sql.path, "the last writers that were handed out are not there")
