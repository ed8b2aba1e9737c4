"""What core needs to remember, as an interface: storage keeps it, tests keep it in dicts.

Rules of this file:
- Core changes tables only for a command that it does not refuse, and only after everything that can refuse it.
- Whoever implements `Tables` shows one command's changes to the next, and undoes them all when a transaction fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tallystick_node.core.chain import NO_HASH
from tallystick_node.core.commands import Idempotency, Target
from tallystick_node.core.document import EMPTY_SIZE_BYTES, Document
from tallystick_node.core.observation_records import ObservationTables, Place
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
    TeamCheckpointDeleted,
    TeamCheckpointRecord,
    TurnRecord,
    VersionRecord,
    WritersAllocated,
)
from tallystick_node.core.payload_records import PayloadTables
from tallystick_node.core.retention_records import RetentionTables
from tallystick_node.core.schema_records import SchemaTables


@dataclass(frozen=True, slots=True)
class LogRecord:
    """What is known of a log without reading it.

    Attributes:
        number: names the log in the tables; never used again.
        seq, hash: of its newest mutation.
        time_unix_ms, position: of its newest event.
        checkpoint: name of the newest checkpoint, or empty.
        log_bytes: all mutations of its own, serialized. state_bytes: the state as compact JSON (of a branch without
            mutations of its own, that of its parent when it began).
        first_key, next_key: the idempotency keys remembered are those numbered from the one up to the other.
        parent, fork_seq, fork_position: of a branch: the number of the log at which it began, the seq up to which the
            two are one, and the position where it began. 0: it is `main`.
    """

    number: int
    target: Target
    seq: int = 0
    hash: bytes = NO_HASH
    time_unix_ms: int = 0
    position: int = 0
    checkpoint: str = ""
    log_bytes: int = 0
    state_bytes: int = EMPTY_SIZE_BYTES
    first_key: int = 0
    next_key: int = 0
    parent: int = 0
    fork_seq: int = 0
    fork_position: int = 0


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is remembered of a key: which request it was for, and the event that came of it (of an append, the last)."""

    fingerprint: bytes
    position: int
    mutations: int


@dataclass(frozen=True, slots=True)
class Deletion:
    """A document that is gone for ever, and the position of its deletion."""

    position: int
    namespace: str
    name: str
    guid: bytes


class ContextTables(Protocol):
    """The tables of shared contexts. `guid` finds a document that lives; the dead are found by `deletion`."""

    def context(self, guid: bytes) -> ContextRecord | None:
        """The document."""
        ...

    def named(self, namespace: str, name: str) -> ContextRecord | None:
        """The document that has the name."""
        ...

    def save(self, record: ContextRecord) -> None:
        """Create or change a document."""
        ...

    def base(self, guid: bytes) -> bytes:
        """What the present epoch of a document that lives began with."""
        ...

    def save_base(self, guid: bytes, epoch: int, base: bytes) -> None:
        """What an epoch begins with; the base of the one before is not kept."""
        ...

    def delete(self, record: ContextRecord, position: int) -> None:
        """Remove the document with its base and versions, and remember its guid and name for ever."""
        ...

    def deletion(self, guid: bytes) -> Deletion | None:
        """The deletion of that document."""
        ...

    def newest_deletion(self, namespace: str, name: str) -> Deletion | None:
        """The newest deletion of a document that had that name."""
        ...

    def next_writer(self) -> int:
        """The lowest writer id that was never handed out."""
        ...

    def add_writers(self, event: WritersAllocated) -> None:
        """Hand out writer ids; they begin at `next_writer`."""
        ...

    def version(self, guid: bytes, name: str) -> VersionRecord | None:
        """The version of that name of a document that lives."""
        ...

    def add_version(self, version: VersionRecord, content: bytes) -> None:
        """Keep a version."""
        ...


class LeaseTables(Protocol):
    """The tables of leases."""

    @property
    def held_count(self) -> int:
        """Leases that are held now."""
        ...

    def lease(self, target: Target) -> LeaseRecord | None:
        """The lease of that log; None: it was never acquired."""
        ...

    def held_of_agent(self, namespace: str, agent: str) -> Sequence[LeaseRecord]:
        """The leases that are held of the agent's branches, by branch."""
        ...

    def save(self, record: LeaseRecord) -> None:
        """Create or change a lease."""
        ...


class StepTables(Protocol):
    """The tables of steps and turns. What a log looks up, it finds in the past that it shares with its parent, too."""

    def newest(self, log: LogRecord, name: str) -> StepRecord | None:
        """The newest attempt at a step."""
        ...

    def save(self, log_number: int, record: StepRecord) -> None:
        """Add an attempt, or what came of it."""
        ...

    def newest_turn(self, log: LogRecord) -> TurnRecord | None:
        """The turn that began last."""
        ...

    def save_turn(self, log_number: int, record: TurnRecord) -> None:
        """Add a turn, or its end."""
        ...


class BranchTables(Protocol):
    """The tables of branches. What is asked of a log is asked of its shared past too."""

    def count(self, namespace: str, agent: str) -> int:
        """The logs of an agent, `main` among them."""
        ...

    def depth(self, log: LogRecord) -> int:
        """How many branches led to this log, itself among them; 0 for `main`."""
        ...

    def child(self, log: LogRecord) -> LogRecord | None:
        """The oldest branch that began at this log."""
        ...

    def team(self, namespace: str, prefix: str, branch: str, limit: int) -> Sequence[LogRecord]:
        """The logs of that branch of the agents whose names begin so, by name, the first so many."""
        ...

    def hash_at(self, log: LogRecord, seq: int) -> bytes:
        """The hash of the mutation at a seq of the log; empty at 0."""
        ...

    def place(self, log: LogRecord, seq: int) -> Place | None:
        """Where the mutation at a seq of the log stands, from 1 on: in the log, or in one whose past it shares.

        None: it is not kept any more."""
        ...

    def seq_at(self, log: LogRecord, position: int) -> int:
        """The seq of the newest mutation that was decided up to that position; 0: there was none."""
        ...

    def newest_checkpoint(self, log: LogRecord, seq: int) -> str:
        """The name of the newest checkpoint at or before a seq, or empty."""
        ...


class TeamTables(Protocol):
    """The tables of cuts through teams."""

    def checkpoint(self, namespace: str, name: str) -> TeamCheckpointRecord | None:
        """The cut of that name."""
        ...

    def add(self, record: TeamCheckpointRecord) -> None:
        """Keep a cut."""
        ...

    def delete(self, record: TeamCheckpointRecord) -> None:
        """Remove a cut, and the event of its taking."""
        ...

    def deletion(self, taken: int) -> TeamCheckpointDeleted | None:
        """The deletion of the cut that was taken at that position."""
        ...


class Tables(Protocol):
    """The tables of one group."""

    @property
    def leases(self) -> LeaseTables:
        """Those of leases."""
        ...

    @property
    def steps(self) -> StepTables:
        """Those of steps and turns."""
        ...

    @property
    def branches(self) -> BranchTables:
        """Those of branches."""
        ...

    @property
    def teams(self) -> TeamTables:
        """Those of cuts through teams."""
        ...

    @property
    def payloads(self) -> PayloadTables:
        """Those of payloads."""
        ...

    @property
    def observations(self) -> ObservationTables:
        """Those of what was read."""
        ...

    @property
    def schemas(self) -> SchemaTables:
        """Those of schemas."""
        ...

    @property
    def contexts(self) -> ContextTables:
        """Those of shared contexts."""
        ...

    @property
    def retention(self) -> RetentionTables:
        """Those of retention."""
        ...

    def add_event(self, event: PlainEvent) -> None:
        """Add an event that is of no log, at the next position."""
        ...

    @property
    def position(self) -> int:
        """Position of the newest event; 0 before the first."""
        ...

    @property
    def last_log(self) -> int:
        """The highest log number ever used."""
        ...

    def log(self, target: Target) -> LogRecord | None:
        """The log of that name."""
        ...

    def document(self, log: LogRecord) -> Document:
        """The state at the log's head, live: core changes it in place, and rolls back what it refuses."""
        ...

    def save_log(self, log: LogRecord, document: Document) -> None:
        """Create or change a log; `document` is its state now."""
        ...

    def add_mutations(self, log_number: int, events: Sequence[MutationDecided]) -> None:
        """Add events at the next positions."""
        ...

    def add_checkpoint(self, log_number: int, event: CheckpointTaken) -> None:
        """Add an event at the next position, and the checkpoint itself."""
        ...

    def has_checkpoint(self, log: LogRecord, name: str) -> bool:
        """Whether that name is taken, in the log or in the past that it shares."""
        ...

    def event(self, position: int) -> Event:
        """An event that is still kept; of a mutation that went, what is left of it (`RetentionTables.compact`)."""
        ...

    def find_mutation(self, position: int) -> MutationDecided | None:
        """The mutation that was decided there, or what is left of it; None: it went."""
        ...

    def remember(self, log_number: int, key_number: int, key: str, what: Remembered) -> None:
        """Remember an idempotency key of a log."""
        ...

    def forget_keys(self, log_number: int, below: int) -> None:
        """Forget the keys of a log with numbers below this."""
        ...

    def remembered(self, log_number: int, key: str) -> Remembered | None:
        """What is remembered of a key of a log."""
        ...

    def delete_agent(self, log: LogRecord, event: AgentDeleted, idempotency: Idempotency | None) -> None:
        """Remove the agent's logs and all that hangs on them, add the event at the next position, remember its key by
        the agent's name."""
        ...

    def add_branch(self, log: LogRecord, event: BranchForked) -> None:
        """Begin a branch, and add the event at the next position."""
        ...

    def delete_branch(self, log: LogRecord, event: BranchDeleted, idempotency: Idempotency | None) -> None:
        """As `delete_agent`, of one branch."""
        ...

    def deletion(self, target: Target, key: str) -> tuple[AgentDeleted | BranchDeleted, bytes] | None:
        """The deletion that was asked for with this key, and its fingerprint."""
        ...
