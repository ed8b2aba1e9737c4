"""Session guarantees: each rule broken alone, and what they do not demand."""

from __future__ import annotations

import pytest

from tallystick.testing import Operation, Verdict, check_sessions
from tests.unit.checkers_kit import cas, read, right_history, undecided, write

BROKEN: dict[str, list[Operation]] = {
    "read-your-writes": [write(1, 0, 1, 5), read(None, 2, 3, 4, consistency="session")],
    "monotonic-reads": [read(1, 0, 1, 5), read(None, 2, 3, 4, consistency="session")],
    "monotonic-writes": [write(1, 0, 1, 5), write(2, 2, 3, 4)],
    "writes-follow-reads": [read(1, 0, 1, 5, consistency="session"), write(2, 2, 3, 5)],
    "revision": [read(1, 0, 1)],
}


@pytest.mark.parametrize("rule", BROKEN)
def test_each_rule_is_found_broken(rule: str) -> None:
    report = check_sessions(BROKEN[rule])
    assert report.verdict is Verdict.INVALID
    assert [(violation.rule, list(violation.operations)) for violation in report.violations] == [(rule, BROKEN[rule])]


def test_the_highest_answer_binds_not_the_last_one() -> None:
    history = [read(1, 0, 1, 9), read(1, 0, 2, 3), read(1, 3, 4, 5)]
    assert [violation.operations for violation in check_sessions(history).violations] == [(history[0], history[2])]


@pytest.mark.parametrize(
    "history",
    [
        pytest.param([write(1, 0, 1, 5), read(1, 2, 3, 5)], id="at the very revision"),
        pytest.param([write(1, 0, 1, 5), read(None, 2, 3, 4, process="q")], id="another's session"),
        pytest.param([write(1, 0, 1, 5), read(None, 2, 3, 4, consistency="local")], id="a local read is not bound"),
        pytest.param([read(1, 0, 1, 5, consistency="local"), read(None, 2, 3, 4)], id="a local read does not bind"),
        pytest.param([write(1, 0, 3, 5), read(None, 2, 4, 4)], id="not answered yet"),
        pytest.param([write(1, 0, 1, 5), undecided("write", 2, 2, revision=3)], id="undecided"),
        pytest.param([write(1, 0, 1, 5), cas(9, 2, done=False, began=2, ended=3)], id="a refusal without a revision"),
    ],
)
def test_what_is_not_demanded(history: list[Operation]) -> None:
    check_sessions(history).raise_unless_valid()


def test_a_right_history_passes() -> None:
    report = check_sessions(right_history(4, 2_000, clients=6, keys=3))
    report.raise_unless_valid()
    assert report.checked == 2_000


def test_nothing_to_check_is_not_a_pass() -> None:
    assert check_sessions([]).verdict is Verdict.UNKNOWN
    assert check_sessions([read(1, 0, 1, 1, consistency="local")]).verdict is Verdict.UNKNOWN
