"""The tables of `contexts.db`.

Rules of this file:
- `PRAGMA user_version` is the format. A newer one is refused; a change of the tables raises it.
- Each commit is synced: what was answered is on disk.
- Each row bears a sum of its other columns. A row that is not what was written makes one document damaged; what SQLite
  itself cannot read makes all of them so.
- A *life* is a document in one epoch, since it last began to be held here. Its number is never used again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tallystick_node.storage.closing import closed_on_error
from tallystick_node.storage.errors import DatabaseDamaged, UnknownFormat
from tallystick_node.storage.sql import Sql

FORMAT: Final = 1
FILE_NAME: Final = "contexts.db"

_LOOK_AT_ALL_BYTES: Final = 16 * 1024 * 1024
"""A database up to this size is looked at as a whole when it is opened."""
_PAGE_CACHE_KIB: Final = 8 * 1024
_BUSY_TIMEOUT_S: Final = 5.0

_PRAGMAS: Final = (
    "PRAGMA synchronous = FULL",
    f"PRAGMA cache_size = -{_PAGE_CACHE_KIB}",
    "PRAGMA cell_size_check = ON",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA wal_autocheckpoint = 4000",
    "PRAGMA journal_size_limit = 67108864",
)

_LOG_TABLE: Final = """CREATE TABLE log (
        id INTEGER PRIMARY KEY CHECK (id = 1), name BLOB NOT NULL, opening BLOB NOT NULL,
        sum INTEGER NOT NULL) STRICT"""
"""See `naming`."""

_TABLES: Final = (
    _LOG_TABLE,
    # floor: numbers of what begins to be held from now on lie above it, so that none is given twice.
    "CREATE TABLE meta (id INTEGER PRIMARY KEY CHECK (id = 1), floor INTEGER NOT NULL, sum INTEGER NOT NULL) STRICT",
    """CREATE TABLE documents (
        life INTEGER PRIMARY KEY AUTOINCREMENT, guid BLOB NOT NULL UNIQUE, epoch INTEGER NOT NULL,
        bucket INTEGER NOT NULL, number INTEGER NOT NULL, base_number INTEGER NOT NULL, log_bytes INTEGER NOT NULL,
        merged_unix_ms INTEGER NOT NULL, digest BLOB, sum INTEGER NOT NULL) STRICT""",
    "CREATE INDEX documents_by_bucket ON documents (bucket, guid)",
    "CREATE INDEX documents_stale ON documents (life) WHERE digest IS NULL",
    # place: life * 2**32 + number
    """CREATE TABLE updates (
        place INTEGER PRIMARY KEY, actor TEXT NOT NULL, merged_unix_ms INTEGER NOT NULL,
        edit BLOB NOT NULL, data BLOB, sum INTEGER NOT NULL) STRICT""",
    "CREATE TABLE states (place INTEGER PRIMARY KEY, state BLOB NOT NULL, sum INTEGER NOT NULL) STRICT",
    """CREATE TABLE epochs (
        life INTEGER PRIMARY KEY, old_state BLOB NOT NULL, base BLOB NOT NULL, sum INTEGER NOT NULL) STRICT""",
    """CREATE TABLE carried (
        life INTEGER NOT NULL, writer INTEGER NOT NULL, turn INTEGER NOT NULL,
        old_update BLOB NOT NULL, new_update BLOB NOT NULL, sum INTEGER NOT NULL,
        PRIMARY KEY (life, writer, turn)) STRICT""",
    # place: of the edit that came second; a second writer of 0: it only deleted
    """CREATE TABLE overlaps (
        place INTEGER NOT NULL, turn INTEGER NOT NULL, kind TEXT NOT NULL, first_number INTEGER NOT NULL,
        first_writer INTEGER NOT NULL, first_clock INTEGER NOT NULL, second_writer INTEGER NOT NULL,
        second_clock INTEGER NOT NULL, sum INTEGER NOT NULL, PRIMARY KEY (place, turn)) STRICT""",
)


def open_sql(folder: Path) -> Sql:
    """Connects to the database of a folder, making it if it is not there.

    Raises:
        UnknownFormat: a newer version wrote it.
        DatabaseDamaged: it is no database of ours, or what SQLite finds damaged.
        DiskFull: there is no room to make it.
    """
    path = folder / FILE_NAME
    with closed_on_error(Sql(path, busy_timeout_s=_BUSY_TIMEOUT_S)) as sql:
        _prepare(sql)
        if path.stat().st_size <= _LOOK_AT_ALL_BYTES and sql.rows("PRAGMA quick_check(1)") != [("ok",)]:
            raise DatabaseDamaged(path, "SQLite's own look at it failed")
        return sql


def _prepare(sql: Sql) -> None:
    found = sql.format
    if found > FORMAT:
        raise UnknownFormat(f"{sql.path} has format {found}, this version reads up to {FORMAT}")
    sql.set_up(_PRAGMAS)
    if found == 0:
        if sql.row("SELECT name FROM sqlite_schema LIMIT 1") is not None:
            raise DatabaseDamaged(sql.path, "it has tables but no format")
        sql.execute("BEGIN IMMEDIATE")
        for statement in _TABLES:
            sql.execute(statement)
        sql.execute(f"PRAGMA user_version = {FORMAT}")
        sql.execute("COMMIT")
    known = {row[0] for row in sql.rows("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")}
    if found and _LOG_TABLE not in known:  # databases of format 1 were made without it
        sql.execute(_LOG_TABLE)
        known.add(_LOG_TABLE)
    if not known.issuperset(_TABLES):
        raise DatabaseDamaged(sql.path, "its tables are not those of its format")
