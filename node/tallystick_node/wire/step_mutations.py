"""The mutations of steps and turns: made by the node that proposes them, read back when a result is asked for.

Rules of this file:
- Their kinds are reserved: no client hands them in (`mutations.py`).
- The payload is a JSON object in a fixed order, with the result, the error or the note last and as the client wrote it:
  so it is found without parsing it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import orjson
from google.protobuf.message import DecodeError

from tallystick.errors import Invalid
from tallystick.v1 import common_pb2, state_pb2
from tallystick_node.core import limits
from tallystick_node.core.commands import Mutation
from tallystick_node.core.outcomes import StepRecord, StepStatus
from tallystick_node.core.values import parse_json
from tallystick_node.wire.errors import Malformed
from tallystick_node.wire.fields import check_bytes, check_name, check_number
from tallystick_node.wire.mutations import admit_payloads
from tallystick_node.wire.observations import admit_observed

STEP_BEGUN: Final = "step.begun"
STEP_COMPLETED: Final = "step.completed"
STEP_FAILED: Final = "step.failed"
TURN_BEGUN: Final = "turn.begun"
TURN_ENDED: Final = "turn.ended"

_NULL: Final = b"null"


class Failure(NamedTuple):
    """Why a step failed: the type of the error, and what it said."""

    type: str
    message: str


def begun_mutation(
    name: str, attempt: int, input_digest: bytes, cause: str, observed: common_pb2.Observed | None = None
) -> Mutation:
    """That an attempt at a step begins.

    Raises:
        Invalid: a name, a number or a length breaks a rule; so do all here.
    """
    check_name("name", name)
    check_number("retry_of", attempt, limits.STEP_ATTEMPTS)
    check_bytes("input_digest", input_digest, limits.STEP_DIGEST_BYTES)
    payload: dict[str, object] = {"step": name, "attempt": attempt}
    if input_digest:
        payload["input_digest"] = input_digest.hex()
    return _mutation(STEP_BEGUN, orjson.dumps(payload), cause, observed)


def completed_mutation(
    name: str, attempt: int, result: bytes, cause: str, observed: common_pb2.Observed | None = None
) -> Mutation:
    """What an attempt returned, as JSON text; none at all is null."""
    _check_attempt(name, attempt)
    return _mutation(
        STEP_COMPLETED, _head(name, attempt, "result") + _checked("result", result) + b"}", cause, observed
    )


def failed_mutation(
    name: str, attempt: int, failure: Failure, cause: str, observed: common_pb2.Observed | None = None
) -> Mutation:
    """Why an attempt failed."""
    _check_attempt(name, attempt)
    check_bytes("error.type", failure.type.encode(), limits.NAME_CHARS)
    check_bytes("error.message", failure.message.encode(), limits.STEP_ERROR_BYTES)
    error = orjson.dumps({"type": failure.type, "message": failure.message})
    return _mutation(STEP_FAILED, _head(name, attempt, "error") + error + b"}", cause, observed)


def turn_begun_mutation(
    abandons: int, note: bytes, cause: str, observed: common_pb2.Observed | None = None
) -> Mutation:
    """That a turn begins. `note`: JSON text, or empty."""
    return _mutation(TURN_BEGUN, b'{"abandons":%d,"note":%s}' % (abandons, _checked("note", note)), cause, observed)


def turn_ended_mutation(turn: int, note: bytes, cause: str, observed: common_pb2.Observed | None = None) -> Mutation:
    """That the turn that began at seq `turn` ends."""
    if not turn:
        raise Invalid("a turn is named by the seq at which it began", metadata={"field": "turn"})
    return _mutation(TURN_ENDED, b'{"turn":%d,"note":%s}' % (turn, _checked("note", note)), cause, observed)


def result_of(raw: bytes, record: StepRecord) -> bytes:
    """What a completed step returned, as JSON text.

    Raises:
        Malformed: the mutation is not the one that ended it; so does `failure_of`.
    """
    if record.status is not StepStatus.COMPLETED:
        raise Malformed(f"attempt {record.attempt} at step {record.name!r} is not completed")
    return result_in(raw, record.name, record.attempt)


def result_in(raw: bytes, name: str, attempt: int) -> bytes:
    """As `result_of`, of an attempt that is known to be completed."""
    return _last(raw, name, attempt, "result")


def failure_of(raw: bytes, record: StepRecord) -> Failure:
    """Why a step failed."""
    if record.status is not StepStatus.FAILED:
        raise Malformed(f"attempt {record.attempt} at step {record.name!r} has not failed")
    error = orjson.loads(_last(raw, record.name, record.attempt, "error"))
    return Failure(error["type"], error["message"])


def _last(raw: bytes, name: str, attempt: int, field: str) -> bytes:
    try:
        payload = state_pb2.Mutation.FromString(raw).payload
    except DecodeError as error:
        raise Malformed(f"a mutation: {error}") from error
    head = _head(name, attempt, field)
    if not payload.startswith(head) or not payload.endswith(b"}"):
        raise Malformed(f"a mutation does not end attempt {attempt} at step {name!r}")
    return payload[len(head) : -1]


def _head(name: str, attempt: int, field: str) -> bytes:
    """A name needs no escapes."""
    return f'{{"step":"{name}","attempt":{attempt},"{field}":'.encode()


def _check_attempt(name: str, attempt: int) -> None:
    check_name("name", name)
    if not attempt:
        raise Invalid("attempts begin at 1", metadata={"field": "attempt"})


def _checked(field: str, text: bytes) -> bytes:
    check_bytes(field, text, limits.STEP_RESULT_BYTES)
    if not text:
        return _NULL
    parse_json(text, field, depth_limit=limits.JSON_DEPTH - 1)
    return text


def _mutation(kind: str, payload: bytes, cause: str, observed: common_pb2.Observed | None) -> Mutation:
    check_bytes("cause", cause.encode(), limits.CAUSE_BYTES)
    seen = admit_observed(observed) if observed is not None else None
    payloads = admit_payloads("result", payload)
    message = state_pb2.Mutation(kind=kind, payload=payload, cause=cause, payloads=payloads, observed=observed)
    return Mutation(message.SerializeToString(deterministic=True), (), payloads, seen)
