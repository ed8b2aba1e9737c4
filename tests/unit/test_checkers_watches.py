"""Watches: every way in which a stream can differ from the log is found, and named."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.testing import Event, Report, Stream, Verdict, check_watch

LOG = [
    Event(1, "a", 10),
    Event(2, "b", 20),
    Event(3, "a", 30, group="g"),
    Event(4, "a", 40, group="g"),
    Event(6, "b", 60),
]
ONE, TWO, THREE, FOUR, SIX = LOG


def _rules(report: Report) -> list[str]:
    return sorted(violation.rule for violation in report.violations)


def _is_a(event: Event) -> bool:
    return event.key == "a"


def _stream(*events: Event, after: int = 0, cursor: int | None = None) -> Stream:
    return Stream(after, events, cursor)


def test_a_whole_watch_passes() -> None:
    check_watch(LOG, [_stream(*LOG)], reached=6, atomic=True).raise_unless_valid()
    check_watch(LOG, [_stream(ONE, THREE, FOUR, cursor=6)], wanted=_is_a, reached=6).raise_unless_valid()
    check_watch(LOG, [_stream(FOUR, SIX, after=3)]).raise_unless_valid()


@pytest.mark.parametrize(
    ("events", "rules"),
    [
        pytest.param([ONE, TWO, FOUR], ["gap"], id="missing"),
        pytest.param([TWO, THREE], ["gap"], id="the first is missing"),
        pytest.param([ONE, TWO, TWO, THREE], ["once"], id="twice"),
        pytest.param([ONE, THREE, TWO, FOUR], ["order"], id="reordered"),
        pytest.param([ONE, TWO, Event(3, "a", 31, group="g")], ["content"], id="another content"),
        pytest.param([ONE, TWO, THREE, FOUR, Event(5, "a", 50)], ["content"], id="never decided"),
        pytest.param([ONE, TWO, THREE, FOUR, SIX, Event(7, "a", 70)], ["content"], id="from the future"),
    ],
)
def test_wrong_streams_are_found(events: Sequence[Event], rules: list[str]) -> None:
    report = check_watch(LOG, [_stream(*events)])
    assert report.verdict is Verdict.INVALID
    assert _rules(report) == rules


def test_before_the_cursor() -> None:
    assert _rules(check_watch(LOG, [_stream(TWO, THREE, FOUR, after=2)])) == ["order"]


def test_the_filter() -> None:
    assert _rules(check_watch(LOG, [_stream(ONE, TWO, THREE)], wanted=_is_a)) == ["filter"]
    assert _rules(check_watch(LOG, [_stream(ONE, FOUR)], wanted=_is_a)) == ["gap"]


def test_a_progress_mark_promises_what_is_before_it() -> None:
    assert check_watch(LOG, [_stream(ONE, TWO, cursor=2)])
    assert _rules(check_watch(LOG, [_stream(ONE, TWO, cursor=3)])) == ["gap"]


def test_resumption() -> None:
    whole = [_stream(ONE, TWO), _stream(THREE, FOUR, SIX, after=2)]
    assert check_watch(LOG, whole, reached=6)
    again = [_stream(ONE, TWO, THREE), _stream(THREE, FOUR, SIX, after=2)]
    assert check_watch(LOG, again, reached=6)
    beyond = [_stream(ONE, TWO), _stream(FOUR, SIX, after=3)]
    assert _rules(check_watch(LOG, beyond, reached=6)) == ["resume"]
    marked = [_stream(ONE, cursor=2), _stream(THREE, FOUR, SIX, after=2)]
    assert _rules(check_watch(LOG, marked)) == ["gap"]
    unlike = [_stream(ONE, TWO, THREE), _stream(Event(3, "a", 0, group="g"), FOUR, SIX, after=2)]
    assert _rules(check_watch(LOG, unlike)) == ["content"]


def test_a_watch_has_to_arrive() -> None:
    assert _rules(check_watch(LOG, [_stream(ONE, TWO)], reached=3)) == ["reached"]
    assert _rules(check_watch(LOG, [], reached=1)) == ["reached"]


def test_an_append_arrives_whole() -> None:
    torn = [_stream(ONE, TWO, THREE), _stream(FOUR, SIX, after=3)]
    assert check_watch(LOG, torn)
    assert _rules(check_watch(LOG, torn, atomic=True)) == ["atomic"]
    unwanted = [_stream(ONE, TWO, THREE), _stream(SIX, after=4, cursor=6)]
    assert "atomic" not in _rules(check_watch(LOG, unwanted, wanted=lambda event: event is not FOUR, atomic=True))


def test_a_log_out_of_order_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="in order"):
        check_watch([TWO, ONE], [_stream()])


def test_nothing_to_check_is_not_a_pass() -> None:
    assert check_watch(LOG, [_stream(after=3)]).verdict is Verdict.UNKNOWN
    assert check_watch(LOG, []).verdict is Verdict.UNKNOWN


def test_nothing_wanted_nothing_received_is_a_pass() -> None:
    assert check_watch(LOG, [_stream(cursor=6)], wanted=lambda _: False)


@given(st.lists(st.sampled_from(LOG), max_size=6), st.integers(0, 6))
@settings(max_examples=300, deadline=None)
def test_only_the_log_itself_passes(events: list[Event], after: int) -> None:
    report = check_watch(LOG, [_stream(*events, after=after)], wanted=_is_a)
    expected = [event for event in LOG if after < event.revision <= max([after, *(e.revision for e in events)])]
    if report.checked:
        assert bool(report) is (events == [event for event in expected if event.key == "a"])
    else:
        assert not events
