"""Core's tables of schemas in dicts: part of `core_tables.py`."""

from __future__ import annotations

from collections.abc import Callable

from tallystick_node.core.schema_records import SchemaOf, SchemaRecord, StateSchema, Subject
from tallystick_node.core.tables import LogRecord


class MemorySchemas:
    """An implementation of `tallystick_node.core.schema_records.SchemaTables`: looks at all that there is."""

    def __init__(self, line: Callable[[LogRecord], list[tuple[LogRecord, int]]]) -> None:
        self._line = line
        self.records: list[SchemaRecord] = []
        self.states: dict[tuple[int, int], StateSchema] = {}

    def position(self, namespace: str) -> int:
        return max((record.position for record in self._of(namespace)), default=0)

    def count(self, namespace: str) -> int:
        return len(self._of(namespace))

    def newest_version(self, namespace: str, subject: Subject) -> int:
        return max((each.version for each in self._of(namespace) if each.subject == subject), default=0)

    def schema(self, namespace: str, subject: Subject, version: int) -> SchemaRecord | None:
        found = [each for each in self._of(namespace) if (each.subject, each.version) == (subject, version)]
        assert len(found) <= 1
        return found[0] if found else None

    def add(self, record: SchemaRecord) -> None:
        self.records.append(record)

    def governing(self, namespace: str, agent: str) -> StateSchema | None:
        subjects = {each.subject for each in self._of(namespace)}
        fitting = [name for of, name in subjects if of is SchemaOf.STATE and agent.startswith(name)]
        if not fitting:
            return None
        prefix = max(fitting, key=len)
        return StateSchema(prefix, self.newest_version(namespace, Subject(SchemaOf.STATE, prefix)))

    def state_version(self, log: LogRecord) -> StateSchema | None:
        for each, last_seq in self._line(log):
            own = [seq for number, seq in self.states if number == each.number and seq <= last_seq]
            if own:
                return self.states[each.number, max(own)]
        return None

    def save_state_version(self, log_number: int, seq: int, schema: StateSchema) -> None:
        assert (log_number, seq) not in self.states
        self.states[log_number, seq] = schema

    def _of(self, namespace: str) -> list[SchemaRecord]:
        return [record for record in self.records if record.namespace == namespace]
