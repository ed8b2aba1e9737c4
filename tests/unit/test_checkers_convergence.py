"""Convergence: replicas that differ are found, at one place and in the end."""

from __future__ import annotations

from tallystick.testing import Observation, Report, Verdict, check_agreement, check_convergence
from tallystick.testing.history import JSON


def _seen(node: str, revision: int | None, digest: str, content: JSON = None, subject: str = "state") -> Observation:
    return Observation(node, subject, revision, digest, content)


def _rules(report: Report) -> list[str]:
    return sorted(violation.rule for violation in report.violations)


def test_nodes_at_one_revision_agree() -> None:
    right = [_seen("a", 1, "d1"), _seen("b", 2, "d2", {"x": 1}), _seen("b", 1, "d1"), _seen("a", 2, "d2", {"x": 1})]
    report = check_agreement(right)
    report.raise_unless_valid()
    assert report.checked == 2


def test_nodes_that_differ_at_one_revision_are_found() -> None:
    assert _rules(check_agreement([_seen("a", 1, "d1"), _seen("b", 1, "d2")])) == ["digest"]
    assert _rules(check_agreement([_seen("a", 1, "d"), _seen("b", 1, "d", [1]), _seen("c", 1, "d", [2])])) == [
        "content"
    ]
    assert _rules(check_agreement([_seen("a", 1, "d", [1]), _seen("b", 1, "d", [True])])) == ["content"]


def test_a_node_that_changes_its_mind_is_found() -> None:
    assert _rules(check_agreement([_seen("a", 1, "d1"), _seen("a", 1, "d2")])) == ["digest"]


def test_subjects_are_apart() -> None:
    history = [_seen("a", 1, "d1"), _seen("b", 1, "d2", subject="other"), _seen("b", 1, "d1")]
    assert check_agreement(history)


def test_never_at_one_revision_is_not_a_pass() -> None:
    report = check_agreement([_seen("a", 1, "d1"), _seen("b", 2, "d2"), _seen("a", 1, "d1")])
    assert (report.verdict, report.checked) == (Verdict.UNKNOWN, 0)


def test_in_the_end_all_are_equal() -> None:
    ends = [_seen("a", 1, "old"), _seen("a", 9, "d", {}), _seen("b", 9, "d", {}), _seen("c", 9, "d")]
    check_convergence(ends, ["a", "b", "c"]).raise_unless_valid()
    document = [_seen(node, None, "d", {"t": 1}, subject="plan") for node in "abc"]
    check_convergence([*ends, *document], ["a", "b", "c"]).raise_unless_valid()


def test_ends_that_differ_are_found() -> None:
    nodes = ["a", "b", "c"]
    assert _rules(check_convergence([_seen("a", 9, "d"), _seen("b", 9, "d")], nodes)) == ["missing"]
    assert _rules(check_convergence([_seen("a", 9, "d"), _seen("b", 8, "e"), _seen("c", 9, "d")], nodes)) == [
        "revision"
    ]
    assert _rules(check_convergence([_seen("a", 9, "d"), _seen("b", 9, "d"), _seen("c", 9, "e")], nodes)) == ["digest"]
    merged = [_seen("a", None, "d"), _seen("b", None, "d", ["x"]), _seen("c", None, "d", ["x", "x"])]
    assert _rules(check_convergence(merged, nodes)) == ["content"]
    late = [_seen("a", 9, "d"), _seen("b", 9, "d"), _seen("c", 9, "d"), _seen("c", 9, "e")]
    assert _rules(check_convergence(late, nodes)) == ["digest"]


def test_nothing_to_compare_is_not_a_pass() -> None:
    assert check_convergence([], ["a"]).verdict is Verdict.UNKNOWN
    assert check_convergence([_seen("a", 1, "d")], ["a"]).verdict is Verdict.UNKNOWN
