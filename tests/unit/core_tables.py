"""Core's tables in dicts, for tests that need no disk."""

from __future__ import annotations

from collections.abc import Sequence

from tallystick_node.core import limits
from tallystick_node.core.commands import Idempotency, Target
from tallystick_node.core.document import Document
from tallystick_node.core.outcomes import (
    AgentDeleted,
    CheckpointTaken,
    ContextDecided,
    ContextRecord,
    Event,
    LeaseDecided,
    LeaseRecord,
    MutationDecided,
    StepRecord,
    TurnRecord,
    VersionRecord,
    WritersAllocated,
)
from tallystick_node.core.tables import Deletion, LogRecord, Remembered


class MemoryContexts:
    """An implementation of `tallystick_node.core.tables.ContextTables`."""

    def __init__(self) -> None:
        self.records: dict[bytes, ContextRecord] = {}
        self.bases: dict[bytes, tuple[int, bytes]] = {}
        self.deletions: list[Deletion] = []
        self.writers: list[WritersAllocated] = []
        self.versions: dict[tuple[bytes, str], VersionRecord] = {}

    def context(self, guid: bytes) -> ContextRecord | None:
        return self.records.get(guid)

    def named(self, namespace: str, name: str) -> ContextRecord | None:
        found = [each for each in self.records.values() if (each.namespace, each.name) == (namespace, name)]
        assert len(found) <= 1
        return found[0] if found else None

    def save(self, record: ContextRecord) -> None:
        self.records[record.guid] = record

    def base(self, guid: bytes) -> bytes:
        return self.bases[guid][1]

    def save_base(self, guid: bytes, epoch: int, base: bytes) -> None:
        self.bases[guid] = (epoch, base)

    def delete(self, record: ContextRecord, position: int) -> None:
        del self.records[record.guid], self.bases[record.guid]
        self.versions = {key: value for key, value in self.versions.items() if key[0] != record.guid}
        self.deletions.append(Deletion(position, record.namespace, record.name, record.guid))

    def deletion(self, guid: bytes) -> Deletion | None:
        return next((each for each in self.deletions if each.guid == guid), None)

    def newest_deletion(self, namespace: str, name: str) -> Deletion | None:
        found = [each for each in self.deletions if (each.namespace, each.name) == (namespace, name)]
        return found[-1] if found else None

    def next_writer(self) -> int:
        return self.writers[-1].first + self.writers[-1].count if self.writers else limits.FIRST_WRITER

    def add_writers(self, event: WritersAllocated) -> None:
        assert event.first == self.next_writer()
        self.writers.append(event)

    def version(self, guid: bytes, name: str) -> VersionRecord | None:
        return self.versions.get((guid, name))

    def add_version(self, version: VersionRecord, content: bytes) -> None:
        assert (version.guid, version.name) not in self.versions
        self.versions[version.guid, version.name] = version


class MemoryLeases:
    """An implementation of `tallystick_node.core.tables.LeaseTables`."""

    def __init__(self) -> None:
        self.records: dict[Target, LeaseRecord] = {}

    @property
    def held_count(self) -> int:
        return sum(record.is_held for record in self.records.values())

    def lease(self, target: Target) -> LeaseRecord | None:
        return self.records.get(target)

    def held_of_agent(self, namespace: str, agent: str) -> Sequence[LeaseRecord]:
        found = [each for target, each in sorted(self.records.items()) if target[:2] == (namespace, agent)]
        return [each for each in found if each.is_held]

    def save(self, record: LeaseRecord) -> None:
        self.records[record.target] = record


class MemorySteps:
    """An implementation of `tallystick_node.core.tables.StepTables`."""

    def __init__(self) -> None:
        self.attempts: dict[tuple[int, str], StepRecord] = {}
        self.turns: dict[int, TurnRecord] = {}

    def newest(self, log: LogRecord, name: str) -> StepRecord | None:
        return self.attempts.get((log.number, name))

    def save(self, log_number: int, record: StepRecord) -> None:
        self.attempts[log_number, record.name] = record

    def newest_turn(self, log: LogRecord) -> TurnRecord | None:
        return self.turns.get(log.number)

    def save_turn(self, log_number: int, record: TurnRecord) -> None:
        self.turns[log_number] = record


class MemoryTables:
    """An implementation of `tallystick_node.core.tables.Tables`."""

    def __init__(self) -> None:
        self.contexts = MemoryContexts()
        self.leases = MemoryLeases()
        self.steps = MemorySteps()
        self.last_log = 0
        self.events: list[Event] = []
        self.logs: dict[Target, LogRecord] = {}
        self.documents: dict[int, Document] = {}
        self.checkpoints: set[tuple[int, str]] = set()
        self.keys: dict[int, dict[str, tuple[int, Remembered]]] = {}
        self.deletions: dict[tuple[str, str, str], tuple[AgentDeleted, bytes]] = {}

    @property
    def position(self) -> int:
        return len(self.events)

    def add_event(self, event: LeaseDecided | ContextDecided | WritersAllocated) -> None:
        assert event.position == len(self.events) + 1
        self.events.append(event)

    def log(self, target: Target) -> LogRecord | None:
        return self.logs.get(target)

    def document(self, log: LogRecord) -> Document:
        return self.documents[log.number]

    def save_log(self, log: LogRecord, document: Document) -> None:
        self.last_log = max(self.last_log, log.number)
        self.logs[log.target] = log
        self.documents[log.number] = document

    def add_mutations(self, log_number: int, events: Sequence[MutationDecided]) -> None:
        for event in events:
            assert event.position == len(self.events) + 1
            self.events.append(event)

    def add_checkpoint(self, log_number: int, event: CheckpointTaken) -> None:
        assert event.position == len(self.events) + 1
        self.events.append(event)
        self.checkpoints.add((log_number, event.name))

    def has_checkpoint(self, log_number: int, name: str) -> bool:
        return (log_number, name) in self.checkpoints

    def event(self, position: int) -> Event:
        return self.events[position - 1]

    def remember(self, log_number: int, key_number: int, key: str, what: Remembered) -> None:
        self.keys.setdefault(log_number, {})[key] = (key_number, what)

    def forget_keys(self, log_number: int, below: int) -> None:
        kept = {key: known for key, known in self.keys[log_number].items() if known[0] >= below}
        self.keys[log_number] = kept

    def remembered(self, log_number: int, key: str) -> Remembered | None:
        known = self.keys.get(log_number, {}).get(key)
        return known[1] if known else None

    def delete_agent(self, log: LogRecord, event: AgentDeleted, idempotency: Idempotency | None) -> None:
        assert event.position == len(self.events) + 1
        self.events.append(event)
        del self.logs[log.target]
        if idempotency is not None:
            name = (log.target.namespace, log.target.agent, idempotency.key)
            self.deletions[name] = (event, idempotency.fingerprint)

    def deletion(self, target: Target, key: str) -> tuple[AgentDeleted, bytes] | None:
        return self.deletions.get((target.namespace, target.agent, key))
