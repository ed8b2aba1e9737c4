"""What is said of retention, as messages of tallystick.v1. Rules of this file: those of `messages.py`."""

from __future__ import annotations

from tallystick.v1 import common_pb2, retention_pb2
from tallystick_node.api import messages
from tallystick_node.core.retention_records import CheckpointPinned, LogCompacted, RetentionPolicy, RetentionSet
from tallystick_node.retention.keeper import LogRetained
from tallystick_node.retention.planner import Planned


def policy(kept: RetentionPolicy) -> retention_pb2.RetentionPolicy:
    """How much a namespace keeps."""
    return retention_pb2.RetentionPolicy(
        max_age_s=kept.max_age_s,
        max_mutations=kept.max_mutations,
        max_log_bytes=kept.max_log_bytes,
        archive=kept.archive,
    )


def compacted(decided: LogCompacted, revision: common_pb2.Revision) -> retention_pb2.LogCompacted:
    """The oldest mutations of a log went."""
    return retention_pb2.LogCompacted(
        anchor_seq=decided.seq,
        hash=decided.hash,
        state_digest=decided.state_digest,
        mutations=decided.mutations,
        checkpoints=decided.checkpoints,
        actor=decided.actor,
        time_unix_ms=decided.time_unix_ms,
        revision=revision,
    )


def pinned(decided: CheckpointPinned, revision: common_pb2.Revision) -> retention_pb2.CheckpointPinned:
    """A checkpoint was pinned, or is no longer."""
    return retention_pb2.CheckpointPinned(
        name=decided.name,
        seq=decided.seq,
        is_pinned=decided.is_pinned,
        actor=decided.actor,
        time_unix_ms=decided.time_unix_ms,
        revision=revision,
    )


def retention_set(decided: RetentionSet, revision: common_pb2.Revision) -> retention_pb2.RetentionSet:
    """The retention of a namespace was set."""
    return retention_pb2.RetentionSet(
        namespace=decided.namespace,
        policy=policy(decided.policy),
        actor=decided.actor,
        time_unix_ms=decided.time_unix_ms,
        revision=revision,
    )


def planned(found: Planned) -> retention_pb2.LogPlan:
    """What would go of a log."""
    plan = found.plan
    return retention_pb2.LogPlan(
        agent=messages.agent_ref(plan.target),
        first_seq=plan.anchor_seq + 1,
        head_seq=plan.head_seq,
        below_seq=plan.upto_seq + 1,
        mutations=plan.mutations,
        size_bytes=found.size_bytes,
        checkpoints=found.checkpoints,
        wanted_below_seq=plan.wanted_seq + 1,
        held=[
            retention_pb2.RetentionHeld(
                hold=retention_pb2.RetentionHold.ValueType(hold.kind), seq=hold.seq + 1, detail=hold.detail
            )
            for hold in plan.held
        ],
    )


def retained(done: LogRetained) -> retention_pb2.LogRetained:
    """What a run removed of a log."""
    return retention_pb2.LogRetained(
        agent=messages.agent_ref(done.target),
        first_seq=done.first_seq,
        mutations=done.mutations,
        size_bytes=done.size_bytes,
        checkpoints=done.checkpoints,
        archived_to=done.archived_to,
        failure=done.failure,
    )
