"""An outbox in a file: SQLite, one process at a time.

Rules of this file:
- What a method wrote is on disk when it returns (WAL, `synchronous=FULL`), all of it or nothing.
- Every row bears a checksum of its columns.
- A second process is kept out by SQLite's exclusive lock, which dies with its holder.
- It is used by one thread at a time; `outbox.py` says which.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError

from tallystick import _convert
from tallystick._values import Mutation
from tallystick.errors import Conflict, Corrupt, Invalid, Overloaded, QuotaExceeded, Reason
from tallystick.outbox.entries import Base, Entry, Fate
from tallystick.v1 import state_pb2

FORMAT: Final = 1
"""Of the file. Another one is refused."""

MAX_ENTRIES: Final = 100_000
"""Entries that an outbox holds, refused ones among them."""

MAX_BYTES: Final = 256 * 1024 * 1024
"""Bytes that they take together."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entries (
  number INTEGER PRIMARY KEY, mutations BLOB NOT NULL, key TEXT NOT NULL, attempt BLOB NOT NULL,
  fate TEXT NOT NULL, seq INTEGER NOT NULL, branch TEXT NOT NULL, reason TEXT NOT NULL,
  made_offline INTEGER NOT NULL, sum INTEGER NOT NULL
);
"""
_SELECT: Final = "SELECT number, mutations, key, attempt, fate, seq, branch, reason, made_offline, sum FROM entries"
_SUM_BYTES: Final = 4
_NEW: Final = {
    "base_seq": b"0",
    "base_state": b"",
    "last_number": b"0",
    "offline": b"0",
    "report": b"",
    "round_after": b"0",
    "settling": b"",
}
"""What a new file says. All of it is always there: a name that is missing is damage."""


class OutboxFile:
    """The file of one agent's outbox.

    Args:
        path: the file; its folder is made.
        owner: whose it is, namespace, agent and branch in one: another owner is refused.
    """

    def __init__(self, path: Path, owner: str) -> None:
        self._path, self._owner = path, owner
        self._db: sqlite3.Connection | None = None
        self._sizes: dict[int, int] = {}
        self._held_bytes = 0

    def open(self, new_id: bytes) -> bytes:
        """Opens it, made if it is missing; the id it has for good, which is `new_id` if it is new.

        Raises:
            Conflict: another process has it open.
            Invalid: it is another agent's, or of another format.
            Corrupt: it is damaged.
            Overloaded: the disk is full.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._told():
            db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=0)
            self._db = db
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            if db.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                raise Corrupt(f"the outbox {self._path} is damaged", metadata={"path": str(self._path)})
            with self._transaction():
                for statement in _SCHEMA.split(";"):
                    db.execute(statement)
                if db.execute("SELECT 1 FROM meta LIMIT 1").fetchone() is None:
                    known = {"format": str(FORMAT).encode(), "owner": self._owner.encode(), "id": new_id}
                    self._put(_NEW | known)
        self._check_owner()
        self._sizes = {entry.number: entry.size_bytes for entry in self.entries()}
        self._held_bytes = sum(self._sizes.values())
        return self._get("id")

    def close(self) -> None:
        """Lets go of the file."""
        if self._db is not None:
            self._db.close()
            self._db = None

    def base(self) -> Base | None:
        """What the entries build on; None before it was ever set."""
        state = self._get("base_state")
        return Base(int(self._get("base_seq")), state) if state else None

    def begin_round(self, base: Base, forget: Sequence[int] = (), report: bytes = b"") -> None:
        """From now on entries build on this base. Those that are settled and decided are forgotten.

        With a report the agent is online again: it is what a reconciliation ends with.
        """
        with self._told(), self._transaction():
            first = self._get("last_number")
            self._put({"base_seq": str(base.seq).encode(), "base_state": base.state_json, "settling": b""})
            self._put({"round_after": first, **({"report": report, "offline": b"0"} if report else {})})
            self._delete(forget)
        self._forget(forget)

    def round_after(self) -> int:
        """The number of the last entry that does not build on the base."""
        return int(self._get("round_after"))

    def report(self) -> bytes:
        """What the last round was told to keep of itself; b"" before the first."""
        return self._get("report")

    def settling(self) -> str:
        """How a round that others interfered with is being settled: "rebase", "branch:<name>"; "" if none is."""
        return self._get("settling").decode()

    def begin_settling(self, how: str) -> None:
        """From now on the round is settled so, whatever happens to this process."""
        with self._told(), self._transaction():
            self._put({"settling": how.encode()})

    def is_offline(self) -> bool:
        """Whether the agent was offline by choice when it was last heard of."""
        return self._get("offline") == b"1"

    def set_offline(self, *, offline: bool) -> None:
        """Remembers the choice."""
        with self._told(), self._transaction():
            self._put({"offline": b"1" if offline else b"0"})

    def add(self, mutations: tuple[Mutation, ...], key: str, *, made_offline: bool) -> Entry:
        """Keeps mutations that were made, to be decided later.

        Raises:
            QuotaExceeded: the outbox is full.
            Overloaded: the disk is.
        """
        held = _encoded(mutations)
        self._check_room(len(held))
        with self._told(), self._transaction():
            number = int(self._get("last_number")) + 1
            self._put({"last_number": str(number).encode()})
            entry = Entry(number, mutations, key, made_offline=made_offline, size_bytes=len(held))
            self._opened().execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", _row(entry, held))
        self._sizes[number] = len(held)
        self._held_bytes += len(held)
        return entry

    def update(self, entry: Entry) -> None:
        """What is known of an entry now."""
        row = _row(entry, _encoded(entry.mutations))
        with self._told(), self._transaction():
            self._opened().execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def remove(self, numbers: Sequence[int]) -> None:
        """Forgets entries."""
        with self._told(), self._transaction():
            self._delete(numbers)
        self._forget(numbers)

    def entries(self) -> list[Entry]:
        """All entries, in their order.

        Raises:
            Corrupt: one of them cannot be read.
        """
        with self._told():
            return [_entry(row) for row in self._opened().execute(f"{_SELECT} ORDER BY number")]

    def _check_owner(self) -> None:
        owner, found = self._get("owner").decode(), self._get("format").decode()
        if found != str(FORMAT):
            raise Invalid(f"the outbox {self._path} has format {found}, this client knows {FORMAT}")
        if owner != self._owner:
            raise Invalid(f"the outbox {self._path} is that of {owner}, not of {self._owner}")

    def _check_room(self, size_bytes: int) -> None:
        if len(self._sizes) >= MAX_ENTRIES or self._held_bytes + size_bytes > MAX_BYTES:
            raise QuotaExceeded(
                f"the outbox holds {len(self._sizes)} entries, {self._held_bytes} bytes:"
                " reconcile, or discard what was refused",
                reason=Reason.STATE_QUOTA,
                metadata={"limit": str(MAX_ENTRIES), "limit_bytes": str(MAX_BYTES)},
            )

    def _delete(self, numbers: Sequence[int]) -> None:
        self._opened().executemany("DELETE FROM entries WHERE number = ?", [(number,) for number in numbers])

    def _forget(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self._held_bytes -= self._sizes.pop(number, 0)

    def _get(self, name: str) -> bytes:
        with self._told():
            row = self._opened().execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        if row is None:
            raise Corrupt(f"the outbox {self._path} is damaged: {name} is missing")
        value, stored = bytes(row[0][:-_SUM_BYTES]), bytes(row[0][-_SUM_BYTES:])
        if _sum(name.encode(), value).to_bytes(_SUM_BYTES, "big") != stored:
            raise Corrupt(f"the outbox {self._path} is damaged: {name} is not what was written")
        return value

    def _put(self, values: dict[str, bytes]) -> None:
        self._opened().executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", _meta_rows(values))

    def _opened(self) -> sqlite3.Connection:
        if self._db is None:
            raise Invalid("the outbox is closed")
        return self._db

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        db = self._opened()
        db.execute("BEGIN IMMEDIATE")
        try:
            yield
            db.execute("COMMIT")
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What SQLite says, as our errors."""
        try:
            yield
        except sqlite3.OperationalError as error:
            code: int = getattr(error, "sqlite_errorcode", 0) & 0xFF  # text that is no UTF-8 comes without one
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise Conflict(f"another has the outbox {self._path} open", reason=Reason.WRITER_IN_USE) from error
            if code == sqlite3.SQLITE_FULL:
                raise Overloaded(f"no room for the outbox {self._path}", reason=Reason.DISK_FULL) from error
            raise Corrupt(f"the outbox {self._path} cannot be used: {error}") from error
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # damaged names stand in SQLite's messages
            raise Corrupt(f"the outbox {self._path} is damaged: {error}") from error


def _encoded(mutations: tuple[Mutation, ...]) -> bytes:
    """As the request that would carry them, which is a message that can be read back."""
    return state_pb2.AppendRequest(mutations=map(_convert.mutation_message, mutations)).SerializeToString()


def _row(entry: Entry, held: bytes) -> tuple[object, ...]:
    known = (entry.attempt, str(entry.fate), entry.seq, entry.branch, entry.reason, int(entry.made_offline))
    row = (entry.number, held, entry.key, *known)
    return *row, _sum(*(repr(column).encode() for column in row))


def _meta_rows(values: dict[str, bytes]) -> list[tuple[str, bytes]]:
    return [(name, value + _sum(name.encode(), value).to_bytes(_SUM_BYTES, "big")) for name, value in values.items()]


def _sum(*parts: bytes) -> int:
    """CRC-32: SQLite checks the form of its pages, not what is in them."""
    running = 0
    for part in parts:
        running = zlib.crc32(part, zlib.crc32(len(part).to_bytes(8, "big"), running))
    return running


def _entry(row: tuple[int, bytes, str, bytes, str, int, str, str, int, int]) -> Entry:
    number, held, key, attempt, fate, seq, branch, reason, offline, stored = row
    if _sum(*(repr(column).encode() for column in row[:-1])) != stored:
        raise Corrupt(f"entry {number} of the outbox is not what was written")
    try:
        mutations = tuple(map(_convert.mutation, state_pb2.AppendRequest.FromString(held).mutations))
        return Entry(number, mutations, key, attempt, Fate(fate), seq, branch, reason, bool(offline), len(held))
    except (DecodeError, ValueError) as error:
        raise Corrupt(f"entry {number} of the outbox cannot be read: {error}") from error
