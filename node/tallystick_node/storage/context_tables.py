"""Core's tables of shared contexts in SQLite. Commands on contexts are rare: each row is written at once.

Rules of this file: a row that a look-up leads to must be the one that was looked for.
"""

from __future__ import annotations

from typing import Final

from tallystick_node.core import limits
from tallystick_node.core.outcomes import ContextRecord, VersionRecord, WritersAllocated
from tallystick_node.core.tables import Deletion
from tallystick_node.storage.context_rows import (
    CONTEXT_SELECT,
    DELETION_SELECT,
    VERSION_SELECT,
    WRITERS_SELECT,
    base_row,
    context_of,
    context_row,
    deletion_of,
    deletion_row,
    version_of,
    version_row,
    writers_of,
    writers_row,
)
from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.sql import Sql
from tallystick_node.storage.sums import check_sum

_CONTEXT_UPSERT: Final = (
    "INSERT INTO contexts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (guid) DO UPDATE SET"
    " epoch = excluded.epoch, seal = excluded.seal, changed_unix_ms = excluded.changed_unix_ms,"
    " position = excluded.position, sum = excluded.sum"
)


class SqlContextTables:
    """An implementation of `tallystick_node.core.tables.ContextTables`."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql

    def context(self, guid: bytes) -> ContextRecord | None:
        """See `ContextTables`."""
        row = self._sql.row(f"{CONTEXT_SELECT} WHERE guid = ?", (guid,))
        if row is None:
            return None
        record = context_of(self._sql, row)
        self._check("a context", record.guid == guid)
        return record

    def named(self, namespace: str, name: str) -> ContextRecord | None:
        """See `ContextTables`."""
        row = self._sql.row(f"{CONTEXT_SELECT} WHERE namespace = ? AND name = ?", (namespace, name))
        if row is None:
            return None
        record = context_of(self._sql, row)
        self._check("a context", (record.namespace, record.name) == (namespace, name))
        return record

    def save(self, record: ContextRecord) -> None:
        """See `ContextTables`."""
        row = context_row(record)
        self._sql.execute(_CONTEXT_UPSERT, row)

    def base(self, guid: bytes) -> bytes:
        """See `ContextTables`."""
        row = self._sql.row("SELECT guid, epoch, base, sum FROM bases WHERE guid = ?", (guid,))
        if row is None:
            raise DatabaseDamaged(self._sql.path, f"context {guid.hex()} lacks its base")
        *columns, stored = row
        check_sum(self._sql.path, "the base of a context", stored, *columns)
        self._check("the base of a context", columns[0] == guid)
        base: bytes = columns[2]
        return base

    def base_of(self, guid: bytes, epoch: int) -> bytes | None:
        """The base of this epoch; None: it is not the present one."""
        row = self._sql.row("SELECT guid, epoch, base, sum FROM bases WHERE guid = ? AND epoch = ?", (guid, epoch))
        if row is None:
            return None
        *columns, stored = row
        check_sum(self._sql.path, "the base of a context", stored, *columns)
        base: bytes = columns[2]
        return base

    def save_base(self, guid: bytes, epoch: int, base: bytes) -> None:
        """See `ContextTables`."""
        self._sql.execute("INSERT OR REPLACE INTO bases VALUES (?, ?, ?, ?)", base_row(guid, epoch, base))

    def delete(self, record: ContextRecord, position: int) -> None:
        """See `ContextTables`."""
        for table in ("contexts", "bases", "versions"):
            self._sql.execute(f"DELETE FROM {table} WHERE guid = ?", (record.guid,))  # noqa: S608
        row = deletion_row(Deletion(position, record.namespace, record.name, record.guid))
        self._sql.execute("INSERT INTO context_deletions VALUES (?, ?, ?, ?, ?)", row)

    def deletion(self, guid: bytes) -> Deletion | None:
        """See `ContextTables`."""
        row = self._sql.row(f"{DELETION_SELECT} WHERE guid = ?", (guid,))
        if row is None:
            return None
        deletion = deletion_of(self._sql, row)
        self._check("the deletion of a context", deletion.guid == guid)
        return deletion

    def newest_deletion(self, namespace: str, name: str) -> Deletion | None:
        """See `ContextTables`."""
        row = self._sql.row(
            f"{DELETION_SELECT} WHERE namespace = ? AND name = ? ORDER BY position DESC LIMIT 1", (namespace, name)
        )
        if row is None:
            return None
        deletion = deletion_of(self._sql, row)
        self._check("the deletion of a context", (deletion.namespace, deletion.name) == (namespace, name))
        return deletion

    def next_writer(self) -> int:
        """See `ContextTables`."""
        row = self._sql.row(f"{WRITERS_SELECT} ORDER BY first DESC LIMIT 1")
        if row is None:
            return limits.FIRST_WRITER
        first, count, *_ = writers_of(self._sql, row)
        return first + count

    def add_writers(self, event: WritersAllocated) -> None:
        """See `ContextTables`."""
        self._sql.execute("INSERT INTO writers VALUES (?, ?, ?, ?, ?, ?)", writers_row(event))

    def version(self, guid: bytes, name: str) -> VersionRecord | None:
        """See `ContextTables`."""
        row = self._sql.row(f"{VERSION_SELECT} WHERE guid = ? AND name = ?", (guid, name))
        if row is None:
            return None
        version = version_of(self._sql, row)
        self._check("a version", (version.guid, version.name) == (guid, name))
        return version

    def add_version(self, version: VersionRecord, content: bytes) -> None:
        """See `ContextTables`."""
        row = version_row(version, content)
        self._sql.execute("INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)

    def _check(self, what: str, is_it: bool) -> None:
        if not is_it:
            raise DatabaseDamaged(self._sql.path, f"looking for {what} leads to another")
