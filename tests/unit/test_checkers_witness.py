"""The witness check: revisions, real time and replay, each known way to be wrong, and what undecided writes explain."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tallystick.testing import Operation, Verdict, append_only_list, check_witness, counter, register, steps
from tests.unit.checkers_kit import cas, failed, ok, read, right_history, undecided, write

RIGHT: dict[str, list[Operation]] = {
    "one after the other": [write(1, 0, 1, 1), read(1, 2, 3, 1), write(2, 4, 5, 2), read(2, 6, 7, 2)],
    "overlapping writes, by revision": [write(1, 0, 9, 2), write(2, 0, 9, 1), read(1, 10, 11, 2)],
    "a read beyond, for other keys moved on": [write(1, 0, 1, 1), read(1, 2, 3, 40)],
    "a local read may be old, and is right": [
        write(1, 0, 1, 1),
        write(2, 2, 3, 2),
        read(1, 4, 5, 1, consistency="local"),
    ],
    "compare and set, refused without a revision": [write(1, 0, 1, 1), cas(3, 4, done=False, began=2, ended=3)],
    "undecided, never": [undecided("write", 9, 0), write(1, 1, 2, 1), read(1, 3, 4, 1)],
    "undecided, between": [write(1, 0, 1, 1), undecided("write", 9, 2), read(9, 3, 4, 2), read(9, 5, 6, 3)],
    "undecided, late": [undecided("write", 9, 0), write(1, 1, 2, 1), read(1, 3, 4, 1), read(9, 5, 6, 2)],
    "undecided, and found in the log": [undecided("write", 9, 0, revision=2), write(1, 1, 2, 1), read(9, 3, 4, 2)],
    "failed, and not there": [failed("write", 9, 0, 1), write(1, 2, 3, 1), read(1, 4, 5, 1)],
}
WRONG: dict[str, tuple[list[Operation], set[str]]] = {
    "stale read": ([write(1, 0, 1, 1), write(2, 2, 3, 2), read(1, 4, 5, 1)], {"real-time"}),
    "stale read that lies about its revision": (
        [write(1, 0, 1, 1), write(2, 2, 3, 2), read(1, 4, 5, 2)],
        {"replay"},
    ),
    "a stale write's revision": ([write(1, 0, 1, 2), write(2, 2, 3, 1)], {"real-time"}),
    "a read's revision is reused": (
        [write(0, 0, 1, 1), read(0, 2, 3, 2), write(0, 4, 5, 2)],
        {"real-time"},
    ),
    "across keys": (
        [ok("write", 1, None, 0, 1, key="y", revision=5), write(1, 2, 3, 4)],
        {"real-time"},
    ),
    "two writes at one revision": ([write(1, 0, 9, 1), write(2, 0, 9, 1)], {"revision"}),
    "no revision": ([write(1, 0, 1)], {"revision"}),
    "lost update": (
        [
            write(0, 0, 1, 1),
            cas(0, 1, done=True, began=2, ended=9, revision=2),
            cas(0, 2, done=True, began=2, ended=9, revision=3),
        ],
        {"replay"},
    ),
    "split brain": (
        [write(1, 0, 9, 1), read(1, 10, 11, 3, process="a"), read(2, 10, 11, 3, process="b"), write(2, 0, 9, 2)],
        {"replay"},
    ),
    "a local read of what never was": ([write(1, 0, 1, 1), read(7, 2, 3, 1, consistency="local")], {"replay"}),
    "an aborted write is read": ([failed("write", 9, 0, 1), read(9, 2, 3, 1)], {"replay"}),
    "an acknowledged write is gone": ([write(1, 0, 1, 1), read(None, 2, 3, 1)], {"replay"}),
    "undecided, seen and then lost": (
        [undecided("write", 9, 0), read(9, 1, 2, 1), read(None, 3, 4, 2)],
        {"replay"},
    ),
    "undecided, before it was asked for": (
        [read(None, 0, 1, 5), undecided("write", 9, 2), read(9, 2, 3, 4, consistency="local")],
        {"replay"},
    ),
    "undecided, where no revision is free": (
        [write(1, 0, 1, 1), undecided("write", 9, 1), write(2, 2, 3, 2), read(9, 2, 3, 2)],
        {"replay"},
    ),
    "undecided, found in the log, not at its place": (
        [undecided("write", 9, 0, revision=2), write(1, 1, 2, 3), read(9, 3, 4, 3)],
        {"replay"},
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_histories_pass(name: str) -> None:
    check_witness(RIGHT[name], register()).raise_unless_valid()


@pytest.mark.parametrize("name", WRONG)
def test_wrong_histories_are_found(name: str) -> None:
    history, rules = WRONG[name]
    report = check_witness(history, register())
    assert report.verdict is Verdict.INVALID
    assert {violation.rule for violation in report.violations} == rules


def test_who_was_told_nothing_binds_nobody() -> None:
    told = replace(undecided("write", 9, 0, revision=5), returned_s=1)
    assert check_witness([told, read(None, 2, 3, 4), read(9, 4, 5, 5)], register())


def test_increments_leave_no_room_between_neighbours() -> None:
    def add(result: int, began: float, ended: float, revision: int) -> Operation:
        return ok("increment", 1, result, began, ended, revision=revision)

    lost = undecided("increment", 1, 0)
    assert check_witness([lost, add(1, 0, 1, 1), add(3, 2, 3, 3)], counter())
    assert check_witness([lost, add(1, 0, 1, 1), add(3, 2, 3, 2)], counter()).verdict is Verdict.INVALID
    elsewhere = ok("increment", 1, 1, 0, 9, key="y", revision=2)
    assert check_witness([lost, elsewhere, add(1, 0, 1, 1), add(3, 2, 3, 3)], counter()).verdict is Verdict.INVALID


def test_a_list_in_the_order_of_revisions() -> None:
    appends = [ok("append", element, None, 0, 9, revision=element) for element in (1, 2, 3)]
    assert check_witness([*appends, read([1, 2, 3], 10, 11, 3)], append_only_list())
    for wrong in ([1, 3, 2], [1, 3], [1, 2, 2, 3], [1, 2, 3, 4]):
        report = check_witness([*appends, read([*wrong], 10, 11, 3)], append_only_list())
        assert [violation.rule for violation in report.violations] == ["replay"]


@pytest.mark.parametrize("undecided_share", [0.0, 0.05])
def test_many_operations_of_many_clients(undecided_share: float) -> None:
    history = right_history(2, 20_000, clients=50, keys=20, undecided_share=undecided_share)
    check_witness(history, register()).raise_unless_valid()
    place = next(place for place in range(15_000, 20_000) if history[place].kind == "read")
    history[place] = replace(history[place], result="never written")
    (violation,) = check_witness(history, register()).violations
    assert violation.operations[-1] == history[place]


def test_the_text_says_whose_value_it_was() -> None:
    history = [write(1, 0, 1, 1), failed("write", 9, 2, 3), read(9, 4, 5, 2)]
    (violation,) = check_witness(history, register()).violations
    assert violation.text.splitlines() == [
        "[4 .. 5] p read 'x' -> 9 @2 does not follow from what was decided before it",
        "  the last write before it: [0 .. 1] p write 'x' 1 -> null @1",
        "  its value was handed in by: [2 .. 3] f write 'x' 9 (failed)",
    ]


def test_out_of_budget_is_not_a_pass() -> None:
    history = RIGHT["undecided, late"]
    report = check_witness(history, register(), budget=steps(2))
    assert (report.verdict, report.unfinished) == (Verdict.UNKNOWN, ("x",))
    assert check_witness([write(1, 0, 1, 1)], register(), budget=steps(0)), "nothing to search, nothing to spend"


def test_a_report_has_a_bound() -> None:
    history = [write(1, place, place + 0.5) for place in range(100)]
    assert len(check_witness(history, register()).violations) == 20


def test_nothing_to_check_is_not_a_pass() -> None:
    assert check_witness([undecided("write", 1, 0)], register()).verdict is Verdict.UNKNOWN
