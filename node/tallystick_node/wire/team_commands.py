"""Commands on several agents at once to the messages of log/v1 and back.

Rules of this file: those of `commands.py`. The fingerprint of a transaction is that of its message, likewise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from tallystick.errors import Invalid, Reason
from tallystick.log.v1 import log_pb2
from tallystick_node.core import limits
from tallystick_node.core.chain import hash_parts
from tallystick_node.core.commands import (
    DeleteTeamCheckpoint,
    Idempotency,
    Part,
    SeenContext,
    TakeTeamCheckpoint,
    Target,
    TeamCommand,
    Transact,
)
from tallystick_node.wire.fields import check_bytes, check_idempotency, check_metadata, check_name, check_target
from tallystick_node.wire.mutations import decode_mutation
from tallystick_node.wire.observations import without_observed

_FINGERPRINT_BYTES: Final = 16


def keyed_transaction(command: Transact, key: str) -> Transact:
    """The command with its idempotency key, if that is not empty.

    Raises:
        Invalid: as `encode_team_command`.
    """
    if not key:
        return command
    unleased = tuple(
        [part._replace(epoch=0, head=None, mutations=without_observed(part.mutations)) for part in command.parts]
    )
    asked = replace(command, time_unix_ms=0, parts=unleased, idempotency=None, actor="", schemas=0)
    request = encode_team_command(asked)
    return replace(command, idempotency=Idempotency(key, _fingerprint(request)))


def keyed_checkpoint(command: TakeTeamCheckpoint, key: str) -> TakeTeamCheckpoint:
    """The command with the fingerprint of its request and of the key.

    Raises:
        Invalid: as `encode_team_command`.
    """
    request = encode_team_command(replace(command, time_unix_ms=0, fingerprint=b"", actor=""))
    return replace(command, fingerprint=hash_parts(key.encode(), _fingerprint(request))[:_FINGERPRINT_BYTES])


def encode_team_command(command: TeamCommand) -> log_pb2.Command:
    """The message of a command.

    Raises:
        Invalid: a name, a number or a length breaks a rule, or a log is named twice.
    """
    check_bytes("actor", command.actor.encode(), limits.ACTOR_BYTES)
    message = log_pb2.Command(time_unix_ms=command.time_unix_ms)
    if isinstance(command, Transact):
        check_idempotency(command.idempotency)
        _check_count("parts", len(command.parts), limits.TEAM_AGENTS)
        _check_count("parts", sum(bool(part.mutations) for part in command.parts), limits.TRANSACTION_PARTS)
        _check_count("mutations", sum(len(part.mutations) for part in command.parts), limits.APPEND_MUTATIONS)
        if not command.parts or not command.parts[0].mutations:
            raise Invalid("the first part of a transaction appends something", metadata={"field": "parts"})
        _check_targets([part.target for part in command.parts], command.parts[0].target.namespace)
        message.transact.CopyFrom(_transact(command))
        return message
    check_name("namespace", command.namespace)
    check_name("name", command.name)
    if isinstance(command, DeleteTeamCheckpoint):
        message.delete_team_checkpoint.CopyFrom(
            log_pb2.DeleteTeamCheckpoint(
                namespace=command.namespace, name=command.name, taken=command.taken, actor=command.actor
            )
        )
        return message
    check_name("branch", command.branch)
    if command.prefix:
        check_name("prefix", command.prefix)
    check_metadata("metadata", command.metadata, dict)
    _check_count("agents", len(command.members), limits.TEAM_AGENTS)
    _check_targets(command.members, command.namespace)
    _check_contexts(command.contexts)
    message.take_team_checkpoint.CopyFrom(_checkpoint(command))
    return message


def decode_team_command(message: log_pb2.Command) -> TeamCommand:
    """A command that was encoded here."""
    if message.HasField("take_team_checkpoint"):
        cut = message.take_team_checkpoint
        return TakeTeamCheckpoint(
            message.time_unix_ms,
            cut.namespace,
            cut.name,
            cut.fingerprint,
            tuple([Target(cut.namespace, each.agent, each.branch) for each in cut.members]),
            cut.prefix,
            cut.branch,
            tuple([SeenContext(each.name, each.cursor) for each in cut.contexts]),
            cut.metadata,
            cut.actor,
        )
    if message.HasField("delete_team_checkpoint"):
        gone = message.delete_team_checkpoint
        return DeleteTeamCheckpoint(message.time_unix_ms, gone.namespace, gone.name, gone.taken, gone.actor)
    transact = message.transact
    key = transact.idempotency
    return Transact(
        message.time_unix_ms,
        tuple([_part(transact.namespace, part) for part in transact.parts]),
        Idempotency(key.key, key.fingerprint) if transact.HasField("idempotency") else None,
        transact.actor,
        transact.schemas,
    )


def _check_count(field: str, count: int, limit: int) -> None:
    if count > limit:
        raise Invalid(
            f"{count} {field}, the limit is {limit}",
            reason=Reason.TOO_LARGE,
            metadata={"field": field, "limit": str(limit), "unit": "items"},
        )


def _check_targets(targets: Sequence[Target], namespace: str) -> None:
    for target in targets:
        check_target(target)
        if target.namespace != namespace:
            raise Invalid(f"{target.namespace!r} and {namespace!r} are two namespaces", metadata={"field": "namespace"})
    if len(set(targets)) < len(targets):
        raise Invalid("a log is named twice", metadata={"field": "agent"})


def _check_contexts(contexts: Sequence[SeenContext]) -> None:
    _check_count("contexts", len(contexts), limits.TEAM_CONTEXTS)
    for context in contexts:
        check_name("context", context.name)
        check_bytes("cursor", context.cursor, limits.CURSOR_BYTES)
    if len({context.name for context in contexts}) < len(contexts):
        raise Invalid("a context is named twice", metadata={"field": "contexts"})


def _fingerprint(message: log_pb2.Command) -> bytes:
    return hashlib.sha256(message.SerializeToString(deterministic=True)).digest()[:_FINGERPRINT_BYTES]


def _transact(command: Transact) -> log_pb2.Transact:
    known = command.idempotency
    return log_pb2.Transact(
        idempotency=log_pb2.Idempotency(key=known.key, fingerprint=known.fingerprint) if known is not None else None,
        actor=command.actor,
        namespace=command.parts[0].target.namespace,
        parts=[
            log_pb2.TransactedPart(
                agent=part.target.agent,
                branch=part.target.branch,
                expected_seq=part.expected_seq,
                epoch=part.epoch,
                mutations=[mutation.raw for mutation in part.mutations],
                head=part.head,
            )
            for part in command.parts
        ],
        schemas=command.schemas,
    )


def _checkpoint(command: TakeTeamCheckpoint) -> log_pb2.TakeTeamCheckpoint:
    return log_pb2.TakeTeamCheckpoint(
        namespace=command.namespace,
        name=command.name,
        fingerprint=command.fingerprint,
        actor=command.actor,
        members=[log_pb2.TeamLog(agent=target.agent, branch=target.branch) for target in command.members],
        prefix=command.prefix,
        branch=command.branch,
        contexts=[log_pb2.SeenContext(name=each.name, cursor=each.cursor) for each in command.contexts],
        metadata=command.metadata,
    )


def _part(namespace: str, message: log_pb2.TransactedPart) -> Part:
    return Part(
        Target(namespace, message.agent, message.branch),
        tuple([decode_mutation(raw) for raw in message.mutations]),
        message.expected_seq if message.HasField("expected_seq") else None,
        message.epoch,
        message.head if message.HasField("head") else None,
    )
