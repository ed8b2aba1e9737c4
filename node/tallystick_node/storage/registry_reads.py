"""Reads of schemas: one, a page of them; and what a node asks that is about to propose a mutation.

Rules of this file: those of `reads.py`.
"""

from __future__ import annotations

from contextlib import closing
from typing import NamedTuple

from tallystick_node.core import limits, rules, schemas
from tallystick_node.core.commands import Target
from tallystick_node.core.document import Document
from tallystick_node.core.schema_records import SchemaOf, SchemaRecord, StateSchema, Subject
from tallystick_node.core.tables import LogRecord, Tables
from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.pages import Page, take_page
from tallystick_node.storage.registry_rows import SCHEMA_SELECT, schema_of
from tallystick_node.storage.registry_tables import SqlRegistryTables
from tallystick_node.storage.sql import Sql


class SchemaAfter(NamedTuple):
    """Behind which version a page begins."""

    subject: Subject
    version: int


class LogHead(NamedTuple):
    """Where a log ends, and its state there, live: take back what you do to it."""

    log: LogRecord
    document: Document


class RegistryReads:
    """The reads of schemas, over the connection of the thread that applies."""

    def __init__(self, sql: Sql, tables: Tables, registry: SqlRegistryTables) -> None:
        self._sql = sql
        self._tables = tables
        self._registry = registry

    def position(self, namespace: str) -> int:
        """Where the newest schema of a namespace was registered; 0: it has none."""
        return self._registry.position(namespace)

    def newest_version(self, namespace: str, subject: Subject) -> int:
        """The newest version of a subject; 0: it has no schema."""
        return self._registry.newest_version(namespace, subject)

    def governing(self, target: Target) -> StateSchema | None:
        """The newest version of the schema of an agent's states; None: it has none."""
        return self._registry.governing(target.namespace, target.agent)

    def schema(self, namespace: str, subject: Subject, version: int) -> SchemaRecord:
        """A version of a schema; 0: the newest.

        Raises:
            NotFound: it is not registered.
        """
        asked = version or self._registry.newest_version(namespace, subject)
        record = self._registry.schema(namespace, subject, asked) if asked else None
        if record is None:
            raise schemas.not_found(subject, version)
        return record

    def schemas(
        self, namespace: str, subject: Subject | None, after: SchemaAfter | None, limit: int
    ) -> Page[SchemaRecord]:
        """The schemas of a namespace, or of one subject, behind a version: those of events by kind, then those of
        states by prefix, versions in order."""
        if subject is not None:
            version = after.version if after is not None else 0
            where, values = "of = ? AND name = ? AND version > ?", (int(subject.of), subject.name, version)
        else:
            (of, name), version = after if after is not None else (Subject(SchemaOf.EVENT, ""), 0)
            where, values = "(of, name, version) > (?, ?, ?)", (int(of), name, version)
        rows = self._sql.each(
            f"{SCHEMA_SELECT} WHERE namespace = ? AND {where} ORDER BY of, name, version LIMIT ?",
            (namespace, *values, limit + 1),
        )
        with closing(rows):
            page = take_page((schema_of(self._sql, row) for row in rows), limit, limits.PAGE_BYTES, _bytes)
        if any(record.namespace != namespace or subject not in {None, record.subject} for record in page.items):
            raise DatabaseDamaged(self._sql.path, "looking for schemas leads to others")
        return page

    def state_version(self, log: LogRecord) -> StateSchema | None:
        """What the state at the log's head follows; None: nothing governed it yet."""
        return self._registry.state_version(log)

    def head(self, target: Target) -> LogHead | None:
        """Where a log ends as far as this node has applied; None: there is no such log."""
        log = self._tables.log(target)
        return LogHead(log, self._tables.document(log)) if log is not None else None

    def remembers(self, target: Target, key: str) -> bool:
        """Whether a log remembers this idempotency key."""
        log = self._tables.log(target)
        return log is not None and log.next_key != 0 and self._tables.remembered(log.number, key) is not None

    def version_at(self, target: Target, seq: int) -> int:
        """The version that the state at a seq follows of the schema that governs it now; 0: none governed it.

        What it followed of another schema says nothing of this one: one of a longer prefix was registered since.

        Raises:
            NotFound: the log does not exist.
        """
        log = rules.find_log(self._tables, target)
        if seq == log.seq or not self._registry.position(target.namespace):
            return self.version_at_head(log)
        return self._of_present(log, self._registry.state_version_at(log, seq))

    def version_at_head(self, log: LogRecord) -> int:
        """The same, where a log ends."""
        if not self._registry.position(log.target.namespace):
            return 0
        return self._of_present(log, self._registry.state_version(log))

    def _of_present(self, log: LogRecord, found: StateSchema | None) -> int:
        present = self.governing(log.target)
        return found.version if found is not None and present is not None and found.prefix == present.prefix else 0


def _bytes(record: SchemaRecord) -> int:
    return len(record.document)
