"""What a client has read, and what of it each mutation carries: bounded, in order, told once."""

from __future__ import annotations

from dataclasses import replace

from tallystick import Observed, ObservedContext, ObservedLog
from tallystick.causality.observing import (
    CONTEXTS_CARRIED,
    CONTEXTS_KEPT,
    CURSOR_BYTES,
    LOGS_CARRIED,
    LOGS_KEPT,
    REQUEST_BYTES,
    WRITERS_KEPT,
    Observing,
)
from tallystick.contexts.cursor import Cursor
from tallystick.v1 import state_pb2

CURSOR = Cursor(bytes(16), 1, b"\x01\x02\x03", b"d" * 16, "n1", 7)


def seqs(observing: Observing, agent: str = "me", *, decided: bool = True) -> dict[str, int]:
    """What the next mutation of an agent carries."""
    news = observing.news(agent, "main")
    if decided:
        observing.acknowledged(agent, "main", news)
    return {log.agent: log.seq for log in news.message.logs} if news is not None else {}


def test_what_was_not_acknowledged_is_carried_again() -> None:
    observing = Observing(is_on=True)
    observing.saw("a", "main", 3)
    assert seqs(observing, decided=False) == {"a": 3}
    observing.saw("b", "main", 1)
    assert seqs(observing) == {"a": 3, "b": 1}
    assert seqs(observing) == {}
    observing.saw("a", "main", 2)
    observing.saw("me", "main", 9)
    assert seqs(observing) == {}
    observing.saw("a", "main", 5)
    assert seqs(observing) == {"a": 5}
    observing.lost("me", "main")
    assert seqs(observing) == {"a": 5, "b": 1}
    assert seqs(observing, "other") == {"a": 5, "b": 1, "me": 9}


def test_what_does_not_fit_goes_with_the_next() -> None:
    observing = Observing(is_on=True)
    for number in range(2 * LOGS_CARRIED + 1):
        observing.saw(f"a-{number}", "main", 1)
    observing.add(Observed((), tuple(ObservedContext(f"c-{at}", b"", b"") for at in range(CONTEXTS_CARRIED + 1))))
    carried = [seqs(observing) for _ in range(4)]
    assert [len(each) for each in carried] == [LOGS_CARRIED, LOGS_CARRIED, 1, 0]
    assert len({name for each in carried for name in each}) == 2 * LOGS_CARRIED + 1


def test_contexts_are_carried_once_and_in_part() -> None:
    observing = Observing(is_on=True)
    observing.add(Observed((), tuple(ObservedContext(f"c-{at}", b"", b"") for at in range(CONTEXTS_CARRIED + 3))))
    counts = []
    for _ in range(3):
        news = observing.news("me", "main")
        observing.acknowledged("me", "main", news)
        counts.append(len(news.message.contexts) if news is not None else 0)
    assert counts == [CONTEXTS_CARRIED, 3, 0]


def test_an_open_context_is_read_as_a_node_tells() -> None:
    observing, held = Observing(is_on=True), [CURSOR]
    observing.opened("plan", lambda: held[0])
    assert observing.all().contexts == (ObservedContext("plan", CURSOR.guid, observing.all().contexts[0].cursor_bytes),)
    assert observing.all().contexts[0].cursor == CURSOR
    assert observing.news("me", "main") is not None
    observing.acknowledged("me", "main", observing.news("me", "main"))
    held[0] = replace(CURSOR, node_id="n2", number=1)  # the same, told by another node
    assert observing.news("me", "main") is None
    held[0] = replace(CURSOR, state_vector=b"\x01\x02\x04")
    assert observing.news("me", "main") is not None
    observing.closed("plan")
    held[0] = replace(CURSOR, state_vector=bytes(CURSOR_BYTES))
    assert observing.all().contexts[0].cursor.state_vector == b"\x01\x02\x04"
    observing.opened("plan", lambda: held[0])  # too large to be carried
    assert observing.all().contexts[0].cursor.state_vector == b"\x01\x02\x04"


def test_what_was_written_behind_what_was_read_is_read_and_no_news() -> None:
    observing = Observing(is_on=True)
    observing.saw("a", "main", 3, b"h")
    assert seqs(observing) == {"a": 3}
    observing.wrote("a", "main", 4, 6, b"i")
    observing.wrote("a", "main", 8, 8, b"j")  # somebody else wrote between
    assert observing.all().logs == (ObservedLog("a", 6, hash=b"i"),)
    assert seqs(observing) == {}


def test_a_new_agent_of_the_name_and_one_that_is_gone() -> None:
    observing = Observing(is_on=True)
    observing.saw("a", "main", 9)
    observing.saw("a", "side", 9)
    observing.saw("a", "main", 2, is_head=True)
    assert seqs(observing)["a"] in {2, 9}
    assert {(log.branch, log.seq) for log in observing.all().logs} == {("main", 2), ("side", 9)}
    observing.gone("a", "side")
    assert [log.branch for log in observing.all().logs] == ["main"]
    observing.gone("a")
    assert not observing.all()


def test_everything_is_bounded() -> None:
    observing = Observing(is_on=True)
    for number in range(LOGS_KEPT + 5):
        observing.saw(f"a-{number}", "main", 1)
        observing.add(Observed((), (ObservedContext(f"c-{number}", b"", b""),)))
    assert len(observing.all().logs) == LOGS_KEPT
    assert len(observing.all().contexts) == CONTEXTS_KEPT
    for number in range(WRITERS_KEPT + 5):
        seqs(observing, f"w-{number}")
    assert len(observing._carried) == WRITERS_KEPT
    record = observing.record("me", "main")
    assert record is not None
    assert (len(record.logs), len(record.contexts)) == (LOGS_CARRIED, CONTEXTS_CARRIED)
    assert record.logs[-1].agent == f"a-{LOGS_KEPT + 4}"


def test_who_says_it_himself_is_left_alone_and_who_observes_nothing_carries_nothing() -> None:
    observing = Observing(is_on=True)
    observing.saw("a", "main", 1)
    own = state_pb2.Mutation()
    own.observed.logs.add(agent="b", seq=2)
    assert observing.carry("me", "main", [own]) is None
    assert [log.agent for log in own.observed.logs] == ["b"]
    large = state_pb2.Mutation(payload=bytes(REQUEST_BYTES))
    assert observing.carry("me", "main", [large]) is None
    assert observing.carry("me", "main", [state_pb2.Mutation()], 3) is None
    assert not large.HasField("observed")
    small = state_pb2.Mutation()
    assert observing.carry("me", "main", [small, state_pb2.Mutation()]) is not None
    assert [log.agent for log in small.observed.logs] == ["a"]
    off = Observing(is_on=False)
    off.saw("a", "main", 1)
    off.opened("plan", lambda: CURSOR)
    off.add(Observed((ObservedLog("a", 1),), (ObservedContext("c", b"", b""),)))
    assert not off.all()
    assert off.news("me", "main") is None
    assert off.record("me", "main") is None
