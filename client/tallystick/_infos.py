"""What is told of agents, branches, leases and contexts where they are listed: immutable values, no gRPC."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

from tallystick._times import to_time
from tallystick._values import Revision


class LeaseChange(enum.StrEnum):
    """What was decided of a lease."""

    ACQUIRED = "acquired"
    RELEASED = "released"
    """By its holder, by whom it was taken away, or with its agent."""
    EXPIRED = "expired"
    """It was not renewed for its time to live."""


@dataclass(frozen=True, slots=True)
class LeaseInfo:
    """A lease, as it was decided: who may write an agent's log, or could last.

    Attributes:
        agent: its name; it need not exist.
        epoch: of the newest acquisition: 1, 2, ...; 0: it was never acquired.
        holder: who has it, or had it last.
        ttl_ms: how long it lives without a renewal.
        change: the newest; None: it was never acquired.
        acquired_unix_ms: when this epoch began.
        changed_unix_ms: since when it is held, released or expired.
        revision: of the newest change.
    """

    agent: str
    branch: str
    epoch: int
    holder: str
    ttl_ms: int
    change: LeaseChange | None
    acquired_unix_ms: int
    changed_unix_ms: int
    revision: Revision

    @property
    def is_held(self) -> bool:
        """Whether somebody has it now."""
        return self.change is LeaseChange.ACQUIRED

    @property
    def since(self) -> datetime:
        """Since when it is held, released or expired, by the clock of the node that took that."""
        return to_time(self.changed_unix_ms)


@dataclass(frozen=True, slots=True)
class AgentInfo:
    """An agent in a list: where its log ends, its newest checkpoint (or ""), the size of its log, and its lease.

    `lease` is None if it was never acquired; one that expired was left by a holder that stopped. `state_version` is of
    the schema that its state follows; 0: none governed it. `first_seq`: the oldest mutation that is kept.
    """

    name: str
    seq: int
    hash: bytes
    time_unix_ms: int
    checkpoint: str
    revision: Revision
    log_size_bytes: int
    lease: LeaseInfo | None = None
    state_version: int = 0
    first_seq: int = 1

    @property
    def time(self) -> datetime:
        """When its last mutation was proposed."""
        return to_time(self.time_unix_ms)


@dataclass(frozen=True, slots=True)
class BranchInfo:
    """A branch in a list.

    Attributes:
        agent: whose it is.
        name: `main` is the one where the agent began.
        parent: the branch where it began; "" for `main`.
        fork_seq: up to here it is its parent's.
        seq: where it ends.
        checkpoint: its newest, or "".
        revision: of its newest event.
        log_size_bytes: of its own mutations.
    """

    agent: str
    name: str
    parent: str
    fork_seq: int
    seq: int
    hash: bytes
    time_unix_ms: int
    checkpoint: str
    revision: Revision
    log_size_bytes: int

    @property
    def time(self) -> datetime:
        """When its newest event was proposed."""
        return to_time(self.time_unix_ms)


@dataclass(frozen=True, slots=True)
class ContextInfo:
    """A shared context, as it was decided.

    Attributes:
        guid: 16 bytes, for ever its own: another document of that name has another one.
        epoch: 1, 2, ...: how often it was rebuilt, and one more.
        is_sealed: between two epochs, for seconds: edits wait.
        actor: who created it.
        time_unix_ms: when.
        schema_json: JSON text; empty: none.
        revision: of its newest decided change.
    """

    name: str
    guid: bytes
    epoch: int
    is_sealed: bool
    actor: str
    time_unix_ms: int
    schema_json: bytes
    revision: Revision

    @property
    def time(self) -> datetime:
        """When it was created."""
        return to_time(self.time_unix_ms)
