"""Commands on retention to the messages of log/v1 and back.

Rules of this file: those of `commands.py`.
"""

from __future__ import annotations

from typing import Final, assert_never

from tallystick.errors import Invalid
from tallystick.log.v1 import log_pb2
from tallystick_node.core import limits
from tallystick_node.core.commands import Target
from tallystick_node.core.retention_records import (
    CompactLog,
    PinCheckpoint,
    RetentionCommand,
    RetentionPolicy,
    SetRetention,
)
from tallystick_node.wire.errors import UnsupportedFormat
from tallystick_node.wire.fields import check_bytes, check_name, check_number, check_target

_HASH_BYTES: Final = 32


def encode_retention_command(command: RetentionCommand) -> log_pb2.Command:
    """The message of a command.

    Raises:
        Invalid: a name, a number or a length breaks a rule.
    """
    check_bytes("actor", command.actor.encode(), limits.ACTOR_BYTES)
    message = log_pb2.Command(time_unix_ms=command.time_unix_ms)
    match command:
        case SetRetention():
            message.set_retention.CopyFrom(_encode_set(command))
        case CompactLog():
            message.compact_log.CopyFrom(_encode_compact(command))
        case PinCheckpoint():
            check_target(command.target)
            check_name("name", command.name)
            message.pin_checkpoint.CopyFrom(
                log_pb2.PinCheckpoint(
                    target=_message(command.target),
                    name=command.name,
                    is_pinned=command.is_pinned,
                    actor=command.actor,
                )
            )
        case _:
            assert_never(command)
    return message


def decode_retention_command(message: log_pb2.Command) -> RetentionCommand:
    """A command that was encoded here.

    Raises:
        UnsupportedFormat: this version does not know it.
    """
    time_unix_ms = message.time_unix_ms
    match message.WhichOneof("body"):
        case "set_retention":
            body = message.set_retention
            policy = RetentionPolicy(body.max_age_s, body.max_mutations, body.max_log_bytes, body.archive)
            return SetRetention(time_unix_ms, body.namespace, policy, body.actor)
        case "compact_log":
            compact = message.compact_log
            return CompactLog(time_unix_ms, _target(compact.target), compact.below_seq, compact.hash, compact.actor)
        case "pin_checkpoint":
            pin = message.pin_checkpoint
            return PinCheckpoint(time_unix_ms, _target(pin.target), pin.name, pin.is_pinned, pin.actor)
        case _:
            raise UnsupportedFormat("a command that this version does not know")


def check_policy(policy: RetentionPolicy) -> None:
    """Raises `Invalid` where a number is too large, or the archive's name is no name."""
    for field in ("max_age_s", "max_mutations", "max_log_bytes"):
        check_number(field, getattr(policy, field), limits.RETENTION_MAX)
    if policy.archive:
        check_name("archive", policy.archive)


def _encode_set(command: SetRetention) -> log_pb2.SetRetention:
    check_name("namespace", command.namespace)
    check_policy(command.policy)
    return log_pb2.SetRetention(
        namespace=command.namespace,
        max_age_s=command.policy.max_age_s,
        max_mutations=command.policy.max_mutations,
        max_log_bytes=command.policy.max_log_bytes,
        archive=command.policy.archive,
        actor=command.actor,
    )


def _encode_compact(command: CompactLog) -> log_pb2.CompactLog:
    check_target(command.target)
    if command.below_seq < 1 or len(command.hash) not in {0, _HASH_BYTES}:
        raise Invalid("a compaction names the mutation before it", metadata={"field": "below_seq"})
    return log_pb2.CompactLog(
        target=_message(command.target), below_seq=command.below_seq, hash=command.hash, actor=command.actor
    )


def _message(target: Target) -> log_pb2.Target:
    return log_pb2.Target(namespace=target.namespace, agent=target.agent, branch=target.branch)


def _target(message: log_pb2.Target) -> Target:
    return Target(message.namespace, message.agent, message.branch)
