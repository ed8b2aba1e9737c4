"""The checkers against slow, obvious judges, on small histories at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations, product
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.testing import (
    Operation,
    Verdict,
    append_only_list,
    check_linearizability,
    check_sessions,
    check_witness,
    counter,
    register,
)
from tallystick.testing.history import JSON, Consistency, Kind, Outcome
from tests.unit.checkers_kit import fits, right_history, slow_linearizable

VALUES = st.sampled_from([None, 1, 2])
TIMES = st.integers(0, 8)


@st.composite
def _operation(draw: st.DrawFn, kinds: Sequence[Kind]) -> Operation:
    kind = draw(st.sampled_from(kinds))
    outcome: Outcome = draw(st.sampled_from(["ok", "ok", "ok", "undecided", "failed"]))
    began, length = draw(TIMES), draw(st.integers(0, 4))
    argument: JSON = None
    result: JSON = None
    match kind:
        case "read":
            result = draw(st.sampled_from([None, 1, 2, 3, []])) if "write" in kinds else draw(st.integers(0, 4))
            if "append" in kinds:
                result = [*draw(st.lists(st.integers(1, 2), max_size=3))]
        case "cas":
            argument, result = [draw(VALUES), draw(VALUES)], draw(st.booleans())
        case "write":
            argument = draw(VALUES)
        case _:
            argument, result = draw(st.integers(1, 2)), draw(st.none() | st.integers(1, 4))
    return Operation(
        process="p",
        key=draw(st.sampled_from("xxxy")),
        kind=kind,
        argument=argument,
        result=result if outcome == "ok" else None,
        invoked_s=began,
        returned_s=None if outcome == "undecided" else began + length,
        outcome=outcome,
    )


def _histories(*kinds: Kind) -> st.SearchStrategy[list[Operation]]:
    return st.lists(_operation(kinds), min_size=1, max_size=6)


def _agree(verdict: Verdict, checked: int, expected: bool) -> None:
    if checked == 0:
        assert verdict is Verdict.UNKNOWN
        assert expected
    else:
        assert verdict is (Verdict.VALID if expected else Verdict.INVALID)


@given(_histories("read", "read", "write", "cas"))
@settings(max_examples=600, deadline=None)
def test_registers(history: list[Operation]) -> None:
    report = check_linearizability(history, register())
    _agree(report.verdict, report.checked, slow_linearizable(history, register()))


@given(_histories("read", "increment", "increment"))
@settings(max_examples=300, deadline=None)
def test_counters(history: list[Operation]) -> None:
    report = check_linearizability(history, counter())
    _agree(report.verdict, report.checked, slow_linearizable(history, counter()))


@given(_histories("read", "append", "append"))
@settings(max_examples=300, deadline=None)
def test_lists(history: list[Operation]) -> None:
    report = check_linearizability(history, append_only_list())
    _agree(report.verdict, report.checked, slow_linearizable(history, append_only_list()))


@given(st.integers(0, 10_000), st.floats(0.0, 0.3), st.data())
@settings(max_examples=300, deadline=None)
def test_registers_that_are_almost_right(seed: int, undecided_share: float, data: st.DataObject) -> None:
    history = right_history(seed, 7, clients=3, keys=1, undecided_share=undecided_share)
    history = [_spoilt(op, data) for op in history]
    report = check_linearizability(history, register())
    _agree(report.verdict, report.checked, slow_linearizable(history, register()))


def _spoilt(op: Operation, data: st.DataObject) -> Operation:
    """Now and then another answer, or another revision."""
    if op.outcome != "ok" or data.draw(st.integers(0, 5)):
        return op
    if op.kind == "read" and data.draw(st.booleans()):
        return replace(op, result=data.draw(st.none() | st.integers(0, 49)))
    return replace(op, revision=data.draw(st.integers(1, 9)))


def _slow_witness(history: Sequence[Operation]) -> bool:
    """By looking at every pair, and by trying every revision for every undecided write."""
    answered = [op for op in history if op.outcome == "ok"]
    writes = [op.revision for op in answered if op.changes]
    if None in [op.revision for op in answered] or len(writes) != len(set(writes)):
        return False
    pairs = ((earlier, later) for earlier, later in permutations(answered, 2) if _precedes(earlier, later))
    if any(_at(later) < _at(earlier) + later.changes for earlier, later in pairs):
        return False
    lost = [op for op in history if op.outcome == "undecided" and op.changes]
    end = max([_at(op) for op in answered], default=0) + 1
    return any(_replays(answered, lost, places) for places in product(range(end + 1), repeat=len(lost)))


def _replays(answered: Sequence[Operation], lost: Sequence[Operation], places: Sequence[int]) -> bool:
    """With the undecided writes at these revisions; 0 is never. What comes after all answers does not matter."""
    used = [(op, place) for op, place in zip(lost, places, strict=True) if place]
    taken = [_at(op) for op in answered if op.changes] + [place for _, place in used]
    after_its_call = all(place > _at(op) for late, place in used for op in answered if _precedes(op, late))
    if len(taken) != len(set(taken)) or not after_its_call:
        return False
    placed = [*((_at(op), not op.changes, op) for op in answered), *((place, False, op) for op, place in used)]
    placed.sort(key=lambda entry: entry[:2])
    return fits([op for _, _, op in placed], register())


def _at(op: Operation) -> int:
    assert op.revision is not None
    return op.revision


def _precedes(earlier: Operation, later: Operation) -> bool:
    return earlier.returned_s is not None and earlier.returned_s < later.invoked_s


@given(st.integers(0, 10_000), st.floats(0.0, 0.5), st.data())
@settings(max_examples=400, deadline=None)
def test_the_witness(seed: int, undecided_share: float, data: st.DataObject) -> None:
    history = right_history(seed, 6, clients=3, keys=1, undecided_share=undecided_share)
    history = [_spoilt(op, data) for op in history]
    report = check_witness(history, register())
    _agree(report.verdict, report.checked, _slow_witness(history))


@given(st.integers(0, 10_000), st.floats(0.0, 0.3), st.data())
@settings(max_examples=200, deadline=None)
def test_what_the_witness_accepts_is_linearizable(seed: int, undecided_share: float, data: st.DataObject) -> None:
    history = right_history(seed, 40, clients=4, keys=2, undecided_share=undecided_share)
    if data.draw(st.booleans()):
        history = [_spoilt(op, data) for op in history]
    if check_witness(history, register()):
        assert check_linearizability(history, register())


@given(st.lists(st.tuples(st.booleans(), TIMES, st.integers(0, 3), st.integers(1, 6), st.booleans()), max_size=6))
@settings(max_examples=300, deadline=None)
def test_sessions(drawn: list[tuple[bool, int, int, int, bool]]) -> None:
    history = []
    for is_write, began, length, revision, is_local in drawn:
        consistency: Consistency = "local" if is_local and not is_write else "session"
        history.append(
            Operation(
                process="p",
                key="x",
                kind="write" if is_write else "read",
                invoked_s=began,
                returned_s=began + length,
                outcome="ok",
                revision=revision,
                consistency="linearizable" if is_write else consistency,
            )
        )
    bound = [op for op in history if op.consistency != "local"]
    broken = any(
        _at(later) < _at(earlier) + (earlier.changes and later.changes)
        or (later.changes and _at(later) == _at(earlier))
        for earlier, later in permutations(bound, 2)
        if _precedes(earlier, later)
    )
    report = check_sessions(history)
    _agree(report.verdict, report.checked, not broken)


def test_the_slow_judges_tell_right_from_wrong() -> None:
    rng = Random(1)
    verdicts = set()
    for seed in range(30):
        history = right_history(seed, 6, clients=3, keys=1)
        assert slow_linearizable(history, register())
        assert _slow_witness(history)
        place = rng.randrange(len(history))
        history[place] = replace(history[place], revision=99)
        verdicts.add(_slow_witness(history))
    assert verdicts == {True, False}
