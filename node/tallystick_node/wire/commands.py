"""Commands to the bytes of log/v1 and back.

Rules of this file:
- Those on contexts are in `context_commands.py`, those on leases in `lease_commands.py`, those on steps and turns in
  `step_commands.py`, those on branches in `branch_commands.py`, those on several agents in `team_commands.py`, that on
  schemas in `schema_commands.py`.
- `encode_command` checks what does not depend on a state; `decode_commands` trusts, for it reads what was encoded.
- The fingerprint covers the request, not the attempt: neither the time nor the key, nor who hands it in, nor the epoch,
  nor what it was checked against: a new owner that asks again with a former one's key gets the answer that was decided.
  Nor what was read before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Final, assert_never

from google.protobuf.message import DecodeError

from tallystick.log.v1 import log_pb2
from tallystick.v1 import common_pb2
from tallystick_node.core import limits
from tallystick_node.core.commands import (
    AcquireLease,
    AgentCommand,
    Append,
    BeginStep,
    BeginTurn,
    Checkpoint,
    Command,
    DeleteAgent,
    DeleteBranch,
    DeleteTeamCheckpoint,
    EndStep,
    EndTurn,
    ExpireLease,
    Fork,
    ForkTeam,
    Idempotency,
    ReleaseLease,
    RenewLease,
    StepCommand,
    TakeTeamCheckpoint,
    Target,
    Transact,
)
from tallystick_node.core.payload_records import CollectPayloads, PutChunks, PutPayload
from tallystick_node.core.retention_records import CompactLog, PinCheckpoint, SetRetention
from tallystick_node.core.schema_records import RegisterSchema
from tallystick_node.wire.branch_commands import decode_branch_command, encode_branch_command
from tallystick_node.wire.context_commands import decode_context_command, encode_context_command
from tallystick_node.wire.errors import Malformed
from tallystick_node.wire.fields import (
    check_bytes,
    check_idempotency,
    check_metadata,
    check_name,
    check_number,
    check_target,
)
from tallystick_node.wire.lease_commands import decode_lease_command, encode_lease_command
from tallystick_node.wire.mutations import admit_payloads, decode_mutation
from tallystick_node.wire.observations import admit_observed, bare
from tallystick_node.wire.payload_commands import decode_payload_command, encode_payload_command
from tallystick_node.wire.retention_commands import decode_retention_command, encode_retention_command
from tallystick_node.wire.schema_commands import decode_schema_command, encode_schema_command
from tallystick_node.wire.step_commands import StepBody, decode_step_command, encode_step_command, step_body
from tallystick_node.wire.team_commands import decode_team_command, encode_team_command

_FINGERPRINT_BYTES: Final = 16

_BATCH_OVERHEAD_BYTES: Final = 16
"""At most what a command takes in a batch besides its own bytes, and the batch in a command."""


def fingerprint(command: AgentCommand | StepCommand) -> bytes:
    """16 bytes that tell one request from another, whatever its time, its key and who hands it in."""
    message = _encode_keyed(bare(command))
    _body(message).ClearField("idempotency")
    return _fingerprint(message)


def encode_request(command: AgentCommand | StepCommand, key: str) -> bytes:
    """A `log.v1.Command` of what a client asked: `command`, with its idempotency key if that is not empty.

    Raises:
        Invalid: a name, a length or a JSON text breaks a rule.
    """
    message = _checked(command)
    if key:
        request = bare(command)
        known = Idempotency(key, _fingerprint(message if request is command else _encode_keyed(request)))
        check_idempotency(known)
        body = _body(message)
        body.actor, body.epoch = command.actor, command.epoch
        if isinstance(command, Append):
            _say_what_was_checked(message.append, command)
        body.idempotency.key, body.idempotency.fingerprint = known.key, known.fingerprint
        message.time_unix_ms = command.time_unix_ms
    return _serialized(message)


def encode_command(command: Command) -> bytes:
    """A `log.v1.Command`. Mutations were checked by `admit_mutations`; everything else is checked here.

    Raises:
        Invalid: a name, a length or a JSON text breaks a rule.
    """
    if isinstance(command, RegisterSchema):
        return _serialized(encode_schema_command(command))
    if isinstance(command, (AcquireLease, RenewLease, ReleaseLease, ExpireLease)):
        return _serialized(encode_lease_command(command))
    if isinstance(command, (Append, Checkpoint, DeleteAgent, BeginStep, EndStep, BeginTurn, EndTurn)):
        return _serialized(_checked(command))
    if isinstance(command, (Fork, ForkTeam, DeleteBranch)):
        return _serialized(encode_branch_command(command))
    if isinstance(command, (Transact, TakeTeamCheckpoint, DeleteTeamCheckpoint)):
        return _serialized(encode_team_command(command))
    if isinstance(command, (PutChunks, PutPayload, CollectPayloads)):
        return _serialized(encode_payload_command(command))
    if isinstance(command, (SetRetention, CompactLog, PinCheckpoint)):
        return _serialized(encode_retention_command(command))
    return _serialized(encode_context_command(command))


def _checked(command: AgentCommand | StepCommand) -> log_pb2.Command:
    if isinstance(command, (BeginStep, EndStep, BeginTurn, EndTurn)):
        return encode_step_command(command)
    check_target(command.target)
    check_bytes("actor", command.actor.encode(), limits.ACTOR_BYTES)
    check_idempotency(command.idempotency)
    if isinstance(command, Checkpoint):
        check_name("name", command.name)
        check_number("step", command.step, limits.STEP_MAX)
        check_metadata("metadata", command.metadata, dict)
        check_metadata("pending_calls", command.pending_calls, list)
        if command.observed:
            admit_observed(common_pb2.Observed.FromString(command.observed))
    return _encode_agent(command)


def _serialized(message: log_pb2.Command) -> bytes:
    data = message.SerializeToString(deterministic=True)
    check_bytes("command", data, limits.COMMAND_BYTES)
    return data


def _fingerprint(message: log_pb2.Command) -> bytes:
    """Of a message without a key; clears its time, actor and epoch, and what it was checked against."""
    message.time_unix_ms = 0
    body = _body(message)
    body.actor, body.epoch = "", 0
    if isinstance(body, log_pb2.Append):
        body.ClearField("schemas")
        body.ClearField("head")
    return hashlib.sha256(message.SerializeToString(deterministic=True)).digest()[:_FINGERPRINT_BYTES]


def _body(message: log_pb2.Command) -> log_pb2.Append | log_pb2.Checkpoint | log_pb2.DeleteAgent | StepBody:
    match message.WhichOneof("body"):
        case "append":
            return message.append
        case "checkpoint":
            return message.checkpoint
        case "delete_agent":
            return message.delete_agent
        case _:
            return step_body(message)


def join_commands(commands: Iterable[bytes]) -> Iterator[bytes]:
    """Encoded commands as few: batches, in their order, none larger than a command may be; one alone stays as it is."""
    batch: list[bytes] = []
    size_bytes = 0
    for command in commands:
        if batch and size_bytes + len(command) + _BATCH_OVERHEAD_BYTES > limits.COMMAND_BYTES:
            yield _encode_batch(batch)
            batch, size_bytes = [], 0
        batch.append(command)
        size_bytes += len(command) + _BATCH_OVERHEAD_BYTES
    if batch:
        yield _encode_batch(batch)


def _encode_batch(commands: list[bytes]) -> bytes:
    if len(commands) == 1:
        return commands[0]
    batch = log_pb2.Batch(commands=[log_pb2.Command.FromString(command) for command in commands])
    return log_pb2.Command(batch=batch).SerializeToString(deterministic=True)


def decode_commands(data: bytes) -> list[Command]:
    """The commands in what was proposed: those of a batch, or the one that stands alone.

    Raises:
        Malformed: the bytes are no command.
        UnsupportedFormat: this version does not know the command.
    """
    message = _parse(data)
    if message.HasField("batch"):
        return [_decode(command) for command in message.batch.commands]
    return [_decode(message)]


def _parse(data: bytes) -> log_pb2.Command:
    try:
        return log_pb2.Command.FromString(data)
    except DecodeError as error:
        raise Malformed(f"a command: {error}") from error


def _decode(message: log_pb2.Command) -> Command:
    match message.WhichOneof("body"):
        case "append":
            return _decode_append(message.time_unix_ms, message.append)
        case "checkpoint":
            return _decode_checkpoint(message.time_unix_ms, message.checkpoint)
        case "delete_agent":
            return _decode_delete_agent(message.time_unix_ms, message.delete_agent)
        case "acquire_lease" | "renew_lease" | "release_lease" | "expire_lease":
            return decode_lease_command(message)
        case "begin_step" | "end_step" | "begin_turn" | "end_turn":
            return decode_step_command(message)
        case "fork" | "delete_branch":
            return decode_branch_command(message)
        case "register_schema":
            return decode_schema_command(message)
        case "transact" | "take_team_checkpoint" | "delete_team_checkpoint":
            return decode_team_command(message)
        case "put_chunks" | "put_payload" | "collect_payloads":
            return decode_payload_command(message)
        case "set_retention" | "compact_log" | "pin_checkpoint":
            return decode_retention_command(message)
        case _:
            return decode_context_command(message)


def _encode_keyed(command: AgentCommand | StepCommand) -> log_pb2.Command:
    if isinstance(command, (BeginStep, EndStep, BeginTurn, EndTurn)):
        return encode_step_command(command)
    return _encode_agent(command)


def _encode_agent(command: AgentCommand) -> log_pb2.Command:
    target = log_pb2.Target(
        namespace=command.target.namespace, agent=command.target.agent, branch=command.target.branch
    )
    known = command.idempotency
    idempotency = log_pb2.Idempotency(key=known.key, fingerprint=known.fingerprint) if known is not None else None
    message = log_pb2.Command(time_unix_ms=command.time_unix_ms)
    match command:
        case Append():
            message.append.CopyFrom(_encode_append(command, target, idempotency))
        case Checkpoint():
            message.checkpoint.CopyFrom(_encode_checkpoint(command, target, idempotency))
        case DeleteAgent():
            message.delete_agent.CopyFrom(
                log_pb2.DeleteAgent(
                    target=target,
                    idempotency=idempotency,
                    expected_seq=command.expected_seq,
                    actor=command.actor,
                    epoch=command.epoch,
                )
            )
        case _:
            assert_never(command)
    return message


def _encode_append(command: Append, target: log_pb2.Target, idempotency: log_pb2.Idempotency | None) -> log_pb2.Append:
    message = log_pb2.Append(
        target=target,
        idempotency=idempotency,
        expected_seq=command.expected_seq,
        epoch=command.epoch,
        actor=command.actor,
        mutations=[mutation.raw for mutation in command.mutations],
    )
    _say_what_was_checked(message, command)
    return message


def _say_what_was_checked(message: log_pb2.Append, command: Append) -> None:
    if command.schemas:
        message.schemas = command.schemas
    if command.head is not None:
        message.head = command.head


def _encode_checkpoint(
    command: Checkpoint, target: log_pb2.Target, idempotency: log_pb2.Idempotency | None
) -> log_pb2.Checkpoint:
    return log_pb2.Checkpoint(
        target=target,
        idempotency=idempotency,
        expected_seq=command.expected_seq,
        epoch=command.epoch,
        actor=command.actor,
        name=command.name,
        step=command.step,
        metadata=command.metadata,
        pending_calls=command.pending_calls,
        payloads=admit_payloads("metadata", command.metadata, command.pending_calls),
        observed=command.observed,
    )


def _decode_append(time_unix_ms: int, message: log_pb2.Append) -> Append:
    return Append(
        time_unix_ms=time_unix_ms,
        target=_target(message.target),
        mutations=tuple([decode_mutation(raw) for raw in message.mutations]),
        idempotency=_idempotency(message),
        expected_seq=_expected_seq(message),
        epoch=message.epoch,
        actor=message.actor,
        schemas=message.schemas,
        head=message.head if message.HasField("head") else None,
    )


def _decode_checkpoint(time_unix_ms: int, message: log_pb2.Checkpoint) -> Checkpoint:
    return Checkpoint(
        time_unix_ms=time_unix_ms,
        target=_target(message.target),
        name=message.name,
        step=message.step,
        metadata=message.metadata,
        pending_calls=message.pending_calls,
        idempotency=_idempotency(message),
        expected_seq=_expected_seq(message),
        epoch=message.epoch,
        actor=message.actor,
        payloads=tuple(message.payloads),
        observed=message.observed,
    )


def _decode_delete_agent(time_unix_ms: int, message: log_pb2.DeleteAgent) -> DeleteAgent:
    return DeleteAgent(
        time_unix_ms=time_unix_ms,
        target=_target(message.target),
        idempotency=_idempotency(message),
        expected_seq=_expected_seq(message),
        actor=message.actor,
        epoch=message.epoch,
    )


def _target(message: log_pb2.Target) -> Target:
    return Target(message.namespace, message.agent, message.branch)


def _idempotency(message: log_pb2.Append | log_pb2.Checkpoint | log_pb2.DeleteAgent) -> Idempotency | None:
    if not message.HasField("idempotency"):
        return None
    return Idempotency(message.idempotency.key, message.idempotency.fingerprint)


def _expected_seq(message: log_pb2.Append | log_pb2.Checkpoint | log_pb2.DeleteAgent) -> int | None:
    return message.expected_seq if message.HasField("expected_seq") else None
