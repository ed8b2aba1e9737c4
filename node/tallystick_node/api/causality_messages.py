"""Messages of causality: what requests say was read, and what is answered."""

from __future__ import annotations

from typing import TypeAlias

from tallystick.v1 import causality_pb2, common_pb2, step_pb2
from tallystick_node.api import messages
from tallystick_node.causality.store import Changes, Compared
from tallystick_node.core.commands import Target
from tallystick_node.storage.causality_reads import Asked, Edge

StepRequest: TypeAlias = (
    step_pb2.BeginStepRequest | step_pb2.EndStepRequest | step_pb2.BeginTurnRequest | step_pb2.EndTurnRequest
)


def observed_in(request: StepRequest) -> common_pb2.Observed | None:
    """What a request says was read; None: it says nothing of it."""
    return request.observed if request.HasField("observed") else None


def log_point(message: causality_pb2.LogPoint) -> tuple[Target, int]:
    """A log, and a seq of it."""
    return messages.target(message.agent), message.seq


def compared(done: Compared, header: common_pb2.ResponseHeader) -> causality_pb2.CompareResponse:
    """The answer to a comparison."""
    return causality_pb2.CompareResponse(
        header=header,
        relation=done.relation,
        a=_point(done.a),
        b=_point(done.b),
        path=[_evidence(edge) for edge in done.found.path],
        has_gaps=done.found.has_gaps,
    )


def changed(changes: Changes, header: common_pb2.ResponseHeader) -> causality_pb2.ChangedResponse:
    """What changed."""
    return causality_pb2.ChangedResponse(header=header, logs=changes.logs, contexts=changes.contexts)


def _point(asked: Asked) -> causality_pb2.CausalPoint:
    return causality_pb2.CausalPoint(
        agent=messages.agent_ref(asked.target),
        seq=asked.point.seq,
        hash=asked.point.hash,
        time_unix_ms=asked.point.time_unix_ms,
        revision=messages.revision(asked.point.position),
    )


def _evidence(edge: Edge) -> causality_pb2.Evidence:
    return causality_pb2.Evidence(
        at=causality_pb2.LogPoint(agent=messages.agent_ref(edge.target), seq=edge.seq),
        observed=causality_pb2.LogPoint(agent=messages.agent_ref(edge.other), seq=edge.other_seq),
    )
