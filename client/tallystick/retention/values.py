"""What is said of retention: immutable values, and how they come from messages."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

from tallystick._convert import revision
from tallystick._times import to_time
from tallystick._values import MAIN, Revision
from tallystick.errors import Invalid
from tallystick.v1 import retention_pb2


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """How much is kept of each log of a namespace. 0: no bound; all that are set hold at once.

    Attributes:
        max_age_s: mutations that are older go.
        max_mutations: the newest so many stay.
        max_log_bytes: the newest that come to no more than this stay, as they are serialized.
        archive: where what goes is written first: a name in the nodes' configuration; empty: nowhere.
    """

    max_age_s: int = 0
    max_mutations: int = 0
    max_log_bytes: int = 0
    archive: str = ""

    def __post_init__(self) -> None:
        for field in ("max_age_s", "max_mutations", "max_log_bytes"):
            value = getattr(self, field)
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
                raise Invalid(f"{field} is a whole number, at least 0", metadata={"field": field})


@dataclass(frozen=True, slots=True)
class RetentionInfo:
    """The policy of a namespace, who set it and when. `revision.position` is 0 where none was ever set."""

    policy: RetentionPolicy
    actor: str
    time_unix_ms: int
    revision: Revision

    @property
    def time(self) -> datetime:
        """When it was set, by the clock of the node that took it."""
        return to_time(self.time_unix_ms)


class RetentionHold(enum.StrEnum):
    """What holds mutations of a log."""

    BRANCH = "branch"
    """A branch began there."""
    LEASE = "lease"
    """Who holds the lease may resume there, at the newest checkpoint."""
    TURN = "turn"
    """An agent resumes there: where the last turn ended."""
    OTHER = "other"
    """What this client has no word for: it is older than the cluster."""


@dataclass(frozen=True, slots=True)
class RetentionHeld:
    """Something holds this mutation and those that follow it. `detail`: the branch's or the holder's name."""

    hold: RetentionHold
    seq: int
    detail: str


@dataclass(frozen=True, slots=True)
class RetentionPlan:
    """What would go of a log: the mutations from `first_seq` on, and before `below_seq`.

    Attributes:
        first_seq: the oldest mutation that is kept now.
        wanted_below_seq: what the policy alone would remove.
        mutations, size_bytes, checkpoints: that would go.
        held: what holds some of what the policy would remove.
    """

    agent: str
    branch: str
    first_seq: int
    head_seq: int
    below_seq: int
    wanted_below_seq: int
    mutations: int
    size_bytes: int
    checkpoints: int
    held: tuple[RetentionHeld, ...]


@dataclass(frozen=True, slots=True)
class RetainedLog:
    """What a run removed of a log.

    Attributes:
        first_seq: the oldest mutation that is kept now.
        mutations, size_bytes, checkpoints: that went.
        archived_to: where the last of them are; empty: nowhere.
        failure: why nothing, or no more, went; empty: all that was due did.
    """

    agent: str
    branch: str
    first_seq: int
    mutations: int
    size_bytes: int
    checkpoints: int
    archived_to: str
    failure: str


_HOLDS = {
    retention_pb2.RETENTION_HOLD_BRANCH: RetentionHold.BRANCH,
    retention_pb2.RETENTION_HOLD_LEASE: RetentionHold.LEASE,
    retention_pb2.RETENTION_HOLD_TURN: RetentionHold.TURN,
}


def policy_message(policy: RetentionPolicy) -> retention_pb2.RetentionPolicy:
    """As it is sent."""
    return retention_pb2.RetentionPolicy(
        max_age_s=policy.max_age_s,
        max_mutations=policy.max_mutations,
        max_log_bytes=policy.max_log_bytes,
        archive=policy.archive,
    )


def policy_of(message: retention_pb2.RetentionPolicy) -> RetentionPolicy:
    """A policy."""
    return RetentionPolicy(message.max_age_s, message.max_mutations, message.max_log_bytes, message.archive)


def info_of(message: retention_pb2.RetentionInfo) -> RetentionInfo:
    """The policy of a namespace."""
    return RetentionInfo(policy_of(message.policy), message.actor, message.time_unix_ms, revision(message.revision))


def plan_of(message: retention_pb2.LogPlan) -> RetentionPlan:
    """What would go of a log."""
    held = (RetentionHeld(_HOLDS.get(each.hold, RetentionHold.OTHER), each.seq, each.detail) for each in message.held)
    return RetentionPlan(
        message.agent.agent,
        message.agent.branch or MAIN,
        message.first_seq,
        message.head_seq,
        message.below_seq,
        message.wanted_below_seq,
        message.mutations,
        message.size_bytes,
        message.checkpoints,
        tuple(held),
    )


def retained_of(message: retention_pb2.LogRetained) -> RetainedLog:
    """What a run removed of a log."""
    return RetainedLog(
        message.agent.agent,
        message.agent.branch or MAIN,
        message.first_seq,
        message.mutations,
        message.size_bytes,
        message.checkpoints,
        message.archived_to,
        message.failure,
    )
