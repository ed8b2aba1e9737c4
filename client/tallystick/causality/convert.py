"""Messages of causality to values and back: no decision is taken here.

Rules of this file: those of `_convert.py`.
"""

from __future__ import annotations

from typing import Final

from google.protobuf.message import DecodeError

from tallystick.causality.values import (
    CausalRelation,
    ChangedContext,
    ChangedLog,
    ChangeKind,
    Changes,
    ComparedMutation,
    Comparison,
    Evidence,
    LogPoint,
    Observed,
    ObservedContext,
    ObservedLog,
)
from tallystick.contexts.cursor import Cursor
from tallystick.errors import Corrupt, Invalid
from tallystick.v1 import causality_pb2, common_pb2, context_pb2

_MAIN: Final = "main"

_RELATIONS: Final = {
    causality_pb2.CAUSAL_RELATION_SAME: CausalRelation.SAME,
    causality_pb2.CAUSAL_RELATION_BEFORE: CausalRelation.BEFORE,
    causality_pb2.CAUSAL_RELATION_AFTER: CausalRelation.AFTER,
    causality_pb2.CAUSAL_RELATION_CONCURRENT: CausalRelation.CONCURRENT,
}

_KINDS: Final = {
    causality_pb2.CHANGE_KIND_MORE: ChangeKind.MORE,
    causality_pb2.CHANGE_KIND_GONE: ChangeKind.GONE,
    causality_pb2.CHANGE_KIND_ANOTHER: ChangeKind.ANOTHER,
}


def cursor_of(data: bytes) -> Cursor:
    """The cursor of its bytes.

    Raises:
        Invalid: they are none.
    """
    try:
        return Cursor.of(context_pb2.Cursor.FromString(data))
    except DecodeError as error:
        raise Invalid(f"not a cursor: {error}", metadata={"field": "cursor"}) from error


def observed_message(observed: Observed) -> common_pb2.Observed:
    """What was read, as it is sent."""
    return common_pb2.Observed(
        logs=[log_message(each) for each in observed.logs],
        contexts=[
            common_pb2.ObservedContext(name=each.name, guid=each.guid, cursor=each.cursor_bytes)
            for each in observed.contexts
        ],
    )


def log_message(seen: ObservedLog) -> common_pb2.ObservedLog:
    """A log that was read, as it is sent."""
    branch = seen.branch if seen.branch != _MAIN else ""
    return common_pb2.ObservedLog(agent=seen.agent, branch=branch, seq=seen.seq, hash=seen.hash)


def observed(message: common_pb2.Observed) -> Observed:
    """What was read, as it was told."""
    return Observed(
        tuple([ObservedLog(each.agent, each.seq, each.branch or _MAIN, each.hash) for each in message.logs]),
        tuple([ObservedContext(each.name, each.guid, each.cursor) for each in message.contexts]),
    )


def point_message(namespace: str, point: LogPoint) -> causality_pb2.LogPoint:
    """A point of a log, as it is asked for."""
    branch = point.branch if point.branch != _MAIN else ""
    ref = common_pb2.AgentRef(namespace=namespace, agent=point.agent, branch=branch)
    return causality_pb2.LogPoint(agent=ref, seq=point.seq)


def comparison(message: causality_pb2.CompareResponse) -> Comparison:
    """How two mutations stand to each other.

    Raises:
        Corrupt: in a way that this client does not know.
    """
    relation = _RELATIONS.get(message.relation)
    if relation is None:
        raise Corrupt(f"an unknown relation {message.relation}: is this client older than the cluster?")
    path = tuple([Evidence(_point(each.at), _point(each.observed)) for each in message.path])
    return Comparison(relation, _compared(message.a), _compared(message.b), path, message.has_gaps)


def changes(message: causality_pb2.ChangedResponse) -> Changes:
    """What changed.

    Raises:
        Corrupt: in a way that this client does not know.
    """
    logs = [
        ChangedLog(each.agent, each.branch or _MAIN, _kind(each.change), each.seen_seq, each.head_seq, each.hash)
        for each in message.logs
    ]
    contexts = [ChangedContext(each.name, _kind(each.change), each.guid, each.cursor) for each in message.contexts]
    return Changes(tuple(logs), tuple(contexts))


def _kind(number: causality_pb2.ChangeKind.ValueType) -> ChangeKind:
    kind = _KINDS.get(number)
    if kind is None:
        raise Corrupt(f"an unknown change {number}: is this client older than the cluster?")
    return kind


def _point(message: causality_pb2.LogPoint) -> LogPoint:
    return LogPoint(message.agent.agent, message.seq, message.agent.branch or _MAIN)


def _compared(message: causality_pb2.CausalPoint) -> ComparedMutation:
    point = LogPoint(message.agent.agent, message.seq, message.agent.branch or _MAIN)
    return ComparedMutation(point, message.hash, message.time_unix_ms)
