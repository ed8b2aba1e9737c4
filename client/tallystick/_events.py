"""What a watch yields: immutable values, no gRPC."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

from tallystick._infos import LeaseChange
from tallystick._times import to_time
from tallystick._values import MAIN, Checkpoint, DecidedMutation, Revision
from tallystick.schemas.subjects import Subject
from tallystick.schemas.values import Compatibility


@dataclass(frozen=True, slots=True)
class MutationEvent:
    """A watched agent's log grew by this mutation."""

    agent: str
    mutation: DecidedMutation
    revision: Revision
    branch: str = MAIN


@dataclass(frozen=True, slots=True)
class CheckpointEvent:
    """A watched agent made this checkpoint."""

    agent: str
    checkpoint: Checkpoint
    revision: Revision
    branch: str = MAIN


@dataclass(frozen=True, slots=True)
class DeletedEvent:
    """A watched agent was deleted; its log ended at `last_seq`."""

    agent: str
    last_seq: int
    actor: str
    time_unix_ms: int
    revision: Revision

    @property
    def time(self) -> datetime:
        """When it was deleted, by the clock of the node that took it."""
        return to_time(self.time_unix_ms)


@dataclass(frozen=True, slots=True)
class ForkedEvent:
    """A branch of a watched agent began.

    Attributes:
        branch: its name.
        parent: the branch where it began.
        fork_seq: up to here the two are one.
        hash: of the mutation there; empty at 0.
        actor: who began it.
    """

    agent: str
    branch: str
    parent: str
    fork_seq: int
    hash: bytes
    actor: str
    time_unix_ms: int
    revision: Revision

    @property
    def time(self) -> datetime:
        """When it began, by the clock of the node that took it."""
        return to_time(self.time_unix_ms)


@dataclass(frozen=True, slots=True)
class BranchDeletedEvent:
    """A branch of a watched agent was deleted; its log ended at `last_seq`."""

    agent: str
    branch: str
    last_seq: int
    actor: str
    time_unix_ms: int
    revision: Revision

    @property
    def time(self) -> datetime:
        """When it was deleted, by the clock of the node that took it."""
        return to_time(self.time_unix_ms)


@dataclass(frozen=True, slots=True)
class LeaseEvent:
    """The lease of a watched agent changed hands: `expired` says that its holder stopped.

    Attributes:
        epoch, holder: of the lease that began or ended.
        actor: who asked for it; of an expired one, its holder.
    """

    agent: str
    branch: str
    change: LeaseChange
    epoch: int
    holder: str
    ttl_ms: int
    actor: str
    time_unix_ms: int
    revision: Revision

    @property
    def time(self) -> datetime:
        """When it was proposed, by the clock of the node that took it; it never falls within a lease."""
        return to_time(self.time_unix_ms)


class ContextChange(enum.StrEnum):
    """What was decided of a context."""

    CREATED = "created"
    DELETED = "deleted"
    SEALED = "sealed"
    UNSEALED = "unsealed"
    EPOCH_STARTED = "epoch started"
    VERSION_SAVED = "version saved"


@dataclass(frozen=True, slots=True)
class ContextEvent:
    """Something was decided of a context of the watched namespace.

    Attributes:
        context: its name.
        guid: 16 bytes: another document of that name has another one.
        epoch: the one it is in from here on.
        version: the name of the version that was saved, or "".
    """

    context: str
    guid: bytes
    epoch: int
    change: ContextChange
    version: str
    actor: str
    time_unix_ms: int
    revision: Revision

    @property
    def time(self) -> datetime:
        """When it was proposed, by the clock of the node that took it; it never falls within a context."""
        return to_time(self.time_unix_ms)


@dataclass(frozen=True, slots=True)
class TeamCheckpointEvent:
    """A cut through agents of the watched namespace was taken; `Client.team` tells what it binds.

    Attributes:
        agents: how many agents.
        hash: SHA-256 of all that it binds.
    """

    name: str
    agents: int
    hash: bytes
    actor: str
    time_unix_ms: int
    revision: Revision

    @property
    def time(self) -> datetime:
        """When it was proposed, by the clock of the node that took it; not before the agents' newest mutations."""
        return to_time(self.time_unix_ms)


@dataclass(frozen=True, slots=True)
class TeamCheckpointDeletedEvent:
    """A cut through agents of the watched namespace was removed; `taken`: the revision at which it was taken."""

    name: str
    taken: Revision
    actor: str
    time_unix_ms: int
    revision: Revision

    @property
    def time(self) -> datetime:
        """When it was proposed, by the clock of the node that took it."""
        return to_time(self.time_unix_ms)


@dataclass(frozen=True, slots=True)
class CompactedEvent:
    """The oldest mutations of a watched agent went, by what its namespace keeps: those up to `anchor_seq`.

    Attributes:
        hash: of the newest that went: what is kept leads on from it.
        state_digest: SHA-256 of the canonical JSON of the state there.
        mutations, checkpoints: how many went now.
    """

    agent: str
    branch: str
    anchor_seq: int
    hash: bytes
    state_digest: bytes
    mutations: int
    checkpoints: int
    actor: str
    time_unix_ms: int
    revision: Revision

    @property
    def time(self) -> datetime:
        """When it was proposed, by the clock of the node that took it."""
        return to_time(self.time_unix_ms)


@dataclass(frozen=True, slots=True)
class SchemaEvent:
    """A version of a schema was registered in the watched namespace; `Client.schemas` has the document.

    Attributes:
        hash: SHA-256 of the document's canonical JSON.
        compatibility: with the version before.
    """

    subject: Subject
    version: int
    compatibility: Compatibility
    hash: bytes
    actor: str
    time_unix_ms: int
    revision: Revision

    @property
    def time(self) -> datetime:
        """When it was registered, by the clock of the node that took it."""
        return to_time(self.time_unix_ms)


@dataclass(frozen=True, slots=True)
class PinnedEvent:
    """A checkpoint of a watched agent, taken at `seq`, was pinned, or is no longer."""

    agent: str
    branch: str
    name: str
    seq: int
    is_pinned: bool
    actor: str
    time_unix_ms: int
    revision: Revision

    @property
    def time(self) -> datetime:
        """When it was proposed, by the clock of the node that took it."""
        return to_time(self.time_unix_ms)


@dataclass(frozen=True, slots=True)
class RetentionEvent:
    """It was said how much the watched namespace keeps of each log. 0: no bound; `archive` "": nothing is archived."""

    max_age_s: int
    max_mutations: int
    max_log_bytes: int
    archive: str
    actor: str
    time_unix_ms: int
    revision: Revision

    @property
    def time(self) -> datetime:
        """When it was proposed, by the clock of the node that took it; it never falls within a namespace."""
        return to_time(self.time_unix_ms)


Event = (
    MutationEvent
    | CheckpointEvent
    | DeletedEvent
    | ForkedEvent
    | BranchDeletedEvent
    | LeaseEvent
    | ContextEvent
    | TeamCheckpointEvent
    | TeamCheckpointDeletedEvent
    | SchemaEvent
    | CompactedEvent
    | PinnedEvent
    | RetentionEvent
)
"""What a watch yields."""
