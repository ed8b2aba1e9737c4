"""Commands on branches to the messages of log/v1 and back.

Rules of this file: those of `commands.py`. A fork's fingerprint covers the point as it was asked for, and not the
seq that this led to: a retry may find another one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, assert_never

from tallystick.errors import Invalid
from tallystick.log.v1 import log_pb2
from tallystick_node.core import limits
from tallystick_node.core.chain import hash_parts
from tallystick_node.core.commands import MAIN, BranchCommand, DeleteBranch, Fork, ForkTeam, Idempotency, Target
from tallystick_node.wire.errors import UnsupportedFormat
from tallystick_node.wire.fields import check_bytes, check_idempotency, check_name, check_target

_FINGERPRINT_BYTES: Final = 16


def keyed_fork(command: Fork, key: str, asked: str) -> Fork:
    """The command with its idempotency key, if that is not empty. `asked`: the point of the log, in any one form."""
    return replace(command, idempotency=_known(key, "fork", *command.source, command.branch, asked))


def keyed_team(command: ForkTeam, key: str) -> ForkTeam:
    """The same, of the fork of a team."""
    names = (command.namespace, command.prefix, command.source_branch, command.branch)
    return replace(command, idempotency=_known(key, "team", *names, str(command.position)))


def keyed_deletion(command: DeleteBranch, key: str) -> DeleteBranch:
    """The same, of the end of a branch."""
    return replace(command, idempotency=_known(key, "branch", *command.target, str(command.expected_seq)))


def encode_branch_command(command: BranchCommand) -> log_pb2.Command:
    """The message of a command.

    Raises:
        Invalid: a name or a length breaks a rule.
    """
    check_bytes("actor", command.actor.encode(), limits.ACTOR_BYTES)
    check_idempotency(command.idempotency)
    message = log_pb2.Command(time_unix_ms=command.time_unix_ms)
    match command:
        case Fork():
            check_target(command.source)
            check_name("branch", command.branch)
            message.fork.CopyFrom(_fork(command))
            message.fork.log.CopyFrom(log_pb2.ForkedLog(target=_message(command.source), at_seq=command.at_seq))
        case ForkTeam():
            _check_team(command)
            message.fork.CopyFrom(_fork(command))
            message.fork.team.CopyFrom(_team(command))
        case DeleteBranch():
            check_target(command.target)
            if command.target.branch == MAIN:
                raise Invalid(f"{MAIN!r} goes with its agent: delete that", metadata={"field": "branch"})
            message.delete_branch.CopyFrom(_deletion(command))
        case _:
            assert_never(command)
    return message


def decode_branch_command(message: log_pb2.Command) -> BranchCommand:
    """A command that was encoded here.

    Raises:
        UnsupportedFormat: this version does not know it.
    """
    time_unix_ms = message.time_unix_ms
    if message.HasField("delete_branch"):
        ended = message.delete_branch
        expected_seq = ended.expected_seq if ended.HasField("expected_seq") else None
        return DeleteBranch(
            time_unix_ms, _target(ended.target), _idempotency(ended), expected_seq, ended.epoch, ended.actor
        )
    fork = message.fork
    key = _idempotency(fork)
    match fork.WhichOneof("source"):
        case "log":
            at_seq = fork.log.at_seq if fork.log.HasField("at_seq") else None
            return Fork(time_unix_ms, _target(fork.log.target), fork.branch, at_seq, key, fork.actor)
        case "team":
            team = fork.team
            return ForkTeam(
                time_unix_ms, team.namespace, team.prefix, fork.branch, team.position, team.branch, key, fork.actor
            )
        case _:
            raise UnsupportedFormat("a fork that this version does not know")


def _check_team(command: ForkTeam) -> None:
    check_name("namespace", command.namespace)
    if command.prefix:
        check_name("prefix", command.prefix)
    check_name("source_branch", command.source_branch)
    check_name("branch", command.branch)


def _known(key: str, *parts: str) -> Idempotency | None:
    if not key:
        return None
    return Idempotency(key, hash_parts(b"", *(part.encode() for part in parts))[:_FINGERPRINT_BYTES])


def _fork(command: Fork | ForkTeam) -> log_pb2.Fork:
    return log_pb2.Fork(branch=command.branch, actor=command.actor, idempotency=_key(command.idempotency))


def _team(command: ForkTeam) -> log_pb2.ForkedTeam:
    return log_pb2.ForkedTeam(
        namespace=command.namespace, prefix=command.prefix, branch=command.source_branch, position=command.position
    )


def _deletion(command: DeleteBranch) -> log_pb2.DeleteBranch:
    return log_pb2.DeleteBranch(
        target=_message(command.target),
        idempotency=_key(command.idempotency),
        expected_seq=command.expected_seq,
        actor=command.actor,
        epoch=command.epoch,
    )


def _key(known: Idempotency | None) -> log_pb2.Idempotency | None:
    return log_pb2.Idempotency(key=known.key, fingerprint=known.fingerprint) if known is not None else None


def _idempotency(message: log_pb2.Fork | log_pb2.DeleteBranch) -> Idempotency | None:
    if not message.HasField("idempotency"):
        return None
    return Idempotency(message.idempotency.key, message.idempotency.fingerprint)


def _message(target: Target) -> log_pb2.Target:
    return log_pb2.Target(namespace=target.namespace, agent=target.agent, branch=target.branch)


def _target(message: log_pb2.Target) -> Target:
    return Target(message.namespace, message.agent, message.branch)
