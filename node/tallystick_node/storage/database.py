"""The state machine on disk: decided entries in, outcomes and events out.

Rules of this file:
- All of one `apply` is one transaction, applied index and digest included. If it fails, nothing of it happened, not in
  memory either, and the same entries can be applied again.
- A commit is not synced. Until `checkpoint` has synced it, the journal must keep the entries above `durable_index`.
- `apply` and `reads` belong to the thread that opened the database; `checkpoint` runs on any other, one at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, TypeAlias

from tallystick_node.core.chain import extend_digest
from tallystick_node.core.commands import Command
from tallystick_node.core.machine import apply
from tallystick_node.core.outcomes import Applied
from tallystick_node.storage.reads import Reads
from tallystick_node.storage.schema import open_sql
from tallystick_node.storage.sql import DatabaseDamaged, Sql
from tallystick_node.storage.tables import SqlTables

STATE_CACHE_BYTES: Final = 16 * 1024 * 1024
"""Estimated memory of the states kept at hand."""

Entry: TypeAlias = tuple[int, int, Sequence[Command]]
"""Index, term and commands of an entry of the log."""

_BUSY_TIMEOUT_S: Final = 30.0
_CHECKPOINT_BUSY_TIMEOUT_S: Final = 1.0
_TRUNCATE_WAL_BYTES: Final = 64 * 1024 * 1024


class Database:
    """The SQLite state machine of one group.

    Attributes:
        reads: what can be asked of it.
        applied_index, applied_term: the last entry applied; 0 before the first.
        digest: running digest of all that was decided, equal on replicas at one applied index.
    """

    def __init__(self, path: Path, sql: Sql, state_cache_bytes: int) -> None:
        self.path = path
        self._sql = sql
        self._tables = SqlTables(sql, state_cache_bytes=state_cache_bytes)
        self.reads = Reads(sql, self._tables)
        self.applied_index, self.applied_term, self.digest = _load_meta(sql)
        self._durable_index = 0

    @classmethod
    def open(cls, path: Path, *, state_cache_bytes: int = STATE_CACHE_BYTES) -> Database:
        """Open the database, made if it is missing, and sync what a former process left unsynced.

        Raises:
            UnknownFormat: a newer version wrote it.
            DatabaseDamaged: it cannot be read.
            DiskFull: there is no room to make or sync it.
        """
        sql = open_sql(path, busy_timeout_s=_BUSY_TIMEOUT_S)
        opened = False
        try:
            database = cls(path, sql, state_cache_bytes)
            database.checkpoint()
            opened = True
        finally:
            if not opened:
                sql.close()
        return database

    @property
    def position(self) -> int:
        """Position of the newest event; 0 before the first."""
        return self._tables.position

    @property
    def durable_index(self) -> int:
        """The applied index up to which everything is known to be synced."""
        return self._durable_index

    @property
    def replayed_mutations(self) -> int:
        """Mutations replayed to rebuild states, since it was opened."""
        return self._tables.replayed

    @property
    def wal_bytes(self) -> int:
        """Size of the write-ahead log."""
        return _file_size(self._wal_path)

    @property
    def size_bytes(self) -> int:
        """Size of the database with its write-ahead log."""
        return _file_size(self.path) + self.wal_bytes

    def apply(self, entries: Sequence[Entry]) -> list[list[Applied]]:
        """Apply entries in order, each with a higher index than the one before; the outcomes by entry and command.

        Raises:
            ValueError: an entry is not above the applied index.
            DiskFull: no room; nothing happened, try again later.
            DatabaseDamaged: the database cannot be read or written; stop.
        """
        if not entries:
            return []
        committed = False
        self._sql.execute("BEGIN IMMEDIATE")
        try:
            results, digest = self._apply_all(entries)
            index, term, _ = entries[-1]
            self._tables.flush()
            self._sql.execute(
                "UPDATE meta SET applied_index = ?, applied_term = ?, position = ?, digest = ?, last_log = ?,"
                " agents = ?",
                (index, term, self._tables.position, digest, self._tables.last_log, self._tables.agents),
            )
            self._sql.execute("COMMIT")
            committed = True
        finally:
            if not committed:
                self._roll_back()
        self.applied_index, self.applied_term, self.digest = index, term, digest
        return results

    def checkpoint(self) -> None:
        """Sync what was committed and move it from the write-ahead log into the database; raises `durable_index`.

        Raises:
            DiskFull: no room; the write-ahead log keeps everything.
            DatabaseDamaged: the database cannot be read or written; stop.
        """
        with closing(open_sql(self.path, busy_timeout_s=_CHECKPOINT_BUSY_TIMEOUT_S)) as sql:
            applied_index, _, _ = _load_meta(sql)
            moved = _move_wal(sql, "PASSIVE")
            if moved:
                self._durable_index = max(self._durable_index, applied_index)
            if self.wal_bytes > _TRUNCATE_WAL_BYTES:
                # Holds writers back, but only for what came since the line above.
                _move_wal(sql, "TRUNCATE")

    def close(self) -> None:
        """Close the database. `apply` and `reads` must not be used again."""
        self._sql.close()

    @property
    def _wal_path(self) -> Path:
        return self.path.with_name(self.path.name + "-wal")

    def _apply_all(self, entries: Sequence[Entry]) -> tuple[list[list[Applied]], bytes]:
        results: list[list[Applied]] = []
        applied_index, digest = self.applied_index, self.digest
        for index, _, commands in entries:
            if index <= applied_index:
                raise ValueError(f"entry {index} comes after entry {applied_index}")
            applied = [apply(self._tables, command) for command in commands]
            digest = extend_digest(digest, index, applied)
            applied_index = index
            results.append(applied)
        return results, digest

    def _roll_back(self) -> None:
        if self._sql.in_transaction:
            self._sql.execute("ROLLBACK")
        self._tables.reset()


def _load_meta(sql: Sql) -> tuple[int, int, bytes]:
    row = sql.row("SELECT applied_index, applied_term, digest FROM meta")
    if row is None:
        raise DatabaseDamaged(sql.path, "it lacks its first row")
    return row[0], row[1], row[2]


def _move_wal(sql: Sql, mode: str) -> bool:
    """Whether all that was in the write-ahead log when this began is synced in the database."""
    row = sql.row(f"PRAGMA wal_checkpoint({mode})")
    return row is not None and row[0] == 0 and row[1] == row[2]


def _file_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
