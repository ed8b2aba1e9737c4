"""The keeper of leases, over a real database; consensus is a function that says yes, and time is a number."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tallystick.errors import Unavailable
from tallystick_node.consensus.machine import CommittedEntry
from tallystick_node.core.commands import AcquireLease, DeleteAgent, LeaseCommand, ReleaseLease, RenewLease
from tallystick_node.core.outcomes import Event, LeaseChange, LeaseDecided
from tallystick_node.leases import keeper as module
from tallystick_node.leases.keeper import STOOD_STILL_S, TICK_S, LeaseKeeper
from tallystick_node.machine import Machine
from tallystick_node.storage.database import Database
from tallystick_node.wire.commands import encode_command
from tests.unit.database_support import START_MS, append, set_op, target

TTL_S = 5.0


class Stage:
    """A node's keeper with what it stands on."""

    def __init__(self, path: Path) -> None:
        self.now_s = 100.0
        self.term: int | None = 1
        self.is_cut_off = False
        self.proposed = 0
        self.ended: list[tuple[str, LeaseChange, int]] = []
        self.database = Database.open(path)
        self.machine = Machine(self.database, self._publish, lambda records: self.keeper.heard(records))
        self.keeper = LeaseKeeper(
            self.database.reads.leases.held, self._propose, lambda: self.term, lambda: self.now_s, lambda: START_MS
        )

    def decide(self, *commands: LeaseCommand | DeleteAgent) -> None:
        for command in commands:
            self._apply(encode_command(command))

    def acquire(self, *agents: str, ttl_s: float = TTL_S) -> None:
        self.decide(*(AcquireLease(START_MS, target(agent), "w", int(ttl_s * 1000)) for agent in agents))

    async def passes(self, seconds: float) -> None:
        """Time goes by, and the keeper counts it."""
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            self.now_s = min(until_s, self.now_s + TICK_S)
            await self.keeper.look()

    def _apply(self, data: bytes) -> None:
        self.machine.apply([CommittedEntry(self.machine.applied_index + 1, 1, (data,))])

    async def _propose(self, data: bytes, _timeout_s: float) -> None:
        self.proposed += 1
        if self.is_cut_off:
            raise Unavailable("no majority")
        self._apply(data)

    def _publish(self, events: object, _position: int) -> None:
        assert isinstance(events, list)
        decided: list[Event] = events
        self.ended += [
            (event.target.agent, event.change, event.epoch)
            for event in decided
            if isinstance(event, LeaseDecided) and event.change is not LeaseChange.ACQUIRED
        ]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path / "state.db")
    yield made
    made.database.close()


async def test_a_lease_that_is_not_renewed_ends_after_its_time(stage: Stage) -> None:
    await stage.passes(TICK_S)
    stage.acquire("a")
    await stage.passes(TTL_S - TICK_S)
    assert stage.ended == []
    await stage.passes(TICK_S)
    assert stage.ended == [("a", LeaseChange.EXPIRED, 1)]
    await stage.passes(3 * TTL_S)
    assert stage.proposed == 1


async def test_a_renewal_begins_its_time_anew(stage: Stage) -> None:
    await stage.passes(TICK_S)
    stage.acquire("a", "b")
    await stage.passes(TTL_S - TICK_S)
    stage.decide(RenewLease(START_MS, target("a"), 1))
    await stage.passes(TTL_S - TICK_S)
    assert stage.ended == [("b", LeaseChange.EXPIRED, 1)]
    await stage.passes(TICK_S)
    assert stage.ended == [("b", LeaseChange.EXPIRED, 1), ("a", LeaseChange.EXPIRED, 1)]


async def test_who_begins_to_lead_counts_all_that_are_held_anew(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HELD_PAGE", 2)
    stage.term = None
    stage.acquire("a", "b", "c", "d", "e")
    await stage.passes(10 * TTL_S)
    assert stage.proposed == 0
    stage.term = 2
    await stage.passes(TTL_S)
    assert stage.ended == []
    stage.term = 3  # it ceased to lead in between
    await stage.passes(TTL_S)
    assert stage.ended == []
    await stage.passes(2 * TICK_S)
    assert [agent for agent, _, _ in stage.ended] == ["a", "b", "c", "d", "e"]


async def test_time_in_which_the_node_stood_still_does_not_count(stage: Stage) -> None:
    await stage.passes(TICK_S)
    stage.acquire("a")
    stage.now_s += 100 * TTL_S
    await stage.keeper.look()
    assert stage.proposed == 0
    await stage.passes(TTL_S - STOOD_STILL_S - TICK_S)
    assert stage.proposed == 0
    await stage.passes(TICK_S)
    assert stage.ended == [("a", LeaseChange.EXPIRED, 1)]


async def test_who_is_cut_off_proposes_again_and_ends_nothing_that_was_renewed(stage: Stage) -> None:
    await stage.passes(TICK_S)
    stage.acquire("a", "b")
    stage.is_cut_off = True
    await stage.passes(2 * TTL_S)
    assert 1 < stage.proposed <= TTL_S / module.RETRY_S + 1
    assert stage.ended == []
    stage.decide(RenewLease(START_MS, target("a"), 1))
    stage.is_cut_off = False
    await stage.passes(module.RETRY_S + TICK_S)
    assert stage.ended == [("b", LeaseChange.EXPIRED, 1)]


async def test_what_ended_otherwise_is_not_proposed(stage: Stage) -> None:
    await stage.passes(TICK_S)
    stage.database.apply([(1, 1, [append([set_op("/n", "1")], agent="b")], None)])
    stage.acquire("a", "b")
    stage.decide(ReleaseLease(START_MS, target("a"), 1), DeleteAgent(START_MS, target("b"), epoch=1))
    await stage.passes(2 * TTL_S)
    assert stage.ended == [("a", LeaseChange.RELEASED, 1), ("b", LeaseChange.RELEASED, 1)]
    assert stage.proposed <= 1  # of the deleted agent it learns when it asks
    assert not stage.keeper._counted


async def test_a_shorter_time_of_the_next_holder_counts(stage: Stage) -> None:
    await stage.passes(TICK_S)
    stage.database.apply([(1, 1, [append([set_op("/n", "1")])], None)])
    stage.acquire("a", ttl_s=1000)
    stage.decide(DeleteAgent(START_MS, target("a"), epoch=1))  # ends it without a word of the lease's own
    stage.acquire("a")
    await stage.passes(TTL_S)
    assert stage.ended[-1] == ("a", LeaseChange.EXPIRED, 2)


async def test_what_is_kept_is_bounded_by_what_is_held(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_VOID_SPARE", 10)
    await stage.passes(TICK_S)
    stage.acquire("held", ttl_s=3600)
    for epoch in range(1, 200):
        stage.acquire("a", ttl_s=3600)
        stage.decide(ReleaseLease(START_MS, target("a"), epoch))
        assert len(stage.keeper._dues) <= 2 * len(stage.keeper._counted) + 12
    assert len(stage.keeper._counted) == 1


async def test_a_snapshot_in_place_of_the_state_begins_anew(stage: Stage) -> None:
    await stage.passes(TICK_S)
    stage.acquire("a")
    await stage.passes(TTL_S - TICK_S)
    stage.keeper.forget()
    await stage.passes(TTL_S)
    assert stage.ended == []
    await stage.passes(2 * TICK_S)
    assert stage.ended == [("a", LeaseChange.EXPIRED, 1)]
