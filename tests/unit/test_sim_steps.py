"""What the simulation says of steps and turns: that a log which breaks a promise is found."""

from __future__ import annotations

import pytest

from tallystick import JSON, DecidedMutation, Mutation, Revision
from tallystick_node.sim.steps import Attempts, Effect, StepRecords, complaints_of_turns


def log(*entries: tuple[str, JSON]) -> list[DecidedMutation]:
    return [
        DecidedMutation(seq, Mutation.event(kind, payload), "me", 0, b"", Revision(1, seq))
        for seq, (kind, payload) in enumerate(entries, start=1)
    ]


def begun(attempt: int = 1) -> tuple[str, JSON]:
    return "step.begun", {"step": "s", "attempt": attempt}


def completed(attempt: int = 1, result: str = "done") -> tuple[str, JSON]:
    return "step.completed", {"step": "s", "attempt": attempt, "result": result}


def failed(attempt: int = 1) -> tuple[str, JSON]:
    return "step.failed", {"step": "s", "attempt": attempt, "error": {"type": "E", "message": ""}}


@pytest.mark.parametrize(
    "entries",
    [
        (begun(), completed()),
        (begun(), begun(2), completed(2)),
        (begun(), failed(), begun(2), failed(2), begun(3)),
    ],
)
def test_attempts_as_they_may_be(entries: tuple[tuple[str, JSON], ...]) -> None:
    assert list(Attempts().follow(log(*entries))) == []


@pytest.mark.parametrize(
    "entries",
    [
        (begun(), completed(), completed()),
        (begun(), completed(), begun(2)),
        (begun(), begun(2), completed(1)),
        (begun(), begun(1)),
        (begun(2),),
        (begun(), failed(), completed()),
        (completed(),),
    ],
)
def test_attempts_as_they_may_not_be(entries: tuple[tuple[str, JSON], ...]) -> None:
    assert list(Attempts().follow(log(*entries))) != []


def told(result: JSON, *effects: Effect) -> list[str]:
    attempts = Attempts()
    assert list(attempts.follow(log(begun(), completed(1, "done")))) == []
    return list(attempts.compare("a", StepRecords(list(effects), [("a", "s", result)])))


def test_what_was_told_and_what_happened() -> None:
    effect = Effect("a", "s", "key", "done")
    assert told("done", effect) == told("done") == []
    assert len(told("other", effect)) == 1
    assert len(told("done", effect, effect)) == 1
    assert len(told("done", effect, effect._replace(key="another"))) == 2


@pytest.mark.parametrize(
    ("entries", "holds"),
    [
        ([("turn.begun", {"abandons": 0}), ("turn.ended", {"turn": 1}), ("turn.begun", {"abandons": 0})], True),
        ([("turn.begun", {"abandons": 0}), ("turn.begun", {"abandons": 1}), ("turn.ended", {"turn": 2})], True),
        ([("turn.begun", {"abandons": 0}), ("turn.begun", {"abandons": 0})], False),
        ([("turn.begun", {"abandons": 0}), ("turn.begun", {"abandons": 1}), ("turn.ended", {"turn": 1})], False),
        ([("turn.ended", {"turn": 0})], False),
    ],
)
def test_one_turn_is_open(entries: list[tuple[str, JSON]], holds: bool) -> None:
    assert (list(complaints_of_turns(log(*entries))) == []) is holds
