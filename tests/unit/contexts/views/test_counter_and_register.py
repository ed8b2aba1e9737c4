"""Counters lose no addition; registers lose no value that nobody saw."""

from __future__ import annotations

from typing import cast

import pycrdt
import pytest

from tallystick import Invalid
from tallystick.contexts.views.values import SAFE_INT
from tests.unit.contexts.views.kit import Peer, exchange, pair


def test_counter_sums_what_all_added() -> None:
    here, there = pair()
    here.views.counter("c").add()
    here.views.counter("c").add(10)
    there.views.counter("c").add(-4)
    exchange(here, there)
    there.views.counter("c").add(100)
    exchange(here, there)
    for peer in (here, there):
        assert peer.views.counter("c").value == 107
        assert int(peer.views.counter("c")) == 107


def test_counter_of_two_replicas_of_one_agent() -> None:
    """By agent, one replica's sum would replace the other's; by writer both count."""
    here, there = pair()
    there.actor = here.actor
    for peer, times in ((here, 3), (there, 5)):
        for _ in range(times):
            peer.views.counter("c").add()
    exchange(here, there)
    assert here.views.counter("c").value == there.views.counter("c").value == 8


def test_counter_of_an_agent_in_its_next_life() -> None:
    peer = Peer()
    peer.views.counter("c").add(3)
    peer.become_another()
    peer.views.counter("c").add(4)
    assert peer.views.counter("c").value == 7


def test_counter_with_fractions_does_not_depend_on_the_order() -> None:
    peers = [Peer(number) for number in range(8)]
    for number, peer in enumerate(peers):
        peer.views.counter("c").add([9e15, 1.1, -9e15, 0.1, 3, 2.7, -0.3, 1e-9][number])
    exchange(*peers)
    assert len({repr(peer.views.counter("c").value) for peer in peers}) == 1
    assert float(peers[0].views.counter("c")) == pytest.approx(6.600000001)


@pytest.mark.parametrize(
    "amount", [True, "1", None, float("nan"), float("inf"), 2**53, 10**400], ids=lambda amount: f"{amount!r:.9}"
)
def test_counter_refuses_what_is_no_amount(amount: int) -> None:
    peer = Peer()
    with pytest.raises(Invalid):
        peer.views.counter("c").add(amount)
    assert not peer.updates


def test_counter_does_not_run_over() -> None:
    peer = Peer()
    peer.views.counter("c").add(SAFE_INT)
    with pytest.raises(Invalid):
        peer.views.counter("c").add(1)
    assert peer.views.counter("c").value == SAFE_INT


def test_register_that_was_never_set() -> None:
    goal = Peer().views.register("r")
    assert (goal.value, goal.values(), goal.is_conflicted) == (None, [], False)
    goal.clear()


def test_register_overwrites_what_it_saw_and_keeps_what_it_did_not() -> None:
    here, there = pair()
    here.views.register("r").set("first")
    exchange(here, there)
    there.views.register("r").set("second")
    exchange(here, there)
    assert here.views.register("r").values() == ["second"]
    here.now_ms += 5
    here.views.register("r").set("here")
    there.views.register("r").set("there")
    exchange(here, there)
    for peer in (here, there):
        goal = peer.views.register("r")
        assert goal.values() == ["here", "there"]  # by clock: here wrote later
        assert goal.value == "here"
        assert goal.is_conflicted
        assert peer.views.to_json() == {"r": {"$values": ["here", "there"]}}
    there.views.register("r").set("agreed")
    exchange(here, there)
    for peer in (here, there):
        assert peer.views.register("r").values() == ["agreed"]
        assert not peer.views.register("r").is_conflicted
        assert len(peer.views.register("r").slots()) == 1  # nothing of the others is left
        assert peer.views.to_json() == {"r": "agreed"}


def test_register_with_one_value_from_two_writers_is_no_conflict() -> None:
    here, there = pair()
    here.views.register("r").set({"a": 1})
    there.views.register("r").set({"a": 1.0})
    exchange(here, there)
    assert here.views.register("r").values() == [{"a": 1}]
    assert not here.views.register("r").is_conflicted
    assert len(here.views.register("r").slots()) == 2


def test_register_clock_does_not_go_back_behind_what_was_seen() -> None:
    here, there = pair()
    here.now_ms += 1_000_000
    here.views.register("r").set("by a clock that is ahead")
    exchange(here, there)
    third = Peer(2)
    third.now_ms += 500_000
    third.views.register("r").set("before it, by the clock")
    there.views.register("r").set("after it")
    exchange(here, there, third)
    assert here.views.register("r").values() == ["after it", "before it, by the clock"]


def test_register_of_equal_times_is_ordered_by_writer() -> None:
    here, there = pair()
    here.views.register("r").set("lower")
    there.views.register("r").set("higher")
    exchange(here, there)
    assert here.views.register("r").values() == there.views.register("r").values() == ["higher", "lower"]


def test_register_beside_what_another_program_wrote() -> None:
    peer = Peer()
    goal = peer.views.register("r")
    goal.set("mine")
    root = cast("pycrdt.Map[object]", peer.doc.get("r", type=pycrdt.Map))
    root["7"] = "not a slot"
    root["x"] = [2**60, 5, "far away"]
    assert goal.values() == ["far away", "mine", "not a slot"]
    goal.set("all mine")
    assert goal.values() == ["all mine"]
