"""What can be decided: the commands, with everything that deciding them needs.

Rules of this file:
- A command is immutable. Time, names and keys come in with it; core takes none by itself.
- The types of the hot path are named tuples, because a frozen dataclass takes four times as long to make.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from tallystick_node.core.observation_records import SeenLog
from tallystick_node.core.payload_records import PayloadCommand
from tallystick_node.core.pointer import Tokens
from tallystick_node.core.retention_records import RetentionCommand
from tallystick_node.core.schema_records import RegisterSchema

MAIN: Final = "main"
"""The branch where an agent begins."""


class OperationKind(enum.IntEnum):
    """The kinds of operations, by their numbers on the wire."""

    SET = 1
    DELETE = 2
    MERGE = 3
    APPEND = 4
    INSERT = 5
    INCREMENT = 6
    REPLACE = 7


class Operation(NamedTuple):
    """One change of a state. `value` is JSON text, empty for DELETE; `tokens` are those of the path."""

    kind: OperationKind
    tokens: Tokens
    value: bytes


class Mutation(NamedTuple):
    """An entry of a log to be: its bytes, which are hashed and stored as they are, what it does to the state, and the
    ids of the payloads and the version of a schema (0: none) that it names.

    `observed`: the logs that it says were read; None: it says nothing of what was read.
    """

    raw: bytes
    operations: tuple[Operation, ...]
    payloads: tuple[bytes, ...] = ()
    observed: tuple[SeenLog, ...] | None = None
    schema_version: int = 0


class Target(NamedTuple):
    """Names one log."""

    namespace: str
    agent: str
    branch: str = MAIN


class Idempotency(NamedTuple):
    """Ties a retry to its first attempt: the key, and 16 bytes that tell one request from another."""

    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Append:
    """Append mutations, all or none. `expected_seq`: refuse unless the log ends there. `epoch`: 0 means no lease.

    `schemas`, `head`: what they were checked against (`schemas.py`).
    """

    time_unix_ms: int
    target: Target
    mutations: tuple[Mutation, ...]
    idempotency: Idempotency | None = None
    expected_seq: int | None = None
    epoch: int = 0
    actor: str = ""
    schemas: int = 0
    head: bytes | None = None


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Name the point where the log ends. `metadata`: a JSON object, `pending_calls`: a JSON list; each may be empty.

    `payloads`: ids of those that they name. `observed`: a message of what was read, kept as a record.
    """

    time_unix_ms: int
    target: Target
    name: str
    step: int = 0
    metadata: bytes = b""
    pending_calls: bytes = b""
    idempotency: Idempotency | None = None
    expected_seq: int | None = None
    epoch: int = 0
    actor: str = ""
    payloads: tuple[bytes, ...] = ()
    observed: bytes = b""


@dataclass(frozen=True, slots=True)
class DeleteAgent:
    """Remove an agent: its log, states and checkpoints."""

    time_unix_ms: int
    target: Target
    idempotency: Idempotency | None = None
    expected_seq: int | None = None
    actor: str = ""
    epoch: int = 0


@dataclass(frozen=True, slots=True)
class AcquireLease:
    """Become the one who writes a log, unless another is. `holder`: who asks, and nobody else calls itself so."""

    time_unix_ms: int
    target: Target
    holder: str
    ttl_ms: int
    actor: str = ""


@dataclass(frozen=True, slots=True)
class RenewLease:
    """The holder is alive: its time begins anew."""

    time_unix_ms: int
    target: Target
    epoch: int


@dataclass(frozen=True, slots=True)
class ReleaseLease:
    """End a lease of this epoch."""

    time_unix_ms: int
    target: Target
    epoch: int
    actor: str = ""


@dataclass(frozen=True, slots=True)
class ExpireLease:
    """End a lease of this epoch that was not renewed since `mark`, its count of renewals: its time was up."""

    time_unix_ms: int
    target: Target
    epoch: int
    mark: int


@dataclass(frozen=True, slots=True)
class CreateContext:
    """Give a name to a new document. `seed`: what it begins with; `guid`: 16 bytes, once and for ever."""

    time_unix_ms: int
    namespace: str
    name: str
    guid: bytes
    schema: bytes = b""
    seed: bytes = b""
    actor: str = ""


@dataclass(frozen=True, slots=True)
class DeleteContext:
    """Remove a document for ever. `guid`: the one that is meant; empty: whichever has the name."""

    time_unix_ms: int
    namespace: str
    name: str
    guid: bytes = b""
    actor: str = ""


@dataclass(frozen=True, slots=True)
class AllocateWriters:
    """Hand out writer ids that nobody had before, to an actor."""

    time_unix_ms: int
    namespace: str
    count: int
    actor: str = ""


@dataclass(frozen=True, slots=True)
class SealContext:
    """End an epoch of a document: it takes no edits from now on."""

    time_unix_ms: int
    guid: bytes
    epoch: int
    actor: str = ""


@dataclass(frozen=True, slots=True)
class StartEpoch:
    """Begin the epoch that follows a seal with this content; without a base the seal is undone and the epoch stays.

    `seal`: the position of the seal that it follows.
    """

    time_unix_ms: int
    guid: bytes
    epoch: int
    seal: int
    base: bytes = b""
    actor: str = ""


@dataclass(frozen=True, slots=True)
class SaveVersion:
    """Name what a document is now, for ever. `target` and `checkpoint`: which checkpoint it belongs to, if any."""

    time_unix_ms: int
    guid: bytes
    epoch: int
    name: str
    cursor: bytes
    content: bytes
    target: Target | None = None
    checkpoint: str = ""
    actor: str = ""


@dataclass(frozen=True, slots=True)
class BeginStep:
    """Begin a side effect, unless it was begun before. `retry_of`: the attempt that this one follows; 0: the first.

    `mutation`: what the log gets if it is begun now.
    """

    time_unix_ms: int
    target: Target
    name: str
    retry_of: int
    mutation: Mutation
    idempotency: Idempotency | None = None
    epoch: int = 0
    actor: str = ""


@dataclass(frozen=True, slots=True)
class EndStep:
    """End the present attempt at a step: completed for good, or failed. `mutation` tells what came of it."""

    time_unix_ms: int
    target: Target
    name: str
    attempt: int
    has_failed: bool
    mutation: Mutation
    idempotency: Idempotency | None = None
    epoch: int = 0
    actor: str = ""


@dataclass(frozen=True, slots=True)
class BeginTurn:
    """Begin a turn. `abandons`: the seq at which the turn that is open began, and which is left as it is; 0: none."""

    time_unix_ms: int
    target: Target
    abandons: int
    mutation: Mutation
    idempotency: Idempotency | None = None
    epoch: int = 0
    actor: str = ""


@dataclass(frozen=True, slots=True)
class EndTurn:
    """End the turn that is open. `turn`: the seq at which it began."""

    time_unix_ms: int
    target: Target
    turn: int
    mutation: Mutation
    idempotency: Idempotency | None = None
    epoch: int = 0
    actor: str = ""


@dataclass(frozen=True, slots=True)
class Fork:
    """Begin a branch at a point of another log of its agent. `at_seq`: None means where that log ends."""

    time_unix_ms: int
    source: Target
    branch: str
    at_seq: int | None = None
    idempotency: Idempotency | None = None
    actor: str = ""


@dataclass(frozen=True, slots=True)
class ForkTeam:
    """Begin a branch of each agent whose name begins so, each at the seq it had at `position`; of all or of none."""

    time_unix_ms: int
    namespace: str
    prefix: str
    branch: str
    position: int
    source_branch: str = MAIN
    idempotency: Idempotency | None = None
    actor: str = ""


@dataclass(frozen=True, slots=True)
class DeleteBranch:
    """Remove a branch from which no other began."""

    time_unix_ms: int
    target: Target
    idempotency: Idempotency | None = None
    expected_seq: int | None = None
    epoch: int = 0
    actor: str = ""


class Part(NamedTuple):
    """What a transaction appends to one log, if anything; `expected_seq`, `epoch` and `head` as in an append."""

    target: Target
    mutations: tuple[Mutation, ...]
    expected_seq: int | None = None
    epoch: int = 0
    head: bytes | None = None


@dataclass(frozen=True, slots=True)
class Transact:
    """Append to several logs of one namespace, each at most once: to all of them or to none.

    The key is remembered by the log of the first part.
    """

    time_unix_ms: int
    parts: tuple[Part, ...]
    idempotency: Idempotency | None = None
    actor: str = ""
    schemas: int = 0


class SeenContext(NamedTuple):
    """What who took a team's checkpoint had seen of a context: a cursor, as it was handed in."""

    name: str
    cursor: bytes


@dataclass(frozen=True, slots=True)
class TakeTeamCheckpoint:
    """Name the point where the logs of a team end, all at once.

    `members`: which agents, each by one branch; empty: those whose names begin with `prefix` and that have the branch.
    `fingerprint`: 16 bytes that tell this request, its key included, from every other.
    """

    time_unix_ms: int
    namespace: str
    name: str
    fingerprint: bytes
    members: tuple[Target, ...] = ()
    prefix: str = ""
    branch: str = MAIN
    contexts: tuple[SeenContext, ...] = ()
    metadata: bytes = b""
    actor: str = ""


@dataclass(frozen=True, slots=True)
class DeleteTeamCheckpoint:
    """Remove a cut. `taken`: the position of the one that is meant; 0: whichever has the name."""

    time_unix_ms: int
    namespace: str
    name: str
    taken: int = 0
    actor: str = ""


AgentCommand: TypeAlias = Append | Checkpoint | DeleteAgent
"""On an agent's log. Repeated with its key it is the same."""

LeaseCommand: TypeAlias = AcquireLease | RenewLease | ReleaseLease | ExpireLease
"""On leases. Repeated it is, by what it names, the same."""

StepCommand: TypeAlias = BeginStep | EndStep | BeginTurn | EndTurn
"""On steps and turns. Repeated with its key it is the same."""

ContextCommand: TypeAlias = CreateContext | DeleteContext | AllocateWriters | SealContext | StartEpoch | SaveVersion
"""On shared contexts. Repeated it is, by what it names, the same; but for `AllocateWriters`, which hands out more."""

BranchCommand: TypeAlias = Fork | ForkTeam | DeleteBranch
"""On branches of agents. Repeated with its key it is the same."""

TeamCommand: TypeAlias = Transact | TakeTeamCheckpoint | DeleteTeamCheckpoint
"""On several agents at once. Repeated with its key it is the same; a deletion, by what it names."""

Command: TypeAlias = (
    AgentCommand
    | LeaseCommand
    | StepCommand
    | ContextCommand
    | BranchCommand
    | TeamCommand
    | PayloadCommand
    | RetentionCommand
    | RegisterSchema
)
