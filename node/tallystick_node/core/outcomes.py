"""What came of a command: an outcome or a refusal for who asked, events for who watches.

Rules of this file:
- Everything here is a value, equal on every replica.
- A refusal and a replay have no events; anything else has at least one, but for the renewal of a lease, which changes
  nothing but its mark: it comes for each lease every few seconds, and tells nobody anything. (A step that was begun
  before is answered as it is: a replay of another's request.)
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from tallystick.errors import Reason
from tallystick_node.core.commands import SeenContext, Target
from tallystick_node.core.payload_records import PayloadEvent, PayloadOutcome
from tallystick_node.core.retention_records import CheckpointPinned, LogCompacted, RetentionOutcome, RetentionSet
from tallystick_node.core.schema_records import SchemaKept, SchemaRegistered


class MutationDecided(NamedTuple):
    """A mutation in the decided history. `raw` is the mutation as it was handed in, `hash` chains it to its log."""

    position: int
    target: Target
    seq: int
    time_unix_ms: int
    actor: str
    hash: bytes
    raw: bytes


class CheckpointTaken(NamedTuple):
    """A checkpoint in the decided history. `hash` is that of the mutation at `seq`, empty at seq 0.

    `observed`: what its command says of what was read.
    """

    position: int
    target: Target
    seq: int
    time_unix_ms: int
    actor: str
    hash: bytes
    name: str
    step: int
    metadata: bytes
    pending_calls: bytes
    state_digest: bytes
    observed: bytes = b""


class AgentDeleted(NamedTuple):
    """The end of an agent in the decided history. `seq` is where its log ended."""

    position: int
    target: Target
    seq: int
    time_unix_ms: int
    actor: str


class BranchForked(NamedTuple):
    """The beginning of a branch in the decided history: `target`, at the seq of the branch `parent` with this hash."""

    position: int
    target: Target
    seq: int
    time_unix_ms: int
    actor: str
    hash: bytes
    parent: str


class BranchDeleted(NamedTuple):
    """The end of a branch in the decided history. `seq` is where its log ended."""

    position: int
    target: Target
    seq: int
    time_unix_ms: int
    actor: str


class LeaseChange(enum.IntEnum):
    """What was decided of a lease. The numbers are part of the stored format, and the wire's."""

    ACQUIRED = 1
    RELEASED = 2
    EXPIRED = 3


class LeaseDecided(NamedTuple):
    """A change of a lease in the decided history: who has, or had, the log of that name, and by which epoch."""

    position: int
    target: Target
    change: LeaseChange
    epoch: int
    holder: str
    ttl_ms: int
    time_unix_ms: int
    actor: str


class ContextChange(enum.IntEnum):
    """What was decided of a context. The numbers are part of the stored format."""

    CREATED = 1
    DELETED = 2
    SEALED = 3
    UNSEALED = 4
    EPOCH_STARTED = 5
    VERSION_SAVED = 6


class ContextDecided(NamedTuple):
    """A change of a context in the decided history.

    `epoch` is the one it is in from here on, `version` the name of one that was saved, `hash` the SHA-256 of all that
    the command brought: seed, base or content among it.
    """

    position: int
    change: ContextChange
    namespace: str
    name: str
    guid: bytes
    epoch: int
    time_unix_ms: int
    actor: str
    hash: bytes
    version: str = ""


@dataclass(frozen=True, slots=True)
class WritersAllocated:
    """Writer ids from `first` on, `count` of them, are the actor's."""

    position: int
    namespace: str
    first: int
    count: int
    time_unix_ms: int
    actor: str


class TeamCheckpointTaken(NamedTuple):
    """A cut through a team in the decided history. `hash` is the SHA-256 of all that it binds; `agents`: how many."""

    position: int
    namespace: str
    name: str
    agents: int
    time_unix_ms: int
    actor: str
    hash: bytes


class TeamCheckpointDeleted(NamedTuple):
    """A cut is gone; `taken`: its position."""

    position: int
    namespace: str
    name: str
    taken: int
    time_unix_ms: int
    actor: str


AgentEvent: TypeAlias = (
    MutationDecided | CheckpointTaken | AgentDeleted | BranchForked | BranchDeleted | LogCompacted | CheckpointPinned
)
"""Of an agent's log."""

PlainEvent: TypeAlias = (
    LeaseDecided
    | ContextDecided
    | WritersAllocated
    | TeamCheckpointTaken
    | TeamCheckpointDeleted
    | PayloadEvent
    | RetentionSet
    | SchemaRegistered
)
"""Of no log."""

Event: TypeAlias = AgentEvent | PlainEvent


@dataclass(frozen=True, slots=True)
class Appended:
    """The mutations from `first_seq` to `last_seq` are in the log; position, hash and time are those of the last."""

    position: int
    first_seq: int
    last_seq: int
    hash: bytes
    time_unix_ms: int
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Checkpointed:
    """The checkpoint is taken."""

    position: int
    checkpoint: CheckpointTaken
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Deleted:
    """The agent, or the branch, is gone; its log ended at `last_seq`."""

    position: int
    last_seq: int
    time_unix_ms: int
    replayed: bool = False


class StepStatus(enum.IntEnum):
    """How far an attempt at a step came. The numbers are part of the stored format, and the wire's."""

    BEGUN = 1
    COMPLETED = 2
    FAILED = 3


class StepRecord(NamedTuple):
    """An attempt at a step.

    Attributes:
        attempt: 1, 2, ...
        first_position: where the first attempt began.
        begun_seq, begun_position, begun_unix_ms: where this one began, and when.
        actor, epoch: who began it, and under which lease (0: none).
        ended_seq, ended_position, ended_unix_ms: where it was completed or failed, and when; 0: it is begun.
    """

    name: str
    attempt: int
    status: StepStatus
    first_position: int
    begun_seq: int
    begun_position: int
    begun_unix_ms: int
    actor: str
    epoch: int
    ended_seq: int = 0
    ended_position: int = 0
    ended_unix_ms: int = 0


@dataclass(frozen=True, slots=True)
class TurnRecord:
    """A turn, named by the seq of the mutation that began it. `ended_seq` 0: it is open, or another followed it."""

    begun_seq: int
    begun_position: int
    ended_seq: int = 0
    ended_position: int = 0


@dataclass(frozen=True, slots=True)
class StepDecided:
    """The newest attempt at a step, as it is now. `position`: of what was decided of it last.

    Attributes:
        is_granted: this request began it: the effect is its caller's to bring about.
        end: the mutation that completed it or says why it failed.
    """

    position: int
    record: StepRecord
    is_granted: bool
    end: MutationDecided | None = None
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class TurnDecided:
    """The turn that began at `turn` has begun or ended, with the mutation at `seq`."""

    position: int
    turn: int
    seq: int
    time_unix_ms: int
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Forked:
    """The branches have begun, by name of agent; the position is that of the last."""

    position: int
    branches: tuple[BranchForked, ...]
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Transacted:
    """All parts are in their logs, in the order of the request; the position is that of the last mutation.

    A part that appends nothing has the seq that it expected, and nothing else. In the answer to a retry, a part whose
    log was deleted meanwhile, or compacted, has its position alone: seqs are 0, the hash empty.
    """

    position: int
    parts: tuple[Appended, ...]
    replayed: bool = False


class TeamMember(NamedTuple):
    """An agent in a cut through a team: where its log ended, the hash there, and the digest of its state."""

    agent: str
    branch: str
    seq: int
    hash: bytes
    state_digest: bytes


@dataclass(frozen=True, slots=True)
class TeamCheckpointRecord:
    """A cut through a team, which never changes.

    Attributes:
        prefix: the agents are those whose names began so, with their branch `branch`; None: they were listed.
        hash: the SHA-256 of all that it binds.
    """

    position: int
    namespace: str
    name: str
    prefix: str | None
    branch: str
    actor: str
    time_unix_ms: int
    fingerprint: bytes
    hash: bytes
    metadata: bytes
    members: tuple[TeamMember, ...]
    contexts: tuple[SeenContext, ...]


@dataclass(frozen=True, slots=True)
class TeamCheckpointed:
    """The cut is taken."""

    position: int
    record: TeamCheckpointRecord
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class TeamCheckpointGone:
    """The cut is removed."""

    position: int
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """Decided: no. The fields of an error of `tallystick.errors`."""

    reason: Reason
    message: str
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """What is decided of a lease. It outlives its end, and the agent: epochs only rise.

    Attributes:
        epoch: of its newest acquisition: 1, 2, ...
        holder: who has it, or had it last.
        ttl_ms: how long it lives without a renewal.
        change: the newest change; it is held if that is its acquisition.
        mark: how often this epoch was renewed.
        acquired_unix_ms: when this epoch began.
        changed_unix_ms, position: of the newest change.
    """

    target: Target
    epoch: int
    holder: str
    ttl_ms: int
    change: LeaseChange
    mark: int
    acquired_unix_ms: int
    changed_unix_ms: int
    position: int

    @property
    def is_held(self) -> bool:
        """Whether somebody has it now."""
        return self.change is LeaseChange.ACQUIRED


@dataclass(frozen=True, slots=True)
class LeaseChanged:
    """The lease is acquired, renewed or ended, or was before: `record` says how it is now."""

    position: int
    record: LeaseRecord
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class ContextRecord:
    """What is decided of a document.

    Attributes:
        guid: 16 bytes, for ever its own.
        epoch: 1, 2, ...
        seal: the position of the seal that it is under; 0: it takes edits.
        actor, time_unix_ms: who created it, and when.
        changed_unix_ms, position: of its newest decided change.
        fingerprint: tells the request that created it from others.
    """

    guid: bytes
    namespace: str
    name: str
    epoch: int
    seal: int
    actor: str
    time_unix_ms: int
    changed_unix_ms: int
    position: int
    fingerprint: bytes
    schema: bytes

    @property
    def is_sealed(self) -> bool:
        """Between two epochs: it takes no edits."""
        return self.seal != 0


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """A named version of a document, without its content. `digest` is the SHA-256 of that, `cursor` as handed in."""

    position: int
    guid: bytes
    name: str
    epoch: int
    cursor: bytes
    target: Target | None
    checkpoint: str
    actor: str
    time_unix_ms: int
    digest: bytes
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ContextChanged:
    """The context is created, sealed, unsealed, or in its next epoch: `record` says how it is now."""

    position: int
    record: ContextRecord
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class ContextDeleted:
    """The document is gone for ever."""

    position: int
    guid: bytes
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class WritersGiven:
    """The writer ids from `first` on, `count` of them."""

    position: int
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class VersionSaved:
    """The version is kept."""

    position: int
    version: VersionRecord
    replayed: bool = False


Outcome: TypeAlias = (
    Appended
    | Checkpointed
    | Deleted
    | Forked
    | Transacted
    | TeamCheckpointed
    | TeamCheckpointGone
    | LeaseChanged
    | StepDecided
    | TurnDecided
    | ContextChanged
    | ContextDeleted
    | WritersGiven
    | VersionSaved
    | PayloadOutcome
    | RetentionOutcome
    | SchemaKept
    | Refusal
)


class Applied(NamedTuple):
    """What one command led to."""

    outcome: Outcome
    events: tuple[Event, ...] = ()
