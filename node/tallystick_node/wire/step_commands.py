"""Commands on steps and turns to the messages of log/v1 and back.

Rules of this file: those of `commands.py`. Their mutations were made, and checked, by `step_mutations.py`.
"""

from __future__ import annotations

from typing import TypeAlias, assert_never

from tallystick.log.v1 import log_pb2
from tallystick_node.core import limits
from tallystick_node.core.commands import BeginStep, BeginTurn, EndStep, EndTurn, Idempotency, StepCommand, Target
from tallystick_node.wire.errors import UnsupportedFormat
from tallystick_node.wire.fields import check_bytes, check_idempotency, check_target
from tallystick_node.wire.mutations import decode_mutation

StepBody: TypeAlias = log_pb2.BeginStep | log_pb2.EndStep | log_pb2.BeginTurn | log_pb2.EndTurn


def encode_step_command(command: StepCommand) -> log_pb2.Command:
    """The message of a command.

    Raises:
        Invalid: a name or a length breaks a rule.
    """
    check_target(command.target)
    check_bytes("actor", command.actor.encode(), limits.ACTOR_BYTES)
    check_idempotency(command.idempotency)
    message = log_pb2.Command(time_unix_ms=command.time_unix_ms)
    match command:
        case BeginStep():
            message.begin_step.name, message.begin_step.retry_of = command.name, command.retry_of
        case EndStep():
            message.end_step.name, message.end_step.attempt = command.name, command.attempt
            message.end_step.has_failed = command.has_failed
        case BeginTurn():
            message.begin_turn.abandons = command.abandons
        case EndTurn():
            message.end_turn.turn = command.turn
        case _:
            assert_never(command)
    _fill(step_body(message), command)
    return message


def step_body(message: log_pb2.Command) -> StepBody:
    """The part that all of them have in common.

    Raises:
        UnsupportedFormat: it is no such command.
    """
    match message.WhichOneof("body"):
        case "begin_step":
            return message.begin_step
        case "end_step":
            return message.end_step
        case "begin_turn":
            return message.begin_turn
        case "end_turn":
            return message.end_turn
        case kind:
            raise UnsupportedFormat(f"command {kind or 'of a kind that is not known'}")


def decode_step_command(message: log_pb2.Command) -> StepCommand:
    """The command of a message that was encoded before.

    Raises:
        UnsupportedFormat: this version does not know the command.
    """
    body = step_body(message)
    time_unix_ms, mutation, named = message.time_unix_ms, decode_mutation(body.mutation), body.target
    target = Target(named.namespace, named.agent, named.branch)
    key = Idempotency(body.idempotency.key, body.idempotency.fingerprint) if body.HasField("idempotency") else None
    epoch, actor = body.epoch, body.actor
    match body:
        case log_pb2.BeginStep():
            return BeginStep(time_unix_ms, target, body.name, body.retry_of, mutation, key, epoch, actor)
        case log_pb2.EndStep():
            return EndStep(time_unix_ms, target, body.name, body.attempt, body.has_failed, mutation, key, epoch, actor)
        case log_pb2.BeginTurn():
            return BeginTurn(time_unix_ms, target, body.abandons, mutation, key, epoch, actor)
        case _:
            return EndTurn(time_unix_ms, target, body.turn, mutation, key, epoch, actor)


def _fill(body: StepBody, command: StepCommand) -> None:
    body.target.namespace, body.target.agent, body.target.branch = command.target
    if command.idempotency is not None:
        body.idempotency.key, body.idempotency.fingerprint = command.idempotency
    body.epoch, body.actor = command.epoch, command.actor
    body.mutation = command.mutation.raw
