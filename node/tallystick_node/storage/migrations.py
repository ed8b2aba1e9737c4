"""Brings the database of an older build to the format of this one, in one transaction.

Rules of this file:
- A step goes from one format to the next. It knows the tables of the older one by their statements, and refuses others.
- What the disk has no room for, or a crash cuts short, has not happened.
"""

from __future__ import annotations

from typing import Final

from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.meta import save_members
from tallystick_node.storage.sql import Sql
from tallystick_node.storage.sums import Column, event_sum, names_of, row_sum

FORMAT_1: Final = (
    """CREATE TABLE meta (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        applied_index INTEGER NOT NULL, applied_term INTEGER NOT NULL,
        position INTEGER NOT NULL, digest BLOB NOT NULL,
        last_log INTEGER NOT NULL, agents INTEGER NOT NULL) STRICT""",
    """CREATE TABLE logs (
        number INTEGER PRIMARY KEY,
        namespace TEXT NOT NULL, agent TEXT NOT NULL, branch TEXT NOT NULL,
        seq INTEGER NOT NULL, hash BLOB NOT NULL, time_unix_ms INTEGER NOT NULL, position INTEGER NOT NULL,
        checkpoint TEXT NOT NULL, log_bytes INTEGER NOT NULL, state_bytes INTEGER NOT NULL,
        first_key INTEGER NOT NULL, next_key INTEGER NOT NULL,
        newest_seq INTEGER NOT NULL, newest_cost INTEGER NOT NULL,
        kept_seq INTEGER NOT NULL, kept_cost INTEGER NOT NULL,
        UNIQUE (namespace, agent, branch)) STRICT""",
    """CREATE TABLE events (
        position INTEGER PRIMARY KEY,
        log INTEGER NOT NULL, kind INTEGER NOT NULL, seq INTEGER NOT NULL, time_unix_ms INTEGER NOT NULL,
        actor TEXT NOT NULL, hash BLOB NOT NULL, body BLOB NOT NULL) STRICT""",
    "CREATE UNIQUE INDEX mutations ON events (log, seq) WHERE kind = 1",
    """CREATE TABLE checkpoints (
        position INTEGER PRIMARY KEY,
        log INTEGER NOT NULL, seq INTEGER NOT NULL, name TEXT NOT NULL, step INTEGER NOT NULL,
        metadata BLOB NOT NULL, pending_calls BLOB NOT NULL, state_digest BLOB NOT NULL,
        UNIQUE (log, name)) STRICT""",
    "CREATE INDEX checkpoints_by_seq ON checkpoints (log, seq, position)",
    "CREATE INDEX checkpoints_by_position ON checkpoints (log, position)",
    """CREATE TABLE deletions (
        position INTEGER PRIMARY KEY,
        namespace TEXT NOT NULL, agent TEXT NOT NULL, branch TEXT NOT NULL, key TEXT, fingerprint BLOB) STRICT""",
    "CREATE INDEX deletions_by_key ON deletions (namespace, agent, key) WHERE key IS NOT NULL",
    """CREATE TABLE keys (
        log INTEGER NOT NULL, key TEXT NOT NULL, number INTEGER NOT NULL,
        fingerprint BLOB NOT NULL, position INTEGER NOT NULL, mutations INTEGER NOT NULL,
        PRIMARY KEY (log, key)) STRICT, WITHOUT ROWID""",
    """CREATE TABLE snapshots (
        log INTEGER NOT NULL, seq INTEGER NOT NULL, hash BLOB NOT NULL, digest BLOB NOT NULL, state BLOB NOT NULL,
        UNIQUE (log, seq)) STRICT""",
)

FORMAT_2: Final = (
    """CREATE TABLE meta (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        applied_index INTEGER NOT NULL, applied_term INTEGER NOT NULL,
        position INTEGER NOT NULL, digest BLOB NOT NULL,
        last_log INTEGER NOT NULL, agents INTEGER NOT NULL, sum INTEGER NOT NULL) STRICT""",
    """CREATE TABLE members (
        id INTEGER PRIMARY KEY CHECK (id = 1), members BLOB, sum INTEGER NOT NULL) STRICT""",
    """CREATE TABLE logs (
        number INTEGER PRIMARY KEY,
        namespace TEXT NOT NULL, agent TEXT NOT NULL, branch TEXT NOT NULL,
        seq INTEGER NOT NULL, hash BLOB NOT NULL, time_unix_ms INTEGER NOT NULL, position INTEGER NOT NULL,
        checkpoint TEXT NOT NULL, log_bytes INTEGER NOT NULL, state_bytes INTEGER NOT NULL,
        first_key INTEGER NOT NULL, next_key INTEGER NOT NULL,
        newest_seq INTEGER NOT NULL, newest_cost INTEGER NOT NULL,
        kept_seq INTEGER NOT NULL, kept_cost INTEGER NOT NULL, sum INTEGER NOT NULL,
        UNIQUE (namespace, agent, branch)) STRICT""",
    """CREATE TABLE events (
        position INTEGER PRIMARY KEY,
        log INTEGER NOT NULL, kind INTEGER NOT NULL, seq INTEGER NOT NULL, time_unix_ms INTEGER NOT NULL,
        actor TEXT NOT NULL, hash BLOB NOT NULL, body BLOB NOT NULL, sum INTEGER NOT NULL) STRICT""",
    "CREATE UNIQUE INDEX mutations ON events (log, seq) WHERE kind = 1",
    """CREATE TABLE checkpoints (
        position INTEGER PRIMARY KEY,
        log INTEGER NOT NULL, seq INTEGER NOT NULL, name TEXT NOT NULL, step INTEGER NOT NULL,
        metadata BLOB NOT NULL, pending_calls BLOB NOT NULL, state_digest BLOB NOT NULL,
        sum INTEGER NOT NULL,
        UNIQUE (log, name)) STRICT""",
    "CREATE INDEX checkpoints_by_seq ON checkpoints (log, seq, position)",
    "CREATE INDEX checkpoints_by_position ON checkpoints (log, position)",
    """CREATE TABLE deletions (
        position INTEGER PRIMARY KEY,
        namespace TEXT NOT NULL, agent TEXT NOT NULL, branch TEXT NOT NULL, key TEXT, fingerprint BLOB,
        sum INTEGER NOT NULL) STRICT""",
    "CREATE INDEX deletions_by_key ON deletions (namespace, agent, key) WHERE key IS NOT NULL",
    """CREATE TABLE keys (
        log INTEGER NOT NULL, key TEXT NOT NULL, number INTEGER NOT NULL,
        fingerprint BLOB NOT NULL, position INTEGER NOT NULL, mutations INTEGER NOT NULL,
        sum INTEGER NOT NULL,
        PRIMARY KEY (log, key)) STRICT, WITHOUT ROWID""",
    """CREATE TABLE snapshots (
        log INTEGER NOT NULL, seq INTEGER NOT NULL, hash BLOB NOT NULL, digest BLOB NOT NULL, state BLOB NOT NULL,
        sum INTEGER NOT NULL,
        UNIQUE (log, seq)) STRICT""",
)
"""Those of format 3 that are not of contexts, too."""

_INDEXES_1: Final = ("mutations", "checkpoints_by_seq", "checkpoints_by_position", "deletions_by_key")

_COPIES_1: Final = {
    "meta": "SELECT *, row_sum(id, applied_index, applied_term, position, digest, last_log, agents) FROM old_meta",
    "logs": "SELECT *, row_sum(number, namespace, agent, branch, seq, hash, time_unix_ms, position, checkpoint,"
    " log_bytes, state_bytes, first_key, next_key, newest_seq, newest_cost, kept_seq, kept_cost) FROM old_logs",
    "events": "SELECT e.*, event_sum(e.position, e.log, e.kind, e.seq, e.time_unix_ms, e.hash, e.body, e.actor,"
    " coalesce(d.namespace, l.namespace), coalesce(d.agent, l.agent), coalesce(d.branch, l.branch))"
    " FROM old_events AS e LEFT JOIN old_logs AS l ON l.number = e.log"
    " LEFT JOIN old_deletions AS d ON d.position = e.position",
    "checkpoints": "SELECT c.*, row_sum(c.position, c.log, c.seq, c.name, c.step, c.metadata, c.pending_calls,"
    " c.state_digest, e.time_unix_ms, e.actor, e.hash)"
    " FROM old_checkpoints AS c LEFT JOIN old_events AS e ON e.position = c.position",
    "deletions": "SELECT *, row_sum(position, namespace, agent, branch, key, fingerprint) FROM old_deletions",
    "keys": "SELECT *, row_sum(log, key, number, fingerprint, position, mutations) FROM old_keys",
    "snapshots": "SELECT *, row_sum(log, seq, hash, digest) FROM old_snapshots",
}
"""The rows of each table of format 2, from those of format 1: each with its sum."""


def check_tables(sql: Sql, statements: tuple[str, ...]) -> None:
    """Raises DatabaseDamaged where the tables are not those."""
    found = [row[0] for row in sql.rows("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")]
    if len(found) != len(statements) or set(found) != set(statements):
        raise DatabaseDamaged(sql.path, "its tables are not those of its format")


def from_1_to_2(sql: Sql) -> None:
    """Each row gets a sum, and the members a table. Within a transaction.

    Raises:
        DatabaseDamaged: it does not have the tables of format 1, or cannot be read.
        DiskFull: there is no room for the old rows and the new ones.
    """
    check_tables(sql, FORMAT_1)
    sql.add_function("row_sum", row_sum)
    sql.add_function("event_sum", _event_sum)
    for index in _INDEXES_1:
        sql.execute(f"DROP INDEX {index}")
    for table in _COPIES_1:
        sql.execute(f"ALTER TABLE {table} RENAME TO old_{table}")
    for statement in FORMAT_2:
        sql.execute(statement)
    for table, select in _COPIES_1.items():
        sql.execute(f"INSERT INTO {table} {select}")
    for table in _COPIES_1:
        sql.execute(f"DROP TABLE old_{table}")
    save_members(sql, None)


def from_2_to_3(sql: Sql, statements: tuple[str, ...]) -> None:
    """Contexts get their tables, which `statements` make. Within a transaction.

    Raises:
        DatabaseDamaged: it does not have the tables of format 2.
        DiskFull: there is no room.
    """
    check_tables(sql, FORMAT_2)
    for statement in statements:
        sql.execute(statement)


def from_3_to_4(sql: Sql, older: tuple[str, ...], statements: tuple[str, ...]) -> None:
    """What agents need of their history gets its tables, which `statements` make. Within a transaction.

    Raises:
        DatabaseDamaged: it does not have the tables of format 3, which are `older`.
        DiskFull: there is no room.
    """
    check_tables(sql, older)
    for statement in statements:
        sql.execute(statement)


def _event_sum(
    position: int, log: int, kind: int, seq: int, time_unix_ms: int, hash_: bytes, body: bytes, *names: Column
) -> int:
    return event_sum(position, log, kind, seq, time_unix_ms, hash_, body, names_of(*names))
