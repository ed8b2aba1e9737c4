"""Core's tables in dicts, for tests that need no disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from tallystick_node.core import limits
from tallystick_node.core.commands import Idempotency, Operation, Target
from tallystick_node.core.document import Document
from tallystick_node.core.observation_records import Observation, Place
from tallystick_node.core.operations import apply_operation
from tallystick_node.core.outcomes import (
    AgentDeleted,
    BranchDeleted,
    BranchForked,
    CheckpointTaken,
    ContextRecord,
    Event,
    LeaseRecord,
    MutationDecided,
    PlainEvent,
    StepRecord,
    StepStatus,
    TeamCheckpointDeleted,
    TeamCheckpointRecord,
    TurnRecord,
    VersionRecord,
    WritersAllocated,
)
from tallystick_node.core.tables import Deletion, LogRecord, Remembered
from tests.unit.core_retention import MemoryRetention
from tests.unit.payload_memory import MemoryPayloads
from tests.unit.schema_tables import MemorySchemas


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

    def __init__(self, line: Callable[[LogRecord], list[tuple[LogRecord, int]]]) -> None:
        self._line = line
        self.attempts: dict[tuple[int, str, int], StepRecord] = {}
        self.turns: dict[tuple[int, int], TurnRecord] = {}

    def newest(self, log: LogRecord, name: str) -> StepRecord | None:
        for each, last_seq in self._line(log):
            own = [at for at in self.attempts if at[:2] == (each.number, name)]
            shown = [self.attempts[at] for at in sorted(own) if self.attempts[at].begun_seq <= last_seq]
            if shown and shown[-1].ended_seq > last_seq:
                return shown[-1]._replace(status=StepStatus.BEGUN, ended_seq=0, ended_position=0, ended_unix_ms=0)
            if shown:
                return shown[-1]
        return None

    def save(self, log_number: int, record: StepRecord) -> None:
        self.attempts[log_number, record.name, record.attempt] = record

    def newest_turn(self, log: LogRecord) -> TurnRecord | None:
        for each, last_seq in self._line(log):
            own = [at for at in self.turns if at[0] == each.number and at[1] <= last_seq]
            if own:
                turn = self.turns[max(own)]
                return replace(turn, ended_seq=0, ended_position=0) if turn.ended_seq > last_seq else turn
        return None

    def save_turn(self, log_number: int, record: TurnRecord) -> None:
        self.turns[log_number, record.begun_seq] = record


class MemoryBranches:
    """An implementation of `tallystick_node.core.tables.BranchTables`: looks at all events."""

    def __init__(self, tables: MemoryTables) -> None:
        self._tables = tables

    def count(self, namespace: str, agent: str) -> int:
        return sum(target[:2] == (namespace, agent) for target in self._tables.logs)

    def depth(self, log: LogRecord) -> int:
        return len(self.line(log)) - 1

    def child(self, log: LogRecord) -> LogRecord | None:
        children = [each for each in self._tables.logs.values() if each.parent == log.number]
        return min(children, key=lambda each: each.number, default=None)

    def team(self, namespace: str, prefix: str, branch: str, limit: int) -> list[LogRecord]:
        logs = sorted(self._tables.logs.values(), key=lambda log: log.target)
        return [
            log
            for log in logs
            if (log.target.namespace, log.target.branch) == (namespace, branch) and log.target.agent.startswith(prefix)
        ][:limit]

    def hash_at(self, log: LogRecord, seq: int) -> bytes:
        return next((event.hash for event in self.mutations(log) if event.seq == seq), b"")

    def place(self, log: LogRecord, seq: int) -> Place | None:
        owner = next(each for each, _ in self.line(log) if seq > each.fork_seq)
        anchor = self._tables.retention.anchor(owner)
        if anchor is not None and seq <= anchor.point.seq:
            return None
        (event,) = [event for event in self.mutations(log) if event.seq == seq]
        return Place(owner.number, seq, event.position, event.hash)

    def seq_at(self, log: LogRecord, position: int) -> int:
        return max((event.seq for event in self.mutations(log) if event.position <= position), default=0)

    def newest_checkpoint(self, log: LogRecord, seq: int) -> str:
        names = [event.name for event in self.checkpoints(log) if event.seq <= seq]
        return names[-1] if names else ""

    def mutations(self, log: LogRecord) -> list[MutationDecided]:
        """Those of the log and of the past that it shares, oldest first."""
        return [event for event in self._events(log) if isinstance(event, MutationDecided)]

    def checkpoints(self, log: LogRecord) -> list[CheckpointTaken]:
        """The same, of checkpoints."""
        return [event for event in self._events(log) if isinstance(event, CheckpointTaken)]

    def line(self, log: LogRecord) -> list[tuple[LogRecord, int]]:
        """The log and those whose past it shares, newest first, each with the seq up to which it counts."""
        line = [(log, log.seq)]
        while line[-1][0].parent:
            child, last_seq = line[-1]
            (parent,) = [each for each in self._tables.logs.values() if each.number == child.parent]
            line.append((parent, min(last_seq, child.fork_seq)))
        return line

    def _events(self, log: LogRecord) -> list[Event]:
        found: list[Event] = []
        before = self._tables.position + 1
        for each, last_seq in self.line(log):
            numbered = zip(self._tables.events, self._tables.of_log, strict=True)
            own = [event for event, number in numbered if number == each.number and event.position < before]
            found[:0] = [
                event
                for event in own
                if isinstance(event, (MutationDecided, CheckpointTaken)) and event.seq <= last_seq
                if event.position not in self._tables.retention.gone
            ]
            before = min(before, each.fork_position)
        return found


class MemoryTeams:
    """An implementation of `tallystick_node.core.tables.TeamTables`."""

    def __init__(self, events: list[Event]) -> None:
        self._events = events
        self.records: dict[tuple[str, str], TeamCheckpointRecord] = {}

    def checkpoint(self, namespace: str, name: str) -> TeamCheckpointRecord | None:
        return self.records.get((namespace, name))

    def add(self, record: TeamCheckpointRecord) -> None:
        assert (record.namespace, record.name) not in self.records
        self.records[record.namespace, record.name] = record

    def delete(self, record: TeamCheckpointRecord) -> None:
        del self.records[record.namespace, record.name]

    def deletion(self, taken: int) -> TeamCheckpointDeleted | None:
        found = (event for event in self._events if isinstance(event, TeamCheckpointDeleted) and event.taken == taken)
        return next(found, None)


class MemoryObservations:
    """An implementation of `tallystick_node.core.observation_records.ObservationTables`."""

    def __init__(self) -> None:
        self.rows: list[Observation] = []

    def newest(self, log_number: int, other: int) -> Observation | None:
        return next((each for each in reversed(self.rows) if each[:2] == (log_number, other)), None)

    def add(self, observation: Observation) -> None:
        self.rows.append(observation)


class MemoryTables:
    """An implementation of `tallystick_node.core.tables.Tables`. `operations`: those of what a branch replays."""

    def __init__(self) -> None:
        self.contexts = MemoryContexts()
        self.payloads = MemoryPayloads(lambda namespace, agent: self.numbers_of(namespace, agent))
        self.leases = MemoryLeases()
        self.branches = MemoryBranches(self)
        self.observations = MemoryObservations()
        self.steps = MemorySteps(self.branches.line)
        self.retention = MemoryRetention(self)
        self.schemas = MemorySchemas(self.branches.line)
        self.last_log = 0
        self.events: list[Event] = []
        self.teams = MemoryTeams(self.events)
        self.of_log: list[int] = []
        self.operations: dict[bytes, tuple[Operation, ...]] = {}
        self.logs: dict[Target, LogRecord] = {}
        self.documents: dict[int, Document] = {}
        self.keys: dict[int, dict[str, tuple[int, Remembered]]] = {}
        self.deletions: dict[tuple[str, str, str], tuple[AgentDeleted | BranchDeleted, bytes]] = {}

    @property
    def position(self) -> int:
        return len(self.events)

    def numbers_of(self, namespace: str, agent: str) -> set[int]:
        """The numbers of an agent's logs."""
        return {log.number for target, log in self.logs.items() if target[:2] == (namespace, agent)}

    def add_event(self, event: PlainEvent) -> None:
        self.add_of_log(0, event)

    def add_of_log(self, log_number: int, event: Event) -> None:
        assert event.position == len(self.events) + 1
        self.events.append(event)
        self.of_log.append(log_number)

    def log(self, target: Target) -> LogRecord | None:
        return self.logs.get(target)

    def document(self, log: LogRecord) -> Document:
        if log.number not in self.documents:
            self.documents[log.number] = self.replayed(self.branches.mutations(log))
        return self.documents[log.number]

    def replayed(self, mutations: Sequence[MutationDecided]) -> Document:
        """The state that mutations from the first on lead to."""
        document = Document.empty()
        for event in mutations:
            for operation in self.operations.get(event.raw, ()):
                apply_operation(document, operation)
        document.commit()
        return document

    def save_log(self, log: LogRecord, document: Document) -> None:
        self.last_log = max(self.last_log, log.number)
        self.logs[log.target] = log
        self.documents[log.number] = document

    def add_mutations(self, log_number: int, events: Sequence[MutationDecided]) -> None:
        for event in events:
            self.add_of_log(log_number, event)

    def add_checkpoint(self, log_number: int, event: CheckpointTaken) -> None:
        self.add_of_log(log_number, event)

    def has_checkpoint(self, log: LogRecord, name: str) -> bool:
        return any(event.name == name for event in self.branches.checkpoints(log))

    def event(self, position: int) -> Event:
        return self.events[position - 1]

    def find_mutation(self, position: int) -> MutationDecided | None:
        event = self.events[position - 1]
        number = self.of_log[position - 1]
        is_kept = number in {log.number for log in self.logs.values()}
        if not is_kept or not isinstance(event, MutationDecided) or self.retention.went(number, event):
            return None
        return event

    def remember(self, log_number: int, key_number: int, key: str, what: Remembered) -> None:
        self.keys.setdefault(log_number, {})[key] = (key_number, what)

    def forget_keys(self, log_number: int, below: int) -> None:
        kept = {key: known for key, known in self.keys[log_number].items() if known[0] >= below}
        self.keys[log_number] = kept

    def remembered(self, log_number: int, key: str) -> Remembered | None:
        known = self.keys.get(log_number, {}).get(key)
        return known[1] if known else None

    def add_branch(self, log: LogRecord, event: BranchForked) -> None:
        self.add_of_log(log.number, event)
        self.last_log = log.number
        self.logs[log.target] = log

    def delete_agent(self, log: LogRecord, event: AgentDeleted, idempotency: Idempotency | None) -> None:
        for target in [target for target in self.logs if target[:2] == log.target[:2]]:
            del self.logs[target]
        self._add_deletion(log, event, idempotency)

    def delete_branch(self, log: LogRecord, event: BranchDeleted, idempotency: Idempotency | None) -> None:
        del self.logs[log.target]
        self._add_deletion(log, event, idempotency)

    def deletion(self, target: Target, key: str) -> tuple[AgentDeleted | BranchDeleted, bytes] | None:
        return self.deletions.get((target.namespace, target.agent, key))

    def _add_deletion(
        self, log: LogRecord, event: AgentDeleted | BranchDeleted, idempotency: Idempotency | None
    ) -> None:
        self.add_of_log(log.number, event)
        if idempotency is not None:
            name = (log.target.namespace, log.target.agent, idempotency.key)
            self.deletions[name] = (event, idempotency.fingerprint)
