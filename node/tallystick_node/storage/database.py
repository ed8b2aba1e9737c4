"""The state machine on disk: decided entries in, outcomes and events out.

Rules of this file:
- All of one `apply` is one transaction, applied index and digest included. If it fails, nothing of it happened, not in
  memory either, and the same entries can be applied again.
- A commit is not synced. Until `checkpoint` has synced it, the journal must keep the entries above `durable_index`.
- `apply`, `adopt` and `reads` belong to the thread that opened the database; `checkpoint` and `export` run on others,
  one each at a time, with connections of their own.
- While the file is replaced there is no connection: one closed later would remove the new file's write-ahead log.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final, TypeAlias

from tallystick_node.core.chain import extend_digest
from tallystick_node.core.commands import Command
from tallystick_node.core.machine import apply
from tallystick_node.core.outcomes import Applied
from tallystick_node.storage.closing import closed_on_error
from tallystick_node.storage.export import ExportStopped, SnapshotFile, export
from tallystick_node.storage.meta import Meta, load_members, load_meta, save_members, save_meta
from tallystick_node.storage.others import Others
from tallystick_node.storage.reads import Reads
from tallystick_node.storage.recent_digests import RecentDigests
from tallystick_node.storage.schema import open_sql, prepare
from tallystick_node.storage.sql import Sql
from tallystick_node.storage.tables import SqlTables
from tallystick_node.storage.verify import verify

STATE_CACHE_BYTES: Final = 16 * 1024 * 1024
"""Estimated memory of the states kept at hand."""

CHECKED_WHEN_OPENED_BYTES: Final = 16 * 1024 * 1024
"""A database of at most this size is looked at whole when it is opened; of a larger one, what is read."""

Entry: TypeAlias = tuple[int, int, Sequence[Command], bytes | None]
"""Index, term and commands of an entry of the log, and the members from it on, if it changes them."""

_BUSY_TIMEOUT_S: Final = 30.0
_CHECKPOINT_BUSY_TIMEOUT_S: Final = 1.0
_TRUNCATE_WAL_BYTES: Final = 64 * 1024 * 1024


class Database:
    """The SQLite state machine of one group.

    Attributes:
        reads: what can be asked of it.
        applied_index, applied_term: the last entry applied; 0 before the first.
        digest: running digest of all that was decided, equal on replicas at one applied index.
        members: what the last entry that changed the members said; None before the first.
    """

    applied_index: int
    applied_term: int
    digest: bytes
    members: bytes | None

    def __init__(self, path: Path, sql: Sql, state_cache_bytes: int) -> None:
        self.path = path
        self._sql = sql
        self._tables = SqlTables(sql, state_cache_bytes=state_cache_bytes)
        self.reads = Reads(sql, self._tables)
        self._digests = RecentDigests()
        self._others = Others()
        self._exporting = threading.Lock()
        self._durable_index = 0
        self._load()

    @classmethod
    def open(
        cls, path: Path, *, state_cache_bytes: int = STATE_CACHE_BYTES, checked_bytes: int = CHECKED_WHEN_OPENED_BYTES
    ) -> Database:
        """Open the database, made if it is missing, and sync what a former process left unsynced.

        Raises:
            UnknownFormat: a newer version wrote it.
            DatabaseDamaged: it cannot be read.
            DiskFull: there is no room to make or sync it.
        """
        with closed_on_error(open_sql(path, busy_timeout_s=_BUSY_TIMEOUT_S)) as sql:
            database = cls(path, sql, state_cache_bytes)
            if database.size_bytes <= checked_bytes:
                verify(sql)
            database.checkpoint()
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
            results, digests = self._apply_all(entries)
            index, term, _, _ = entries[-1]
            tables = self._tables
            tables.flush()
            save_meta(self._sql, Meta(index, term, tables.position, digests[-1], tables.last_log, tables.agents))
            members = self._save_members(entries)
            self._sql.execute("COMMIT")
            committed = True
        finally:
            if not committed:
                self._roll_back()
        self.applied_index, self.applied_term, self.digest, self.members = index, term, digests[-1], members
        for entry, digest in zip(entries, digests, strict=True):
            self._digests.put(entry[0], digest)
        return results

    def digest_at(self, index: int) -> bytes | None:
        """The running digest after the entry at `index`; None where it is not kept, as after a restart."""
        return self._digests.at(index)

    def checkpoint(self) -> None:
        """Sync what was committed and move it from the write-ahead log into the database; raises `durable_index`.

        Does nothing between `hold_off` and `adopt`, and less while an export is under way.

        Raises:
            DiskFull: no room; the write-ahead log keeps everything.
            DatabaseDamaged: the database cannot be read or written; stop.
        """
        with self._others.at_work() as may_work:
            if may_work:
                self._checkpoint()

    def export(self, target: Path) -> SnapshotFile:
        """Copy the database as it is now into a file, on disk when this returns; `apply` goes on meanwhile.

        Raises:
            ExportStopped: `hold_off` came first or meanwhile.
            DiskFull: there is no room for it.
            DatabaseDamaged: the database cannot be read.
        """
        with self._others.at_work() as may_work, self._exporting:
            if not may_work:
                raise ExportStopped(f"{self.path} is about to be replaced")
            with closing(open_sql(self.path, busy_timeout_s=_CHECKPOINT_BUSY_TIMEOUT_S)) as sql:
                return export(sql, target, lambda: self._others.is_held_off)

    def hold_off(self) -> None:
        """Stop an export and wait for the end of a checkpoint; none begins until `adopt` or `resume`.

        On any thread: so that `adopt`, which does the same, need not wait on the event loop's.
        """
        self._others.hold_off()

    def resume(self) -> None:
        """Take `hold_off` back."""
        self._others.resume()

    def adopt(self, move: Callable[[], None]) -> None:
        """Let `move` put another file in place of this one, and go on with that: `reads` stays the same object.

        The new file's index should be higher than the applied one; nothing else here relies on it.

        Raises:
            Whatever `move` raises, and what `open` does: the database is closed then.
        """
        self.hold_off()
        self._sql.close()
        move()
        self._sql.reopen()
        with closed_on_error(self._sql):
            prepare(self._sql)
            self._durable_index = 0
            self._tables.reset()
            self._load()
        self.resume()
        self.checkpoint()

    def close(self) -> None:
        """Close the database. `apply` and `reads` must not be used again."""
        self._sql.close()

    @property
    def _wal_path(self) -> Path:
        return self.path.with_name(self.path.name + "-wal")

    def _load(self) -> None:
        meta = load_meta(self._sql)
        self.applied_index, self.applied_term, self.digest = meta.applied_index, meta.applied_term, meta.digest
        self.members = load_members(self._sql)
        self._digests.begin_with(self.applied_index, self.digest)

    def _checkpoint(self) -> None:
        with closing(open_sql(self.path, busy_timeout_s=_CHECKPOINT_BUSY_TIMEOUT_S)) as sql:
            applied_index = load_meta(sql).applied_index
            if _move_wal(sql, "PASSIVE"):
                self._durable_index = max(self._durable_index, applied_index)
            if self.wal_bytes > _TRUNCATE_WAL_BYTES and self._exporting.acquire(blocking=False):
                try:
                    # Holds writers back, but only for what came since the lines above: no export reads meanwhile.
                    _move_wal(sql, "TRUNCATE")
                finally:
                    self._exporting.release()

    def _save_members(self, entries: Sequence[Entry]) -> bytes | None:
        changes = [members for _, _, _, members in entries if members is not None]
        if not changes:
            return self.members
        save_members(self._sql, changes[-1])
        return changes[-1]

    def _apply_all(self, entries: Sequence[Entry]) -> tuple[list[list[Applied]], list[bytes]]:
        """The outcomes, and the digest after each entry."""
        results: list[list[Applied]] = []
        digests: list[bytes] = []
        applied_index, digest = self.applied_index, self.digest
        for index, _, commands, _ in entries:
            if index <= applied_index:
                raise ValueError(f"entry {index} comes after entry {applied_index}")
            applied = [apply(self._tables, command) for command in commands]
            digest = extend_digest(digest, index, applied)
            applied_index = index
            results.append(applied)
            digests.append(digest)
        return results, digests

    def _roll_back(self) -> None:
        if self._sql.in_transaction:
            self._sql.execute("ROLLBACK")
        self._tables.reset()


def _move_wal(sql: Sql, mode: str) -> bool:
    """Whether all that was in the write-ahead log when this began is synced in the database."""
    row = sql.row(f"PRAGMA wal_checkpoint({mode})")
    return row is not None and row[0] == 0 and row[1] == row[2]


def _file_size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
