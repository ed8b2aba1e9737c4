"""Commands on shared contexts to the messages of log/v1 and back.

Rules of this file: those of `commands.py`. What an update holds is not known here: whoever proposes it has checked it.
"""

from __future__ import annotations

from typing import Final, assert_never

from tallystick.errors import Invalid
from tallystick.log.v1 import log_pb2
from tallystick_node.core import limits
from tallystick_node.core.commands import (
    AllocateWriters,
    ContextCommand,
    CreateContext,
    DeleteContext,
    SaveVersion,
    SealContext,
    StartEpoch,
    Target,
)
from tallystick_node.wire.errors import UnsupportedFormat
from tallystick_node.wire.fields import check_bytes, check_name, check_target

GUID_BYTES: Final = 16


def check_guid(guid: bytes) -> None:
    """Raises `Invalid` unless it has 16 bytes."""
    if len(guid) != GUID_BYTES:
        raise Invalid(f"guid has {len(guid)} bytes, not {GUID_BYTES}", metadata={"field": "guid"})


def check_context_name(namespace: str, name: str) -> None:
    """Raises `Invalid` (`INVALID_NAME`) unless both are names."""
    check_name("namespace", namespace)
    check_name("context", name)


def encode_context_command(command: ContextCommand) -> log_pb2.Command:
    """The message of a command.

    Raises:
        Invalid: a name or a length breaks a rule.
    """
    check_bytes("actor", command.actor.encode(), limits.ACTOR_BYTES)
    message = log_pb2.Command(time_unix_ms=command.time_unix_ms)
    match command:
        case CreateContext():
            message.create_context.CopyFrom(_encode_create(command))
        case DeleteContext():
            message.delete_context.CopyFrom(_encode_delete(command))
        case AllocateWriters():
            check_name("namespace", command.namespace)
            if command.count < 1:
                raise Invalid("count is 0", metadata={"field": "count"})
            message.allocate_writers.CopyFrom(
                log_pb2.AllocateWriters(namespace=command.namespace, actor=command.actor, count=command.count)
            )
        case SealContext():
            check_guid(command.guid)
            message.seal_context.CopyFrom(
                log_pb2.SealContext(guid=command.guid, epoch=command.epoch, actor=command.actor)
            )
        case StartEpoch():
            check_guid(command.guid)
            message.start_epoch.CopyFrom(
                log_pb2.StartEpoch(
                    guid=command.guid, epoch=command.epoch, base=command.base, actor=command.actor, seal=command.seal
                )
            )
        case SaveVersion():
            message.save_version.CopyFrom(_encode_version(command))
        case _:
            assert_never(command)
    return message


def decode_context_command(message: log_pb2.Command) -> ContextCommand:
    """A command that was encoded here.

    Raises:
        UnsupportedFormat: this version does not know it.
    """
    time_unix_ms = message.time_unix_ms
    match message.WhichOneof("body"):
        case "create_context":
            create = message.create_context
            return CreateContext(
                time_unix_ms, create.namespace, create.name, create.guid, create.schema, create.seed, create.actor
            )
        case "delete_context":
            delete = message.delete_context
            return DeleteContext(time_unix_ms, delete.namespace, delete.name, delete.guid, delete.actor)
        case "allocate_writers":
            allocate = message.allocate_writers
            return AllocateWriters(time_unix_ms, allocate.namespace, allocate.count, allocate.actor)
        case "seal_context":
            seal = message.seal_context
            return SealContext(time_unix_ms, seal.guid, seal.epoch, seal.actor)
        case "start_epoch":
            start = message.start_epoch
            return StartEpoch(time_unix_ms, start.guid, start.epoch, start.seal, start.base, start.actor)
        case "save_version":
            return _decode_version(time_unix_ms, message.save_version)
        case _:
            raise UnsupportedFormat("a command that this version does not know")


def _encode_create(command: CreateContext) -> log_pb2.CreateContext:
    check_context_name(command.namespace, command.name)
    check_guid(command.guid)
    return log_pb2.CreateContext(
        namespace=command.namespace,
        name=command.name,
        guid=command.guid,
        actor=command.actor,
        schema=command.schema,
        seed=command.seed,
    )


def _encode_delete(command: DeleteContext) -> log_pb2.DeleteContext:
    check_context_name(command.namespace, command.name)
    if command.guid:
        check_guid(command.guid)
    return log_pb2.DeleteContext(namespace=command.namespace, name=command.name, guid=command.guid, actor=command.actor)


def _encode_version(command: SaveVersion) -> log_pb2.SaveVersion:
    check_guid(command.guid)
    check_name("name", command.name)
    if command.checkpoint:
        check_name("checkpoint", command.checkpoint)
    message = log_pb2.SaveVersion(
        guid=command.guid,
        epoch=command.epoch,
        name=command.name,
        cursor=command.cursor,
        content=command.content,
        actor=command.actor,
        checkpoint=command.checkpoint,
    )
    if command.target is not None:
        check_target(command.target)
        namespace, agent, branch = command.target
        message.target.CopyFrom(log_pb2.Target(namespace=namespace, agent=agent, branch=branch))
    return message


def _decode_version(time_unix_ms: int, message: log_pb2.SaveVersion) -> SaveVersion:
    named = message.target
    return SaveVersion(
        time_unix_ms,
        message.guid,
        message.epoch,
        message.name,
        message.cursor,
        message.content,
        Target(named.namespace, named.agent, named.branch) if message.HasField("target") else None,
        message.checkpoint,
        message.actor,
    )
