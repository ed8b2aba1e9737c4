"""What is said of retention, as messages of tallystick.v1. Rules of this file: those of `messages.py`."""

from __future__ import annotations

from tallystick.v1 import common_pb2, retention_pb2
from tallystick_node.core.retention_records import CheckpointPinned, LogCompacted, RetentionPolicy, RetentionSet


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
