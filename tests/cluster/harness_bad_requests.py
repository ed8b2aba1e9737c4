"""Requests that a node must refuse, each with the reason: one table of those that break a rule whatever the state is,
one of those that do not fit the state.

The state is that of the agent "x" of "demo", whose log is not empty, which has a checkpoint "once", and for which the
key "used" was used to set /n to 1.
"""

from __future__ import annotations

from typing import Final

from tallystick import Reason
from tallystick.v1 import common_pb2
from tallystick.v1 import state_pb2 as pb

SET: Final = pb.OPERATION_KIND_SET
REF: Final = common_pb2.AgentRef(namespace="demo", agent="x")


def operation(path: str = "/n", value: bytes = b"1", kind: int = SET) -> pb.Operation:
    made = pb.Operation(path=path, value=value)
    made.kind = kind  # type: ignore[assignment]  # unknown kinds too
    return made


def append(*operations: pb.Operation, agent: common_pb2.AgentRef = REF, key: str = "") -> pb.AppendRequest:
    mutation = pb.Mutation(operations=operations or [operation()])
    return pb.AppendRequest(agent=agent, mutations=[mutation], idempotency_key=key)


def append_mutation(mutation: pb.Mutation) -> pb.AppendRequest:
    return pb.AppendRequest(agent=REF, mutations=[mutation])


def append_value(text: bytes) -> pb.AppendRequest:
    return append(operation(value=text))


def ref(namespace: str = "demo", agent: str = "x", branch: str = "") -> common_pb2.AgentRef:
    return common_pb2.AgentRef(namespace=namespace, agent=agent, branch=branch)


def _checkpoint(*, step: int = 0, metadata: bytes = b"{}", pending_calls: bytes = b"[]") -> pb.CheckpointRequest:
    return pb.CheckpointRequest(agent=REF, name="c", step=step, metadata=metadata, pending_calls=pending_calls)


def _state(*, kind: str = "", payload: bytes = b"", cause: str = "", trace_id: str = "") -> pb.Mutation:
    return pb.Mutation(kind=kind, operations=[operation()], payload=payload, cause=cause, trace_id=trace_id)


ONE: Final = pb.Mutation(operations=[operation()])
LARGE: Final = pb.Mutation(operations=[operation(value=b'"' + b"x" * 900_000 + b'"')])
WRITES: Final = (pb.AppendRequest, pb.CheckpointRequest, pb.DeleteAgentRequest)

Request = (
    pb.AppendRequest
    | pb.CheckpointRequest
    | pb.DeleteAgentRequest
    | pb.ReadRequest
    | pb.ListMutationsRequest
    | pb.GetCheckpointRequest
    | pb.ListCheckpointsRequest
    | pb.ListAgentsRequest
)
Row = tuple[Request, Reason]

# fmt: off
REFUSED_BEFORE: Final[dict[str, Row]] = {
    "no mutation": (pb.AppendRequest(agent=REF), Reason.INVALID_REQUEST),
    "1001 mutations": (pb.AppendRequest(agent=REF, mutations=[ONE] * 1001), Reason.TOO_LARGE),
    "101 operations": (append(*[operation()] * 101), Reason.TOO_LARGE),
    "mutation over 1 MiB": (append_value(b'"' + b"x" * (1 << 20) + b'"'), Reason.TOO_LARGE),
    "command over 2 MiB": (pb.AppendRequest(agent=REF, mutations=[LARGE] * 3), Reason.TOO_LARGE),
    "pointer without slash": (append(operation(path="n")), Reason.INVALID_POINTER),
    "pointer with bad escape": (append(operation(path="/~2")), Reason.INVALID_POINTER),
    "pointer too long": (append(operation(path="/" + "n" * 1024)), Reason.TOO_LARGE),
    "pointer of 101 tokens": (append(operation(path="/n" * 101)), Reason.TOO_LARGE),
    "NaN": (append_value(b"NaN"), Reason.INVALID_JSON),
    "Infinity": (append_value(b"-Infinity"), Reason.INVALID_JSON),
    "float overflow": (append_value(b"1e999"), Reason.INVALID_JSON),
    "integer of 70 bits": (append_value(str(2**70).encode()), Reason.INVALID_JSON),
    "deep nesting": (append_value(b"[" * 100_000 + b"]" * 100_000), Reason.INVALID_JSON),
    "nesting of 101": (append_value(b"[" * 101 + b"]" * 101), Reason.TOO_DEEP),
    "not UTF-8": (append_value(b'"\xff"'), Reason.INVALID_JSON),
    "surrogate in UTF-8": (append_value(b'"\xed\xa0\x80"'), Reason.INVALID_JSON),
    "lone surrogate escaped": (append_value(b'"\\ud800"'), Reason.INVALID_JSON),
    "no JSON": (append_value(b"{"), Reason.INVALID_JSON),
    "empty value": (append_value(b""), Reason.INVALID_JSON),
    "unknown operation kind": (append(operation(kind=99)), Reason.INVALID_OPERATION),
    "unspecified operation kind": (append(operation(kind=0)), Reason.INVALID_OPERATION),
    "DELETE with a value": (append(operation(kind=2)), Reason.INVALID_OPERATION),
    "INCREMENT by text": (append(operation(kind=6, value=b'"1"')), Reason.INVALID_OPERATION),
    "event with operations": (append_mutation(_state(kind="note")), Reason.INVALID_REQUEST),
    "state with a payload": (append_mutation(_state(payload=b"1")), Reason.INVALID_REQUEST),
    "bad payload": (append_mutation(pb.Mutation(kind="note", payload=b"{")), Reason.INVALID_JSON),
    "cause too long": (append_mutation(_state(cause="c" * 1025)), Reason.TOO_LARGE),
    "trace id too long": (append_mutation(_state(trace_id="t" * 129)), Reason.TOO_LARGE),
    "actor too long": (pb.AppendRequest(agent=REF, actor="a" * 201, mutations=[ONE]), Reason.TOO_LARGE),
    "key too long": (append(key="k" * 65), Reason.TOO_LARGE),
    "no agent at all": (pb.AppendRequest(mutations=[ONE]), Reason.INVALID_NAME),
    "empty namespace": (append(agent=ref(namespace="")), Reason.INVALID_NAME),
    "empty agent": (append(agent=ref(agent="")), Reason.INVALID_NAME),
    "agent name too long": (append(agent=ref(agent="a" * 201)), Reason.INVALID_NAME),
    "agent name with a slash first": (append(agent=ref(agent="/b")), Reason.INVALID_NAME),
    "agent name with a NUL": (append(agent=ref(agent="a\0")), Reason.INVALID_NAME),
    "branch name with a space": (append(agent=ref(branch="a b")), Reason.INVALID_NAME),
    "checkpoint without a name": (pb.CheckpointRequest(agent=REF), Reason.INVALID_NAME),
    "checkpoint metadata no object": (_checkpoint(metadata=b"[]"), Reason.INVALID_JSON),
    "checkpoint metadata too large": (_checkpoint(metadata=b'{"a":"' + b"x" * 65536 + b'"}'), Reason.TOO_LARGE),
    "pending calls no list": (_checkpoint(pending_calls=b"{}"), Reason.INVALID_JSON),
    "step over 63 bits": (_checkpoint(step=2**63), Reason.TOO_LARGE),
    "delete without a name": (pb.DeleteAgentRequest(), Reason.INVALID_NAME),
    "page of 1001 mutations": (pb.ListMutationsRequest(agent=REF, limit=1001), Reason.TOO_LARGE),
    "page of 1001 checkpoints": (pb.ListCheckpointsRequest(agent=REF, limit=1001), Reason.TOO_LARGE),
    "page of 1001 agents": (pb.ListAgentsRequest(namespace="demo", limit=1001), Reason.TOO_LARGE),
    "agents after a bad name": (pb.ListAgentsRequest(namespace="demo", prefix="a\0"), Reason.INVALID_NAME),
    "agents of no namespace": (pb.ListAgentsRequest(), Reason.INVALID_NAME),
    "read of no agent": (pb.ReadRequest(), Reason.INVALID_NAME),
    "checkpoint of no name": (pb.GetCheckpointRequest(agent=REF), Reason.INVALID_NAME),
    "read of an unknown agent": (pb.ReadRequest(agent=ref(agent="nobody")), Reason.AGENT_NOT_FOUND),
    "read of an unknown branch": (pb.ReadRequest(agent=ref(branch="nowhere")), Reason.BRANCH_NOT_FOUND),
    "read of a seq to come": (pb.ReadRequest(agent=REF, seq=10**9), Reason.SEQ_NOT_FOUND),
    "read of the largest seq": (pb.ReadRequest(agent=REF, seq=2**64 - 1), Reason.SEQ_NOT_FOUND),
    "read of an unknown checkpoint": (pb.ReadRequest(agent=REF, checkpoint="nothing"), Reason.CHECKPOINT_NOT_FOUND),
    "read at no checkpoint name": (pb.ReadRequest(agent=REF, checkpoint=""), Reason.CHECKPOINT_NOT_FOUND),
    "read before the beginning": (pb.ReadRequest(agent=REF, time_unix_ms=1), Reason.TIME_NOT_FOUND),
}

DECIDED: Final[dict[str, Row]] = {
    "epoch": (pb.AppendRequest(agent=REF, epoch=1, mutations=[ONE]), Reason.STALE_OWNER),
    "wrong expected seq": (pb.AppendRequest(agent=REF, expected_seq=10**9, mutations=[ONE]), Reason.SEQ_CONFLICT),
    "expected empty log": (pb.AppendRequest(agent=REF, expected_seq=0, mutations=[ONE]), Reason.SEQ_CONFLICT),
    "largest expected seq": (pb.AppendRequest(agent=REF, expected_seq=2**64 - 1, mutations=[ONE]), Reason.SEQ_CONFLICT),
    "unknown branch": (append(agent=ref(branch="nowhere")), Reason.BRANCH_NOT_FOUND),
    "misfit": (append(operation(), operation(path="/n/deeper")), Reason.INVALID_OPERATION),
    "delete of nothing": (append(operation(path="/nothing", value=b"", kind=2)), Reason.INVALID_OPERATION),
    "checkpoint of nobody": (pb.CheckpointRequest(agent=ref(agent="nobody"), name="c"), Reason.AGENT_NOT_FOUND),
    "checkpoint twice": (pb.CheckpointRequest(agent=REF, name="once"), Reason.CHECKPOINT_EXISTS),
    "deletion of nobody": (pb.DeleteAgentRequest(agent=ref(agent="nobody")), Reason.AGENT_NOT_FOUND),
    "key for another request": (append(operation(value=b"2"), key="used"), Reason.KEY_REUSED),
    "key for another kind": (pb.CheckpointRequest(agent=REF, name="other", idempotency_key="used"), Reason.KEY_REUSED),
}
# fmt: on
