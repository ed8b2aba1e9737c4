"""Commands on leases to the messages of log/v1 and back.

Rules of this file: those of `commands.py`.
"""

from __future__ import annotations

from typing import assert_never

from tallystick.errors import Invalid
from tallystick.log.v1 import log_pb2
from tallystick_node.core import limits
from tallystick_node.core.commands import (
    AcquireLease,
    ExpireLease,
    LeaseCommand,
    ReleaseLease,
    RenewLease,
    Target,
)
from tallystick_node.wire.errors import UnsupportedFormat
from tallystick_node.wire.fields import check_bytes, check_number, check_target


def encode_lease_command(command: LeaseCommand) -> log_pb2.Command:
    """The message of a command.

    Raises:
        Invalid: a name, a length or a time breaks a rule.
    """
    check_target(command.target)
    message = log_pb2.Command(time_unix_ms=command.time_unix_ms)
    namespace, agent, branch = command.target
    target = log_pb2.Target(namespace=namespace, agent=agent, branch=branch)
    match command:
        case AcquireLease():
            _check_acquire(command)
            acquire = log_pb2.AcquireLease(
                target=target, holder=command.holder, ttl_ms=command.ttl_ms, actor=command.actor
            )
            message.acquire_lease.CopyFrom(acquire)
        case RenewLease():
            message.renew_lease.CopyFrom(log_pb2.RenewLease(target=target, epoch=command.epoch))
        case ReleaseLease():
            check_bytes("actor", command.actor.encode(), limits.ACTOR_BYTES)
            message.release_lease.CopyFrom(
                log_pb2.ReleaseLease(target=target, epoch=command.epoch, actor=command.actor)
            )
        case ExpireLease():
            message.expire_lease.CopyFrom(log_pb2.ExpireLease(target=target, epoch=command.epoch, mark=command.mark))
        case _:
            assert_never(command)
    return message


def decode_lease_command(message: log_pb2.Command) -> LeaseCommand:
    """A command that was encoded here.

    Raises:
        UnsupportedFormat: this version does not know it.
    """
    time_unix_ms = message.time_unix_ms
    match message.WhichOneof("body"):
        case "acquire_lease":
            acquire = message.acquire_lease
            return AcquireLease(time_unix_ms, _target(acquire.target), acquire.holder, acquire.ttl_ms, acquire.actor)
        case "renew_lease":
            return RenewLease(time_unix_ms, _target(message.renew_lease.target), message.renew_lease.epoch)
        case "release_lease":
            release = message.release_lease
            return ReleaseLease(time_unix_ms, _target(release.target), release.epoch, release.actor)
        case "expire_lease":
            expire = message.expire_lease
            return ExpireLease(time_unix_ms, _target(expire.target), expire.epoch, expire.mark)
        case _:
            raise UnsupportedFormat("a command that this version does not know")


def _check_acquire(command: AcquireLease) -> None:
    check_bytes("actor", command.actor.encode(), limits.ACTOR_BYTES)
    check_bytes("holder", command.holder.encode(), limits.HOLDER_BYTES)
    if not command.holder:
        raise Invalid("the holder is empty", metadata={"field": "holder"})
    check_number("ttl_ms", command.ttl_ms, limits.LEASE_TTL_MAX_MS)
    if command.ttl_ms < limits.LEASE_TTL_MIN_MS:
        raise Invalid(
            f"ttl_ms is {command.ttl_ms}, at least {limits.LEASE_TTL_MIN_MS} is wanted",
            metadata={"field": "ttl_ms", "limit": str(limits.LEASE_TTL_MIN_MS)},
        )


def _target(message: log_pb2.Target) -> Target:
    return Target(message.namespace, message.agent, message.branch)
