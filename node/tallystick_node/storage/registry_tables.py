"""What core asks of schemas, in SQLite. Each append asks which versions there are, so that is kept in memory.

Rules of this file:
- Rows are written at once: there are few. After a failed transaction `reset` forgets all that is in memory.
- A row that a look-up leads to must be the one that was looked for.
- `lineage` alone knows that a log may share its past with another.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from tallystick_node.core.schema_records import SchemaOf, SchemaRecord, StateSchema, Subject
from tallystick_node.core.tables import LogRecord
from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.lineage import lineage
from tallystick_node.storage.registry_rows import (
    REGISTERED_SELECT,
    SCHEMA_INSERT,
    SCHEMA_SELECT,
    STATE_VERSION_INSERT,
    STATE_VERSION_SELECT,
    registered_of,
    schema_of,
    schema_row,
    state_version_of,
    state_version_row,
)
from tallystick_node.storage.sql import MAX_INTEGER, Sql

NAMESPACES_KEPT: Final = 1024
"""Namespaces whose versions, or that they have none, are known without looking; those longest unasked go first."""

STATES_KEPT: Final = 16_384
"""Logs, likewise, whose state's version is known."""


@dataclass(slots=True)
class _Known:
    """The schemas of a namespace: where the newest was registered, how many, and the newest version of each subject."""

    position: int = 0
    count: int = 0
    newest: dict[Subject, int] = field(default_factory=dict)
    lengths: tuple[int, ...] = ()
    """Of the prefixes, the longest first."""

    def add(self, subject: Subject, version: int, position: int) -> None:
        """The next version of a subject."""
        self.count += 1
        self.position = max(self.position, position)
        self.newest[subject] = version
        if subject.of is SchemaOf.STATE:
            self.lengths = tuple(sorted({*self.lengths, len(subject.name)}, reverse=True))


class SqlRegistryTables:
    """An implementation of `tallystick_node.core.schema_records.SchemaTables`.

    Args:
        flush: writes the rows that gathered.
    """

    def __init__(self, sql: Sql, flush: Callable[[], None]) -> None:
        self._sql = sql
        self._flush = flush
        self._namespaces: OrderedDict[str, _Known] = OrderedDict()
        self._states: OrderedDict[int, StateSchema | None] = OrderedDict()

    def reset(self) -> None:
        """Forget what is in memory."""
        self._namespaces.clear()
        self._states.clear()

    def position(self, namespace: str) -> int:
        """See `SchemaTables`."""
        return self._known(namespace).position

    def count(self, namespace: str) -> int:
        """See `SchemaTables`."""
        return self._known(namespace).count

    def newest_version(self, namespace: str, subject: Subject) -> int:
        """See `SchemaTables`."""
        return self._known(namespace).newest.get(subject, 0)

    def schema(self, namespace: str, subject: Subject, version: int) -> SchemaRecord | None:
        """See `SchemaTables`."""
        row = self._sql.row(
            f"{SCHEMA_SELECT} WHERE namespace = ? AND of = ? AND name = ? AND version = ?",
            (namespace, int(subject.of), subject.name, min(version, MAX_INTEGER)),
        )
        if row is None:
            return None
        record = schema_of(self._sql, row)
        if (record.namespace, record.subject, record.version) != (namespace, subject, version):
            raise DatabaseDamaged(self._sql.path, "looking for a schema leads to another")
        return record

    def add(self, record: SchemaRecord) -> None:
        """See `SchemaTables`."""
        known = self._known(record.namespace)
        self._sql.execute(SCHEMA_INSERT, schema_row(record))
        known.add(record.subject, record.version, record.position)

    def governing(self, namespace: str, agent: str) -> StateSchema | None:
        """See `SchemaTables`."""
        known = self._known(namespace)
        for length in known.lengths:
            prefix = agent[:length]
            version = known.newest.get(Subject(SchemaOf.STATE, prefix))
            if version is not None:
                return StateSchema(prefix, version)
        return None

    def state_version(self, log: LogRecord) -> StateSchema | None:
        """See `SchemaTables`."""
        if log.number in self._states:
            self._states.move_to_end(log.number)
            return self._states[log.number]
        found = self.state_version_at(log, MAX_INTEGER)
        self._keep(log.number, found)
        return found

    def state_version_at(self, log: LogRecord, seq: int) -> StateSchema | None:
        """What the state at a seq follows; None: nothing governed it yet."""
        if not log.parent:
            return self._newest(log.number, seq)
        self._flush()
        for stretch in lineage(self._sql, log):
            found = self._newest(stretch.log.number, min(seq, stretch.last_seq))
            if found is not None:
                return found
        return None

    def save_state_version(self, log_number: int, seq: int, schema: StateSchema) -> None:
        """See `SchemaTables`."""
        self._sql.execute(STATE_VERSION_INSERT, state_version_row(log_number, seq, schema))
        self._keep(log_number, schema)

    def _newest(self, log_number: int, up_to: int) -> StateSchema | None:
        row = self._sql.row(
            f"{STATE_VERSION_SELECT} WHERE log = ? AND seq <= ? ORDER BY seq DESC LIMIT 1",
            (log_number, min(up_to, MAX_INTEGER)),
        )
        if row is None:
            return None
        found, seq, schema = state_version_of(self._sql, row)
        if found != log_number or seq > up_to:
            raise DatabaseDamaged(self._sql.path, "looking for the version of a state leads to another")
        return schema

    def _keep(self, log_number: int, schema: StateSchema | None) -> None:
        self._states[log_number] = schema
        self._states.move_to_end(log_number)
        if len(self._states) > STATES_KEPT:
            self._states.popitem(last=False)

    def _known(self, namespace: str) -> _Known:
        known = self._namespaces.get(namespace)
        if known is not None:
            self._namespaces.move_to_end(namespace)
            return known
        known = _Known()
        for row in self._sql.rows(f"{REGISTERED_SELECT} WHERE namespace = ? ORDER BY of, name, version", (namespace,)):
            found, subject, version, position = registered_of(self._sql, row)
            if found != namespace or version != known.newest.get(subject, 0) + 1:
                raise DatabaseDamaged(self._sql.path, f"version {version} of {str(subject)!r} does not follow another")
            known.add(subject, version, position)
        self._namespaces[namespace] = known
        if len(self._namespaces) > NAMESPACES_KEPT:
            self._namespaces.popitem(last=False)
        return known
