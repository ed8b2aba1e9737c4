"""A replica's store in a file: SQLite, one file for each document, one process at a time.

Rules of this file:
- Every commit is synced (WAL, `synchronous=FULL`). What was added while one commit runs goes into the next together.
- SQLite runs on a thread of its own: the event loop never waits for the disk. What waits for it is bounded: see
  `is_behind`.
- A spare writer id is deleted, and that synced, before it is handed out. A copy of the file hands out none of those in
  it: the original may have, or will (`_place_of`). One restored in its place does, and `reuse` finds out.
- A lock on `<file>.lock` keeps a second process out, and a second replica of this one.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from tallystick.contexts.limits import BACKLOG_BYTES, LOG_BYTES, LOG_UPDATES
from tallystick.contexts.rows import Kept, Level, Row
from tallystick.errors import Conflict, Corrupt, Overloaded, Reason, Unavailable

FORMAT: Final = 1
"""Of the file. A file of another is refused."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spares (writer INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS sent (writer INTEGER PRIMARY KEY);
CREATE TABLE IF NOT EXISTS rows (
  id INTEGER PRIMARY KEY, content BLOB NOT NULL, is_local INTEGER NOT NULL, writer INTEGER NOT NULL,
  epoch INTEGER NOT NULL, time_unix_ms INTEGER NOT NULL, actor TEXT NOT NULL, cause TEXT NOT NULL,
  node_id TEXT NOT NULL, level INTEGER NOT NULL, in_base INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS pending ON rows (id) WHERE is_local AND level < 2;
"""
_ADD: Final = "INSERT OR REPLACE INTO rows VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_LOG: Final = "SELECT * FROM rows WHERE NOT in_base ORDER BY id"
_FORGET_SENT: Final = "DELETE FROM sent WHERE writer NOT IN (SELECT writer FROM rows WHERE is_local AND level < 2)"
_PENDING: Final = "SELECT * FROM rows WHERE is_local AND level < 2 ORDER BY id"

Statement = tuple[str, tuple[object, ...]]
T = TypeVar("T")


class LocalStore:
    """`Store` in a file.

    Args:
        path: the file; its folder is made.
        owner: whose replica of what it is: another owner is refused.
    """

    is_durable = True

    def __init__(self, path: Path, owner: str) -> None:
        self._path, self._owner = path, owner
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tallystick-store")
        self._lock_fd: int | None = None
        self._db: sqlite3.Connection | None = None
        self._waiting: list[Statement] = []
        self._commit: asyncio.Task[None] | None = None
        self._log_bytes = self._log_rows = 0
        self.backlog_bytes = 0

    @property
    def is_long(self) -> bool:
        """See `Store`."""
        return self._log_bytes > LOG_BYTES or self._log_rows > LOG_UPDATES

    @property
    def is_behind(self) -> bool:
        """See `Store`."""
        return self.backlog_bytes > BACKLOG_BYTES

    async def open(self) -> Kept:
        """See `Store`."""
        try:
            return await self._on_thread(self._open)
        except BaseException:
            await self.close()
            raise

    async def history(self) -> Kept:
        """See `Store`."""
        await self.synced()
        return await self._on_thread(self._load)

    async def take_spare(self) -> int | None:
        """See `Store`."""
        return await self._on_thread(self._take_spare)

    async def put_spares(self, writers: Sequence[int]) -> None:
        """See `Store`."""
        self._write([("INSERT OR IGNORE INTO spares VALUES (?)", (writer,)) for writer in writers])
        await self.synced()

    async def spares(self) -> int:
        """See `Store`."""
        return await self._on_thread(lambda: int(self._opened().execute("SELECT count(*) FROM spares").fetchone()[0]))

    async def drop_spares(self) -> None:
        """See `Store`."""
        self._write([("DELETE FROM spares", ())])
        await self.synced()

    def begin_sending(self, writer: int) -> None:
        """See `Store`."""
        self._write([("INSERT OR IGNORE INTO sent VALUES (?)", (writer,))])

    def begin(self, guid: bytes, epoch: int, schema: bytes, base: bytes, pending: Sequence[Row]) -> None:
        """See `Store`."""
        meta = {"guid": guid, "epoch": epoch, "schema": schema, "base": base}
        self._write(
            [
                ("DELETE FROM rows", ()),
                *(("INSERT OR REPLACE INTO meta VALUES (?, ?)", item) for item in meta.items()),
                *((_ADD, (*_values(row), 1)) for row in pending),
            ]
        )
        self._log_bytes = self._log_rows = 0

    def add(self, row: Row) -> None:
        """See `Store`."""
        self._log_bytes += len(row.update)
        self._log_rows += 1
        self.backlog_bytes += len(row.update)
        self._write([(_ADD, (*_values(row), 0))])

    def reached(self, local_id: int, quorum_id: int) -> None:
        """See `Store`."""
        statements: list[Statement] = [
            ("UPDATE rows SET level = 1 WHERE is_local AND level < 1 AND id <= ?", (local_id,)),
            ("DELETE FROM rows WHERE is_local AND level < 2 AND in_base AND id <= ?", (quorum_id,)),
            ("UPDATE rows SET level = 2 WHERE is_local AND level < 2 AND id <= ?", (quorum_id,)),
        ]
        self._write(statements)

    def squash(self, base: bytes) -> None:
        """See `Store`."""
        self._write(
            [
                ("INSERT OR REPLACE INTO meta VALUES (?, ?)", ("base", base)),
                ("DELETE FROM rows WHERE NOT (is_local AND level < 2)", ()),
                ("UPDATE rows SET in_base = 1", ()),
            ]
        )
        self._log_bytes = self._log_rows = 0

    async def synced(self) -> None:
        """See `Store`."""
        while self._waiting or self._commit is not None:
            if self._commit is None:
                self._start()
            if self._commit is not None:
                await asyncio.shield(self._commit)

    async def close(self) -> None:
        """See `Store`."""
        try:
            if self._db is not None:
                await self.synced()
        finally:
            await self._on_thread(self._close)
            self._thread.shutdown(wait=False)

    def _write(self, statements: Sequence[Statement]) -> None:
        self._waiting.extend(statements)
        if self._commit is None:
            self._start()

    def _start(self) -> None:
        self._commit = asyncio.get_running_loop().create_task(self._commit_waiting())
        self._commit.add_done_callback(_seen)

    async def _commit_waiting(self) -> None:
        """Commits all that waits, until nothing does."""
        await asyncio.sleep(0)  # what this turn of the loop adds goes along
        try:
            while self._waiting:
                statements, self._waiting = self._waiting, []
                size_bytes = self.backlog_bytes
                try:
                    await self._on_thread(lambda taken=statements: self._execute(taken))  # type: ignore[misc]
                except BaseException:
                    self._waiting = statements + self._waiting  # in order; tried again with the next
                    raise
                self.backlog_bytes -= size_bytes
        finally:
            self._commit = None

    async def _on_thread(self, function: Callable[[], T]) -> T:
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, function))

    # On the thread.

    def _open(self) -> Kept:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lock()
        try:
            self._db = db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.executescript(_SCHEMA)
            for name, wanted in (("format", FORMAT), ("owner", self._owner)):
                db.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", (name, wanted))
                (found,) = db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
                if found != wanted:
                    raise Conflict(
                        f"{self._path} has the {name} {found!r}, not {wanted!r}", reason=Reason.WRITER_IN_USE
                    )
            self._check_place(db)
            self._execute([(_FORGET_SENT, ())])
            return self._load()
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def _check_place(self, db: sqlite3.Connection) -> None:
        place = _place_of(self._path)
        found = db.execute("SELECT value FROM meta WHERE name = 'place'").fetchone()
        if found != (place,):
            self._execute([("DELETE FROM spares", ()), ("INSERT OR REPLACE INTO meta VALUES ('place', ?)", (place,))])

    def _lock(self) -> None:
        descriptor = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise Conflict(f"{self._path} is open already, here or elsewhere", reason=Reason.WRITER_IN_USE) from error
        self._lock_fd = descriptor

    def _load(self) -> Kept:
        db = self._opened()
        meta = dict(db.execute("SELECT name, value FROM meta").fetchall())
        rows = [_row(line) for line in db.execute(_LOG)]
        pending = [_row(line) for line in db.execute(_PENDING)]
        self._log_rows, self._log_bytes = len(rows), sum(len(row.update) for row in rows)
        return Kept(
            guid=meta.get("guid", b""),
            epoch=meta.get("epoch", 0),
            schema=meta.get("schema", b""),
            base=meta.get("base", b""),
            rows=rows,
            pending=pending,
            sent={writer for (writer,) in db.execute("SELECT writer FROM sent")},
        )

    def _take_spare(self) -> int | None:
        line = self._opened().execute("SELECT min(writer) FROM spares").fetchone()
        if line[0] is None:
            return None
        self._execute([("DELETE FROM spares WHERE writer = ?", (line[0],))])
        return int(line[0])

    def _execute(self, statements: Sequence[Statement]) -> None:
        db = self._opened()
        try:
            db.execute("BEGIN IMMEDIATE")
            try:
                for sql, values in statements:
                    db.execute(sql, values)
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            raise Unavailable(f"{self._path} is closed", reason=Reason.STOPPING)
        return self._db

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def _failure(self, error: sqlite3.Error) -> Corrupt | Overloaded | Unavailable:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return Corrupt(f"{self._path} is damaged: {error}")
        if code == sqlite3.SQLITE_FULL:
            return Overloaded(f"{self._path}: {error}", reason=Reason.DISK_FULL)
        return Unavailable(f"{self._path}: {error}")


def _place_of(path: Path) -> str:
    """Another one for a copy of the file, on this machine or another."""
    return f"{socket.gethostname()}/{path.stat().st_ino}"


def _values(row: Row) -> tuple[object, ...]:
    return (
        row.id,
        row.update,
        row.is_local,
        row.writer,
        row.epoch,
        row.time_unix_ms,
        row.actor,
        row.cause,
        row.node_id,
        int(row.level),
    )


def _row(line: tuple[int, bytes, int, int, int, int, str, str, str, int, int]) -> Row:
    return Row(
        id=line[0],
        update=line[1],
        is_local=bool(line[2]),
        writer=line[3],
        epoch=line[4],
        time_unix_ms=line[5],
        actor=line[6],
        cause=line[7],
        node_id=line[8],
        level=Level(line[9]),
    )


def _seen(task: asyncio.Task[None]) -> None:
    """A failed commit is told to who waits for it, and tried again: it is no unheard exception."""
    if not task.cancelled():
        task.exception()
