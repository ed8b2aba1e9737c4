"""The wire of steps and turns: commands come back the same, what breaks a rule is refused, results are found again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import orjson
import pytest

from tallystick.errors import Invalid, Reason
from tallystick.log.v1 import log_pb2
from tallystick.v1 import state_pb2
from tallystick_node.core import limits
from tallystick_node.core.commands import BeginStep, BeginTurn, EndStep, EndTurn, Idempotency, StepCommand, Target
from tallystick_node.core.outcomes import StepRecord, StepStatus
from tallystick_node.wire.commands import decode_commands, encode_command, encode_request, fingerprint, join_commands
from tallystick_node.wire.errors import Malformed, UnsupportedFormat
from tallystick_node.wire.step_commands import step_body
from tallystick_node.wire.step_mutations import (
    Failure,
    begun_mutation,
    completed_mutation,
    failed_mutation,
    failure_of,
    result_of,
    turn_begun_mutation,
    turn_ended_mutation,
)

TARGET = Target("n", "a", "b")
KEY = Idempotency("key", b"f" * 16)
BEGUN = begun_mutation("copy-2", 3, b"\x01\xff", "tool:copy")
COMPLETED = completed_mutation("copy-2", 3, b'{"rows": 1}', "")
FAILED = failed_mutation("copy-2", 3, Failure("ValueError", 'no "é"'), "")

COMMANDS: list[StepCommand] = [
    BeginStep(7, TARGET, "copy-2", 0, begun_mutation("copy-2", 1, b"", "")),
    BeginStep(7, TARGET, "copy-2", 2, BEGUN, KEY, 3, "me"),
    EndStep(7, TARGET, "copy-2", 3, has_failed=False, mutation=COMPLETED, idempotency=KEY, epoch=3, actor="me"),
    EndStep(7, TARGET, "copy-2", 3, has_failed=True, mutation=FAILED),
    BeginTurn(7, TARGET, 0, turn_begun_mutation(0, b"", "")),
    BeginTurn(7, TARGET, 9, turn_begun_mutation(9, b'"hello"', "user"), KEY, 3, "me"),
    EndTurn(7, TARGET, 9, turn_ended_mutation(9, b"[]", ""), KEY, 3, "me"),
]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_round_trip(command: StepCommand) -> None:
    assert decode_commands(encode_command(command)) == [command]
    batch = list(join_commands([encode_command(command)] * 2))
    assert [decode_commands(data) for data in batch] == [[command, command]]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_request_has_its_fingerprint(command: StepCommand) -> None:
    plain = replace(command, idempotency=None)
    (decoded,) = decode_commands(encode_request(plain, "k"))
    assert decoded == replace(command, idempotency=Idempotency("k", fingerprint(plain)))
    other = replace(plain, time_unix_ms=8, actor="you", idempotency=KEY)
    assert fingerprint(other) == fingerprint(plain)
    assert fingerprint(replace(plain, target=Target("n", "a", "c"))) != fingerprint(plain)


def test_a_fingerprint_tells_what_is_asked() -> None:
    prints = {fingerprint(replace(command, idempotency=None, epoch=0, actor="")) for command in COMMANDS}
    assert len(prints) == len(COMMANDS)


def payload(raw: bytes) -> object:
    return orjson.loads(state_pb2.Mutation.FromString(raw).payload)


def test_what_the_mutations_say() -> None:
    assert payload(BEGUN.raw) == {"step": "copy-2", "attempt": 3, "input_digest": "01ff"}
    assert payload(COMPLETED.raw) == {"step": "copy-2", "attempt": 3, "result": {"rows": 1}}
    assert payload(FAILED.raw) == {"step": "copy-2", "attempt": 3, "error": {"type": "ValueError", "message": 'no "é"'}}
    assert payload(turn_begun_mutation(4, b"", "").raw) == {"abandons": 4, "note": None}
    assert payload(turn_ended_mutation(4, b'"x"', "").raw) == {"turn": 4, "note": "x"}
    kinds = [state_pb2.Mutation.FromString(each.raw).kind for each in (BEGUN, COMPLETED, FAILED)]
    assert kinds == ["step.begun", "step.completed", "step.failed"]


def record(status: StepStatus, attempt: int = 3) -> StepRecord:
    return StepRecord("copy-2", attempt, status, 1, 1, 1, 7, "me", 0, 2, 2, 8)


def test_a_result_is_found_as_it_was_written() -> None:
    assert result_of(COMPLETED.raw, record(StepStatus.COMPLETED)) == b'{"rows": 1}'
    nothing = completed_mutation("copy-2", 3, b"", "")
    assert result_of(nothing.raw, record(StepStatus.COMPLETED)) == b"null"
    assert failure_of(FAILED.raw, record(StepStatus.FAILED)) == Failure("ValueError", 'no "é"')


@pytest.mark.parametrize(
    ("raw", "of"),
    [
        (COMPLETED.raw, record(StepStatus.COMPLETED, attempt=4)),
        (COMPLETED.raw, record(StepStatus.BEGUN)),
        (FAILED.raw, record(StepStatus.COMPLETED)),
        (b"\xff", record(StepStatus.COMPLETED)),
    ],
)
def test_another_mutation_has_no_result(raw: bytes, of: StepRecord) -> None:
    with pytest.raises(Malformed):
        result_of(raw, of)


LONG = b'"' + b"x" * limits.STEP_RESULT_BYTES + b'"'


@pytest.mark.parametrize(
    ("make", "reason", "field"),
    [
        (lambda: begun_mutation("no spaces", 1, b"", ""), Reason.INVALID_NAME, "name"),
        (lambda: begun_mutation("s", 1, bytes(65), ""), Reason.TOO_LARGE, "input_digest"),
        (lambda: begun_mutation("s", 2**31, b"", ""), Reason.TOO_LARGE, "retry_of"),
        (lambda: begun_mutation("s", 1, b"", "é" * 600), Reason.TOO_LARGE, "cause"),
        (lambda: completed_mutation("s", 0, b"", ""), Reason.INVALID_REQUEST, "attempt"),
        (lambda: completed_mutation("s", 1, b"{", ""), Reason.INVALID_JSON, "result"),
        (lambda: completed_mutation("s", 1, b"1}", ""), Reason.INVALID_JSON, "result"),
        (lambda: completed_mutation("s", 1, LONG, ""), Reason.TOO_LARGE, "result"),
        (lambda: completed_mutation("s", 1, b"[" * 100 + b"]" * 100, ""), Reason.TOO_DEEP, "result"),
        (lambda: failed_mutation("s", 1, Failure("x" * 201, ""), ""), Reason.TOO_LARGE, "error.type"),
        (lambda: failed_mutation("s", 1, Failure("", "x" * 20_000), ""), Reason.TOO_LARGE, "error.message"),
        (lambda: turn_begun_mutation(0, b"{", ""), Reason.INVALID_JSON, "note"),
        (lambda: turn_ended_mutation(0, b"", ""), Reason.INVALID_REQUEST, "turn"),
    ],
)
def test_refused_before_anything_is_proposed(make: Callable[[], object], reason: Reason, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        make()
    assert (caught.value.reason, caught.value.metadata["field"]) == (reason, field)


def test_names_and_keys_are_checked() -> None:
    with pytest.raises(Invalid):
        encode_command(replace(COMMANDS[0], target=Target("n", "no spaces")))
    with pytest.raises(Invalid):
        encode_command(replace(COMMANDS[0], actor="x" * 201))
    with pytest.raises(Invalid):
        encode_request(COMMANDS[0], "x" * 65)


def test_an_unknown_command_stops_the_node() -> None:
    with pytest.raises(UnsupportedFormat):
        step_body(log_pb2.Command())
