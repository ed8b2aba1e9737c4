"""Linearizability: right histories pass, each known way to be wrong is found, and an unfinished search is no pass."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tallystick.testing import (
    CheckFailed,
    Operation,
    Verdict,
    append_only_list,
    check_linearizability,
    counter,
    register,
    steps,
)
from tallystick.testing.history import JSON
from tests.unit.checkers_kit import cas, failed, ok, read, right_history, undecided, write

RIGHT: dict[str, list[Operation]] = {
    "one after the other": [write(1, 0, 1), read(1, 2, 3), write(2, 4, 5), read(2, 6, 7)],
    "nothing was written": [read(None, 0, 1)],
    "overlapping writes, the first wins": [write(1, 0, 5), write(2, 0, 5), read(1, 6, 7)],
    "overlapping writes, the second wins": [write(1, 0, 5), write(2, 0, 5), read(2, 6, 7)],
    "new then new, during a write": [write(1, 0, 9), read(None, 1, 2), read(1, 3, 4), read(1, 5, 6)],
    "a read that only touches a write": [write(1, 0, 1), read(None, 1, 2)],
    "compare and set": [write(1, 0, 1), cas(1, 2, done=True, began=2, ended=3), read(2, 4, 5)],
    "compare and set, refused": [write(1, 0, 1), cas(3, 2, done=False, began=2, ended=3), read(1, 4, 5)],
    "undecided, never": [undecided("write", 1, 0), read(None, 2, 3), read(None, 4, 5)],
    "undecided, at once": [undecided("write", 1, 0), read(1, 2, 3)],
    "undecided, late": [undecided("write", 1, 0), read(None, 2, 3), write(2, 4, 5), read(1, 6, 7)],
    "undecided twice, each once": [
        undecided("write", 1, 0),
        undecided("write", 1, 0),
        read(1, 2, 3),
        write(2, 4, 5),
        read(1, 6, 7),
    ],
    "undecided compare and set that did not fit": [
        write(1, 0, 1),
        undecided("cas", [7, 8], 2),
        read(1, 3, 4),
    ],
    "failed, and not there": [failed("write", 1, 0, 1), read(None, 2, 3)],
    "a local read may be old": [write(1, 0, 1), read(None, 2, 3, consistency="local"), read(1, 2, 3)],
    "keys apart": [write(1, 0, 1), ok("read", None, None, 2, 3, key="y")],
}
WRONG: dict[str, list[Operation]] = {
    "stale read": [write(1, 0, 1), write(2, 2, 3), read(1, 4, 5)],
    "lost write": [write(1, 0, 1), read(None, 2, 3)],
    "lost update": [
        write(0, 0, 1),
        cas(0, 1, done=True, began=2, ended=5),
        cas(0, 2, done=True, began=2, ended=5),
    ],
    "back in time": [write(1, 0, 9), read(1, 1, 2), read(None, 3, 4)],
    "two readers see two orders": [
        write(1, 0, 1),
        write(2, 0, 1),
        read(1, 2, 3, process="a"),
        read(2, 4, 5, process="a"),
        read(1, 6, 7, process="b"),
    ],
    "split brain": [
        write(0, 0, 1),
        cas(0, "a", done=True, began=2, ended=3),
        cas(0, "b", done=True, began=2, ended=3),
        read("a", 4, 5),
        read("b", 4, 5),
    ],
    "from the future": [read(1, 0, 1), write(1, 2, 3)],
    "from nowhere": [write(1, 0, 1), read(7, 2, 3)],
    "a refused compare and set that would have fitted": [write(1, 0, 1), cas(1, 2, done=False, began=2, ended=3)],
    "an aborted write is read": [failed("write", 1, 0, 1), read(1, 2, 3)],
    "an undecided write is seen, then lost": [undecided("write", 1, 0), read(1, 2, 3), read(None, 4, 5)],
    "an undecided write happens twice": [undecided("write", 1, 0), read(1, 2, 3), write(2, 4, 5), read(1, 6, 7)],
    "an undecided write before it was asked for": [read(1, 0, 1), undecided("write", 1, 2)],
    "true is not 1": [write(1, 0, 1), read(value=True, began=2, ended=3)],
    "false is not null": [write(None, 0, 1), read(value=False, began=2, ended=3)],
    "an undecided compare and set that did not fit": [write(1, 0, 1), undecided("cas", [7, 8], 2), read(8, 3, 4)],
    "one key of two": [ok("write", 1, None, 0, 1, key="y"), ok("read", None, 1, 2, 3, key="y"), read(9, 0, 1)],
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_histories_pass(name: str) -> None:
    check_linearizability(RIGHT[name], register()).raise_unless_valid()


@pytest.mark.parametrize("name", WRONG)
def test_wrong_histories_are_found(name: str) -> None:
    report = check_linearizability(WRONG[name], register())
    assert report.verdict is Verdict.INVALID
    assert [violation.rule for violation in report.violations] == ["linearizability"]
    with pytest.raises(CheckFailed, match="cannot be placed") as caught:
        report.raise_unless_valid()
    assert caught.value.report is report


def _add(by: int, result: int | None, began: float, ended: float) -> Operation:
    return ok("increment", by, result, began, ended)


def test_a_counter() -> None:
    right = [_add(1, None, 0, 9), _add(2, 2, 0, 9), read(3, 10, 11), undecided("increment", 5, 2), read(8, 12, 13)]
    assert check_linearizability(right, counter())
    lost = [_add(1, 1, 0, 1), _add(1, 1, 2, 3)]
    assert check_linearizability(lost, counter()).verdict is Verdict.INVALID
    twice = [undecided("increment", 1, 0), read(1, 1, 2), read(2, 3, 4)]
    assert check_linearizability(twice, counter()).verdict is Verdict.INVALID
    assert check_linearizability([undecided("increment", 1, 0), *twice], counter())
    assert check_linearizability([read("many", 0, 1)], counter()).verdict is Verdict.INVALID


def test_an_append_only_list() -> None:
    def append(element: JSON, length: int | None, began: float, ended: float) -> Operation:
        return ok("append", element, length, began, ended)

    right = [
        append(1, None, 0, 5),
        append(2, 1, 0, 5),
        read([2, 1], 6, 7),
        append([3], 3, 8, 9),
        read([2, 1, [3]], 10, 11),
    ]
    assert check_linearizability(right, append_only_list())
    for wrong in (
        [append(1, 1, 0, 1), append(2, 2, 2, 3), read([2, 1], 4, 5)],  # reordered
        [append(1, 1, 0, 1), append(2, 1, 2, 3)],  # two at one place
        [append(1, 1, 0, 1), append(2, 2, 2, 3), read([1, 2, 2], 4, 5)],  # a retry that had two effects
        [append(1, 1, 0, 1), append(2, 2, 2, 3), read([2], 4, 5)],  # a lost one
        [append(1, 1, 0, 1), read(None, 4, 5)],
    ):
        assert check_linearizability(wrong, append_only_list()).verdict is Verdict.INVALID


def test_a_foreign_operation_is_the_callers_mistake() -> None:
    foreign = [write(1, 0, 1)]
    with pytest.raises(ValueError, match="no such operation"):
        check_linearizability(foreign, counter())
    with pytest.raises(ValueError, match="no such operation"):
        check_linearizability(foreign, append_only_list())
    with pytest.raises(ValueError, match="no such operation"):
        check_linearizability([_add(1, 1, 0, 1)], register())


@pytest.mark.parametrize("undecided_share", [0.0, 0.02])
def test_ten_thousand_operations_of_ten_clients(undecided_share: float) -> None:
    history = right_history(1, 10_000, clients=10, keys=10, undecided_share=undecided_share)
    report = check_linearizability(history, register())
    report.raise_unless_valid()
    assert report.checked == len(history)


@pytest.mark.parametrize("seed", range(5))
def test_one_wrong_read_in_many_operations_is_found_and_shown(seed: int) -> None:
    history = right_history(seed, 1_500, clients=8, keys=3, undecided_share=0.01)
    place = next(place for place in range(900, 1_500) if history[place].kind == "read")
    history[place] = replace(history[place], result="never written")
    (violation,) = check_linearizability(history, register()).violations
    assert history[place] in violation.operations
    assert len(violation.operations) < 20


def test_the_window_is_the_smallest_that_shows_it() -> None:
    before = [write(value, 2 * value, 2 * value + 1) for value in range(50)]
    shown = [write(100, 200, 201), read(30, 202, 203)]
    after = [write(value, 2 * value, 2 * value + 1) for value in range(150, 160)]
    (violation,) = check_linearizability([*before, *shown, *after], register()).violations
    assert list(violation.operations) == shown
    assert violation.text.splitlines()[1:] == [
        "  [200 .. 201] p write 'x' 100 -> null",
        "  [202 .. 203] p read 'x' -> 30   <- cannot be placed",
    ]


def test_a_long_window_is_whole() -> None:
    def untold(began: float) -> Operation:
        return _add(1, None, began, began + 1)

    shown = [read(5, 10, 11), *(untold(began) for began in range(12, 24, 2)), read(10, 24, 25)]
    history = [*(untold(began) for began in range(0, 10, 2)), *shown, untold(26), read(12, 28, 29)]
    (violation,) = check_linearizability(history, counter()).violations
    assert list(violation.operations) == shown


def test_a_window_does_not_demand_what_may_have_come_before_it() -> None:
    shown = [write(2, 0, 5), read(1, 1, 2), read(1, 3, 4), read(1, 6, 7)]
    (violation,) = check_linearizability([write(1, -2, -1), *shown], register()).violations
    assert list(violation.operations) == shown


def test_out_of_budget_is_not_a_pass() -> None:
    history = right_history(3, 200, clients=5, keys=2)
    report = check_linearizability(history, register(), budget=steps(150))
    assert report.verdict is Verdict.UNKNOWN
    assert not report
    assert len(report.unfinished) in {1, 2}
    with pytest.raises(CheckFailed, match="out of budget"):
        report.raise_unless_valid()


def test_the_budget_is_asked_and_may_be_a_deadline() -> None:
    now_s = 0.0

    def before_the_deadline() -> bool:
        nonlocal now_s
        now_s += 1.0
        return now_s < 1_000.0

    assert check_linearizability(RIGHT["compare and set"], register(), budget=before_the_deadline)
    assert 3.0 <= now_s < 20.0


def test_a_violation_outweighs_what_is_unfinished() -> None:
    wrong = [ok("read", None, 9, 0, 1, key="0")]
    report = check_linearizability([*wrong, *RIGHT["one after the other"]], register(), budget=steps(3))
    assert report.verdict is Verdict.INVALID
    assert report.unfinished == ("x",)


def test_nothing_to_check_is_not_a_pass() -> None:
    report = check_linearizability([failed("write", 1, 0, 1)], register())
    assert (report.verdict, report.checked) == (Verdict.UNKNOWN, 0)


def test_the_same_history_takes_the_same_steps() -> None:
    def taken() -> int:
        count = 0

        def counted() -> bool:
            nonlocal count
            count += 1
            return True

        history = right_history(5, 500, clients=8, keys=2, undecided_share=0.05)
        assert check_linearizability(history, register(), budget=counted)
        return count

    assert taken() == taken()
