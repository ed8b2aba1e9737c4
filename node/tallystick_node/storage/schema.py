"""The tables of the state machine.

Rules of this file:
- `PRAGMA user_version` is the format. A newer one is refused, an older one is brought to this one when it is opened; a
  change of the tables raises it.
- Each row bears a sum of its columns (`sums.py` says what it covers).
- A deleted agent takes its rows with it, and those of its branches, but for the event of its deletion and one row of
  `deletions`. So does a deleted branch, of its own.
- The contents depend on the decided entries alone, not on how they were batched, cached or restarted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tallystick_node.core.chain import START_DIGEST
from tallystick_node.storage.branch_rows import BRANCH_TABLES
from tallystick_node.storage.closing import closed_on_error
from tallystick_node.storage.errors import DatabaseDamaged, UnknownFormat
from tallystick_node.storage.lease_rows import LEASE_TABLES
from tallystick_node.storage.meta import Meta, save_members, save_meta
from tallystick_node.storage.migrations import FORMAT_2, check_tables, from_1_to_2, from_2_to_3, from_3_to_4
from tallystick_node.storage.observation_rows import OBSERVATION_TABLES
from tallystick_node.storage.payload_rows import PAYLOAD_TABLES
from tallystick_node.storage.registry_rows import REGISTRY_TABLES
from tallystick_node.storage.retention_rows import RETENTION_TABLES
from tallystick_node.storage.sql import Sql
from tallystick_node.storage.step_rows import STEP_TABLES
from tallystick_node.storage.team_rows import TEAM_TABLES

FORMAT: Final = 4

MUTATION: Final = 1
"""`events.kind` of a mutation. The partial index wants the number in each statement that uses it."""
CHECKPOINT: Final = 2
DELETION: Final = 3
CONTEXT: Final = 4
"""A change of a context."""
WRITERS: Final = 5
"""Writer ids handed out."""
LEASE: Final = 6
"""A change of a lease."""
FORK: Final = 7
"""A branch began."""
BRANCH_DELETED: Final = 8
TEAM_CHECKPOINT: Final = 10
"""A cut through a team. 9 was never written."""
PAYLOAD: Final = 15
"""Chunks, or a payload, were put."""
PAYLOADS_COLLECTED: Final = 16
TEAM_CHECKPOINT_DELETED: Final = 17
COMPACTED: Final = 11
"""The oldest mutations of a log went."""
PINNED: Final = 12
"""A checkpoint was pinned, or is no longer."""
RETENTION: Final = 14
"""The retention of a namespace was set."""
SCHEMA: Final = 13
"""A schema was registered."""

_PAGE_CACHE_KIB: Final = 8 * 1024

_PRAGMAS: Final = (
    "PRAGMA synchronous = NORMAL",  # a commit is not synced: the journal covers it until a checkpoint syncs
    "PRAGMA wal_autocheckpoint = 0",  # checkpoints run on their own thread
    f"PRAGMA cache_size = -{_PAGE_CACHE_KIB}",
    "PRAGMA cell_size_check = ON",
    "PRAGMA temp_store = MEMORY",
)

_CONTEXT_TABLES: Final = (
    """CREATE TABLE contexts (
        guid BLOB PRIMARY KEY,
        namespace TEXT NOT NULL, name TEXT NOT NULL, epoch INTEGER NOT NULL, seal INTEGER NOT NULL,
        actor TEXT NOT NULL, time_unix_ms INTEGER NOT NULL, changed_unix_ms INTEGER NOT NULL,
        position INTEGER NOT NULL, fingerprint BLOB NOT NULL, schema BLOB NOT NULL, sum INTEGER NOT NULL,
        UNIQUE (namespace, name)) STRICT""",
    """CREATE TABLE bases (
        guid BLOB PRIMARY KEY, epoch INTEGER NOT NULL, base BLOB NOT NULL, sum INTEGER NOT NULL) STRICT""",
    """CREATE TABLE context_deletions (
        position INTEGER PRIMARY KEY,
        namespace TEXT NOT NULL, name TEXT NOT NULL, guid BLOB NOT NULL UNIQUE, sum INTEGER NOT NULL) STRICT""",
    "CREATE INDEX context_deletions_by_name ON context_deletions (namespace, name, position)",
    """CREATE TABLE writers (
        first INTEGER PRIMARY KEY,
        count INTEGER NOT NULL, namespace TEXT NOT NULL, actor TEXT NOT NULL, position INTEGER NOT NULL,
        sum INTEGER NOT NULL) STRICT""",
    """CREATE TABLE versions (
        position INTEGER PRIMARY KEY,
        guid BLOB NOT NULL, name TEXT NOT NULL, epoch INTEGER NOT NULL, cursor BLOB NOT NULL,
        namespace TEXT NOT NULL, agent TEXT NOT NULL, branch TEXT NOT NULL, checkpoint TEXT NOT NULL,
        actor TEXT NOT NULL, time_unix_ms INTEGER NOT NULL, digest BLOB NOT NULL, size_bytes INTEGER NOT NULL,
        content BLOB NOT NULL, sum INTEGER NOT NULL,
        UNIQUE (guid, name)) STRICT""",
)

FORMAT_3: Final = (*FORMAT_2, *_CONTEXT_TABLES)
"""The tables of format 3."""

_NEW_TABLES: Final = (
    *LEASE_TABLES,
    *STEP_TABLES,
    *BRANCH_TABLES,
    *TEAM_TABLES,
    *PAYLOAD_TABLES,
    *OBSERVATION_TABLES,
    *RETENTION_TABLES,
    *REGISTRY_TABLES,
)
"""What format 4 has besides."""

_TABLES: Final = (*FORMAT_3, *_NEW_TABLES)


def open_sql(path: Path, *, busy_timeout_s: float) -> Sql:
    """Connect to a database, making its tables if it is new.

    Raises:
        UnknownFormat: a newer version wrote it.
        DatabaseDamaged: it is no database of ours.
        DiskFull: there is no room to make it.
    """
    with closed_on_error(Sql(path, busy_timeout_s=busy_timeout_s)) as sql:
        prepare(sql)
        return sql


def open_frozen(path: Path) -> Sql:
    """Connect to a database of this format that nobody changes, to read it; leaves nothing beside it.

    Raises:
        UnknownFormat: another version wrote it.
        DatabaseDamaged: it is no database of ours.
    """
    with closed_on_error(Sql(path, busy_timeout_s=0, is_frozen=True)) as sql:
        found = sql.format
        if found != FORMAT:
            raise UnknownFormat(f"{path} has format {found}, and this version takes only copies of format {FORMAT}")
        check_tables(sql, _TABLES)
        return sql


def prepare(sql: Sql) -> None:
    """Make a connection just opened ready for use, as `open_sql` does; raises as it does."""
    found = sql.format
    if found > FORMAT:
        raise UnknownFormat(f"{sql.path} has format {found}, this version reads up to {FORMAT}")
    sql.set_up(_PRAGMAS)
    if found < FORMAT:
        sql.execute("BEGIN IMMEDIATE")
        _make(sql, sql.format)
        sql.execute(f"PRAGMA user_version = {FORMAT}")
        sql.execute("COMMIT")
    check_tables(sql, _TABLES)


def _make(sql: Sql, found: int) -> None:
    """Make the tables, or those of an older format into these. Another connection may have done it meanwhile."""
    if found == 1:
        from_1_to_2(sql)
    if found in {1, 2}:
        from_2_to_3(sql, _CONTEXT_TABLES)
    if found in {1, 2, 3}:
        from_3_to_4(sql, FORMAT_3, _NEW_TABLES)
    elif found == 0:
        if sql.row("SELECT name FROM sqlite_schema LIMIT 1") is not None:
            raise DatabaseDamaged(sql.path, "it has tables but no format")
        for statement in _TABLES:
            sql.execute(statement)
        save_meta(sql, Meta(0, 0, 0, START_DIGEST, 0, 0))
        save_members(sql, None)
