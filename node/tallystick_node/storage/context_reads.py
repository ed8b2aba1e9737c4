"""Reads of what is decided of shared contexts.

Rules of this file: those of `reads.py`. What does not exist is None here: only who asks knows by what name.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from itertools import pairwise
from typing import NamedTuple, TypeVar

from tallystick_node.core import limits
from tallystick_node.core.outcomes import ContextRecord, VersionRecord
from tallystick_node.storage.context_rows import (
    CONTEXT_SELECT,
    VERSION_SELECT,
    WRITERS_SELECT,
    check_content,
    context_of,
    version_of,
    writers_of,
)
from tallystick_node.storage.context_tables import SqlContextTables
from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.pages import AFTER_ANY_NAME, Page, take_page
from tallystick_node.storage.sql import Row, Sql

Key = TypeVar("Key", str, bytes)


class Owner(NamedTuple):
    """Whose a writer id is."""

    namespace: str
    actor: str


class ContextReads:
    """The reads, over the connection of the thread that applies."""

    def __init__(self, sql: Sql, tables: SqlContextTables) -> None:
        self._sql = sql
        self._tables = tables

    def context(self, guid: bytes) -> ContextRecord | None:
        """A document by its guid."""
        return self._tables.context(guid)

    def named(self, namespace: str, name: str) -> ContextRecord | None:
        """The document that has the name."""
        return self._tables.named(namespace, name)

    def contexts(self, namespace: str, prefix: str, after: str, limit: int) -> Page[ContextRecord]:
        """Those of a namespace by name, with the prefix and after the name."""
        rows = self._sql.each(
            f"{CONTEXT_SELECT} WHERE namespace = ? AND name >= ? AND name < ? AND name > ? ORDER BY name LIMIT ?",
            (namespace, prefix, prefix + AFTER_ANY_NAME, after, limit + 1),
        )
        page = self._contexts(rows, limit)
        self._check_order([after, *(record.name for record in page.items)])
        return page

    def documents(self, after_guid: bytes, limit: int) -> Page[ContextRecord]:
        """Those of all namespaces by guid, after a guid (empty: from the first)."""
        rows = self._sql.each(f"{CONTEXT_SELECT} WHERE guid > ? ORDER BY guid LIMIT ?", (after_guid, limit + 1))
        page = self._contexts(rows, limit)
        self._check_order([after_guid, *(record.guid for record in page.items)])
        return page

    def was_deleted(self, guid: bytes) -> bool:
        """Whether there was such a document, and there is none any more."""
        return self._tables.deletion(guid) is not None

    def base(self, guid: bytes) -> bytes | None:
        """What the present epoch of a document began with: an update, or empty; None: it lives no more.

        Who is told that it was created may ask after it was deleted: both can be applied in one batch.
        """
        return self._tables.base(guid) if self._tables.context(guid) is not None else None

    def base_of(self, guid: bytes, epoch: int) -> bytes | None:
        """What this epoch began with: an update, or empty; None: it is not the present one."""
        return self._tables.base_of(guid, epoch)

    def owner(self, writer: int) -> Owner | None:
        """Whose a writer id is, if it was handed out."""
        row = self._sql.row(f"{WRITERS_SELECT} WHERE first <= ? ORDER BY first DESC LIMIT 1", (writer,))
        if row is None:
            return None
        first, count, namespace, actor, _ = writers_of(self._sql, row)
        return Owner(namespace, actor) if first <= writer < first + count else None

    def version(self, guid: bytes, name: str) -> VersionRecord | None:
        """A version of a document that lives, without its content."""
        return self._tables.version(guid, name)

    def version_content(self, version: VersionRecord) -> bytes:
        """Its content, as handed in."""
        row = self._sql.row("SELECT content FROM versions WHERE position = ?", (version.position,))
        if row is None:
            raise DatabaseDamaged(self._sql.path, f"there is no version at position {version.position}")
        return check_content(self._sql, version, row[0])

    def versions(self, guid: bytes, after: str, limit: int) -> Page[VersionRecord]:
        """Those of a document by name, after the name."""
        rows = self._sql.each(
            f"{VERSION_SELECT} WHERE guid = ? AND name > ? ORDER BY name LIMIT ?", (guid, after, limit + 1)
        )
        with closing(rows):
            found = (version_of(self._sql, row) for row in rows)
            page = take_page(found, limit, limits.PAGE_BYTES, lambda version: len(version.cursor))
        self._check_order([after, *(version.name for version in page.items)])
        return page

    def _contexts(self, rows: Generator[Row, None, None], limit: int) -> Page[ContextRecord]:
        with closing(rows):
            found = (context_of(self._sql, row) for row in rows)
            return take_page(found, limit, limits.PAGE_BYTES, lambda record: len(record.schema))

    def _check_order(self, keys: Sequence[Key]) -> None:
        """A damaged page may lead to others that were not asked for, or to one of them twice."""
        if any(before >= after for before, after in pairwise(keys)):
            raise DatabaseDamaged(self._sql.path, "the contexts are not in order")
