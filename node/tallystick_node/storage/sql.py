"""One SQLite connection, and what its errors mean.

Rules of this file:
- No room is `DiskFull`; what SQLite finds damaged, and what it cannot read or write, is `DatabaseDamaged`; anything
  else is a bug and stays sqlite3's own error.
- A statement that returns rows is read to its end at once or closed: an open one would hold back WAL checkpoints.
- Transactions are begun and ended by name; sqlite3 begins none by itself.
"""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, Final, TypeAlias

from tallystick_node.storage.errors import DatabaseDamaged, DiskFull

Row: TypeAlias = tuple[Any, ...]
"""A row as sqlite3 gives it; the tables are STRICT, so its types are the schema's."""

Value: TypeAlias = int | str | bytes | None

MAX_INTEGER: Final = 2**63 - 1
"""The largest integer that a column holds."""

_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FORMAT})
_DAMAGE_SENTENCES: Final = frozenset({"unsupported file format"})
"""What SQLite says of a damaged header with the code of a wrong statement."""
_PRIMARY_CODE: Final = 0xFF
_FAILURES: Final = (sqlite3.Error, UnicodeDecodeError)


class Sql:
    """A connection, for the thread that made it."""

    def __init__(self, path: Path, *, busy_timeout_s: float, is_frozen: bool = False) -> None:
        """`is_frozen`: nobody changes the file, so it is only read, and no other file is made beside it."""
        self.path = path
        self._busy_timeout_s = busy_timeout_s
        self._uri = path.absolute().as_uri() + ("?mode=ro&immutable=1" if is_frozen else "")
        self._connection = self._connect()

    def reopen(self) -> None:
        """After `close`: connect again, to whatever file bears the name now."""
        self._connection = self._connect()

    def _connect(self) -> sqlite3.Connection:
        try:
            return sqlite3.connect(self._uri, timeout=self._busy_timeout_s, isolation_level=None, uri=True)
        except _FAILURES as error:
            raise self._translate(error) from error

    @property
    def format(self) -> int:
        """Which tables it has, as who made them says; 0: it has none yet."""
        row = self.row("PRAGMA user_version")
        if row is None:
            raise DatabaseDamaged(self.path, "it has no format")
        return int(row[0])

    def set_up(self, pragmas: Iterable[str]) -> None:
        """Writes to a WAL from now on, and as these say."""
        mode = self.row("PRAGMA journal_mode = WAL")
        if mode != ("wal",):
            raise DatabaseDamaged(self.path, f"the journal mode is {mode}, not WAL")
        for pragma in pragmas:
            self.execute(pragma)

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction was begun and not ended."""
        return self._connection.in_transaction

    def execute(self, statement: str, values: tuple[Value, ...] = ()) -> None:
        """Run a statement that returns nothing."""
        try:
            self._connection.execute(statement, values).close()
        except _FAILURES as error:
            raise self._translate(error) from error

    def execute_many(self, statement: str, rows: Iterable[tuple[Value, ...]]) -> None:
        """Run a statement for each row of values."""
        try:
            self._connection.executemany(statement, rows).close()
        except _FAILURES as error:
            raise self._translate(error) from error

    def rows(self, statement: str, values: tuple[Value, ...] = ()) -> list[Row]:
        """All rows; the statement must bound their number."""
        try:
            return self._connection.execute(statement, values).fetchall()
        except _FAILURES as error:
            raise self._translate(error) from error

    def row(self, statement: str, values: tuple[Value, ...] = ()) -> Row | None:
        """The only row, or none."""
        rows = self.rows(statement, values)
        return rows[0] if rows else None

    def each(self, statement: str, values: tuple[Value, ...] = ()) -> Generator[Row, None, None]:
        """The rows one by one. Read it to its end, or close it."""
        try:
            cursor = self._connection.execute(statement, values)
            try:
                yield from cursor
            finally:
                cursor.close()
        except _FAILURES as error:
            raise self._translate(error) from error

    def copy_to(self, target: Path, step_pages: int, between: Callable[[], None]) -> None:
        """Write all that this connection sees into a new file, calling `between` the steps; syncs nothing.

        Raises:
            what `between` raises: then, and after any other error, the file is not whole.
        """
        try:
            with closing(sqlite3.connect(target, isolation_level=None)) as copy:
                # The caller syncs the file, and removes it where this fails: so SQLite need not be able to undo.
                copy.execute("PRAGMA journal_mode = OFF").close()
                copy.execute("PRAGMA synchronous = OFF").close()
                self._connection.backup(copy, pages=step_pages, progress=lambda *_: between())
        except _FAILURES as error:
            raise self._translate(error) from error

    def add_function(self, name: str, function: Callable[..., int]) -> None:
        """Let statements of this connection call a pure function."""
        self._connection.create_function(name, -1, function, deterministic=True)

    def close(self) -> None:
        """Close the connection; the last one of a database also moves its WAL home."""
        try:
            self._connection.close()
        except _FAILURES as error:
            raise self._translate(error) from error

    def _translate(self, error: Exception) -> Exception:
        code: int | None = getattr(error, "sqlite_errorcode", None)
        if code is None:
            # The module itself met text, of a row or of an error, that is not UTF-8.
            unreadable = isinstance(error, (sqlite3.OperationalError, UnicodeDecodeError))
            return DatabaseDamaged(self.path, str(error)) if unreadable else error
        if code & _PRIMARY_CODE == sqlite3.SQLITE_FULL or code == sqlite3.SQLITE_IOERR_SHMSIZE:
            return DiskFull(errno.ENOSPC, "no room for the database", str(self.path))
        if code & _PRIMARY_CODE in _DAMAGE or str(error) in _DAMAGE_SENTENCES:
            return DatabaseDamaged(self.path, f"{error} [SQLite error {code}]")
        return error
