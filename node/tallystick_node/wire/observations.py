"""What a client says was read: checked, and taken out where a request is told from another.

Rules of this file:
- Only its form is checked. Whether it can be so is core's affair, and no reason to refuse.
- What was read is no part of what is asked: a retry may have read more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from google.protobuf.message import DecodeError

from tallystick.errors import Invalid, Reason
from tallystick.v1 import common_pb2, state_pb2
from tallystick_node.core import limits
from tallystick_node.core.commands import (
    MAIN,
    AgentCommand,
    Append,
    BeginStep,
    BeginTurn,
    Checkpoint,
    DeleteAgent,
    EndStep,
    EndTurn,
    Mutation,
    StepCommand,
)
from tallystick_node.core.observation_records import SeenLog
from tallystick_node.wire.errors import Malformed
from tallystick_node.wire.fields import check_bytes, check_name


def admit_observed(message: common_pb2.Observed) -> tuple[SeenLog, ...]:
    """The logs that were read, of what a client handed in.

    Raises:
        Invalid: a name, a number or a length breaks a rule; `metadata["field"]` names the field.
    """
    _check_count("observed.logs", len(message.logs), limits.OBSERVED_LOGS)
    _check_count("observed.contexts", len(message.contexts), limits.OBSERVED_CONTEXTS)
    logs = observed_logs(message)
    for seen in logs:
        check_name("observed.logs.agent", seen.agent)
        check_name("observed.logs.branch", seen.branch)
        check_bytes("observed.logs.hash", seen.hash, limits.OBSERVED_HASH_BYTES)
    for context in message.contexts:
        check_name("observed.contexts.name", context.name)
        check_bytes("observed.contexts.guid", context.guid, limits.OBSERVED_GUID_BYTES)
        check_bytes("observed.contexts.cursor", context.cursor, limits.OBSERVED_CURSOR_BYTES)
    if len({seen[:2] for seen in logs}) < len(logs):
        raise Invalid("a log is named twice", metadata={"field": "observed.logs"})
    if len({context.name for context in message.contexts}) < len(message.contexts):
        raise Invalid("a context is named twice", metadata={"field": "observed.contexts"})
    return logs


def observed_logs(message: common_pb2.Observed) -> tuple[SeenLog, ...]:
    """The same, of what was admitted before."""
    return tuple([SeenLog(each.agent, each.branch or MAIN, each.seq, each.hash) for each in message.logs])


def without_observed(mutations: Sequence[Mutation]) -> tuple[Mutation, ...]:
    """The mutations as if they said nothing of what was read."""
    return tuple([_without(mutation) for mutation in mutations])


def bare(command: AgentCommand | StepCommand) -> AgentCommand | StepCommand:
    """The same command as if it said nothing of what was read; itself if it does not."""
    match command:
        case Append():
            if all(mutation.observed is None for mutation in command.mutations):
                return command
            return replace(command, mutations=without_observed(command.mutations))
        case Checkpoint():
            return replace(command, observed=b"") if command.observed else command
        case DeleteAgent():
            return command
        case BeginStep() | EndStep() | BeginTurn() | EndTurn():
            if command.mutation.observed is None:
                return command
            return replace(command, mutation=_without(command.mutation))


def _without(mutation: Mutation) -> Mutation:
    if mutation.observed is None:
        return mutation
    try:
        message = state_pb2.Mutation.FromString(mutation.raw)
    except DecodeError as error:
        raise Malformed(f"a mutation: {error}") from error
    message.ClearField("observed")
    return mutation._replace(raw=message.SerializeToString(deterministic=True), observed=None)


def _check_count(field: str, count: int, limit: int) -> None:
    if count > limit:
        raise Invalid(
            f"{count} {field}, the limit is {limit}",
            reason=Reason.TOO_LARGE,
            metadata={"field": field, "limit": str(limit), "unit": "items"},
        )
