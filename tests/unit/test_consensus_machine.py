"""fault 8 of pysyncobj: a refusal is a value; a state machine that raises stops the node and is not asked again.

Taken out by running the machine inside pysyncobj's `__doApplyCommand`, which is overridden to note the index only.
"""

from __future__ import annotations

import asyncio
import errno
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from tallystick.errors import NoLeader, Undecided
from tallystick_node.consensus.machine import CommittedEntry
from tallystick_node.consensus.proposals import Applied
from tallystick_node.consensus.replica import Replica
from tallystick_node.consensus.runner import Runner
from tallystick_node.storage.errors import DiskFull
from tallystick_node.storage.files import RealFiles
from tallystick_node.storage.journal import Journal
from tests.sim.disk import SimFiles
from tests.unit.consensus_kit import TUNING, Clock, Group, Member, RecordingMachine, append, voters


class BuggyMachine(RecordingMachine):
    """Raises for one command, and counts how often it is asked."""

    def __init__(self, error: Exception, *, times: int = 1 << 30) -> None:
        super().__init__()
        self.asked = 0
        self._error = error
        self._times_left = times

    def apply(self, entries: Sequence[CommittedEntry]) -> list[list[bytes]]:
        if any(b"bad" in entry.commands for entry in entries):
            self.asked += 1
            if self._times_left:
                self._times_left -= 1
                raise self._error
        return super().apply(entries)


def _alone(machine: RecordingMachine) -> Member:
    member = Member("", machine=machine)
    member.settle()
    member.wait(2.0)
    assert member.kernel.is_leader
    return member


def test_what_the_machine_raises_comes_out() -> None:
    machine = BuggyMachine(ZeroDivisionError("a bug"))
    member = _alone(machine)
    member.replica.propose(b"p" * 16, b"bad")
    with pytest.raises(ZeroDivisionError):
        member.settle()
    assert machine.asked == 1
    assert member.verdicts() == {}


async def test_what_the_machine_raises_stops_the_node(tmp_path: Path) -> None:
    machine = BuggyMachine(ZeroDivisionError("a bug"))
    journal = Journal.open(RealFiles(), tmp_path)
    clock = asyncio.get_running_loop().time
    replica = Replica("a", voters("a"), journal, machine, tuning=TUNING, clock=clock, rng=random.Random(1))
    runner = Runner(replica, journal, clock)
    running = asyncio.create_task(runner.run(_NoTransport()))
    async with asyncio.timeout(10.0):
        while not replica.kernel.is_leader:
            await asyncio.wait([running], timeout=0.01)
        with pytest.raises(Undecided, match="stopped before the outcome was known"):
            await runner.propose(b"bad", 10.0)
        with pytest.raises(ZeroDivisionError):
            await running
    assert machine.asked == 1
    journal.close()


async def test_a_node_whose_disk_is_full_can_be_stopped() -> None:
    """It waits for room, and not for ever."""
    files = SimFiles(random.Random(1))
    journal = Journal.open(files, Path("/journal"))
    clock = asyncio.get_running_loop().time
    replica = Replica("a", voters("a"), journal, RecordingMachine(), tuning=TUNING, clock=clock, rng=random.Random(1))
    runner = Runner(replica, journal, clock)
    running = asyncio.create_task(runner.run(_NoTransport()))
    async with asyncio.timeout(10.0):
        while not (replica.kernel.is_leader and replica.kernel.has_committed_in_term):  # its first entry is on disk
            await asyncio.wait([running], timeout=0.01)
        files.room_bytes = 0
        proposing = asyncio.create_task(runner.propose(b"x", 30.0))
        while runner.full_disk is None:
            await asyncio.wait([running], timeout=0.01)
        runner.stop()
        await running
        with pytest.raises((Undecided, NoLeader)):  # NoLeader: another write met the full disk before it was taken up
            await proposing
    journal.close()


class _NoTransport:
    def send(self, peer_id: str, message: object) -> None:
        raise AssertionError("there is nobody to send to")

    def update_members(self, members: object) -> None:
        """Nobody to link to."""


def test_a_member_alone_commits_at_once() -> None:
    """There is no answer to wait for; pysyncobj would commit with the next heartbeat."""
    member = _alone(RecordingMachine())
    member.replica.propose(b"p" * 16, b"x")
    member.settle()  # no time passes
    assert member.verdicts() == {b"p" * 16: Applied(b"x")}
    assert not member.replica.has_work


def test_a_full_disk_is_tried_again_with_the_same_entries() -> None:
    machine = BuggyMachine(DiskFull(errno.ENOSPC, "no room"), times=2)
    member = _alone(machine)
    member.replica.propose(b"p" * 16, b"bad")
    for _ in range(2):
        with pytest.raises(DiskFull):
            member.settle()
    member.settle()
    assert machine.commands == [b"bad"]
    assert member.verdicts() == {b"p" * 16: Applied(b"bad")}


def test_a_refusal_is_a_value_that_its_caller_gets() -> None:
    """Consensus does not look into results: a command's is handed on, whatever it says."""
    group = Group()
    leader = group.elect()
    follower = next(member for member in group.members.values() if member is not leader)
    follower.replica.propose(b"p" * 16, b"refused: SEQ_CONFLICT")
    group.wait(0.2)
    assert follower.verdicts() == {b"p" * 16: Applied(b"refused: SEQ_CONFLICT")}
    assert [member.machine.commands for member in group.members.values()] == [[b"refused: SEQ_CONFLICT"]] * 3


def test_a_caller_that_fails_on_its_verdict_applies_nothing_twice() -> None:
    """Verdicts are taken, not called back: pysyncobj would apply the entry again after a callback raised."""
    member = _alone(RecordingMachine())
    member.replica.propose(b"p" * 16, b"x")
    member.settle()
    with pytest.raises(KeyError):
        member.verdicts()[b"no such id"]
    member.wait(1.0)
    assert member.machine.commands == [b"x"]
    assert member.verdicts() == {}


def test_each_entry_is_found_committed_once() -> None:
    member = Member(clock=Clock())
    for end in (3, 3, 5):
        member.receive("b", append(1, (1, 0), [(index, 1) for index in range(2, end + 1)], commit_index=end))
        member.settle()
    member.wait(0.1)
    assert [entry.index for entry in member.machine.entries] == [2, 3, 4, 5]


def test_catching_up_is_cut_into_bounded_pieces() -> None:
    """No step holds the loop for long, however much there is to apply."""
    member = Member()
    entries = [(index, 1) for index in range(2, 1002)]
    member.receive("b", append(1, (1, 0), entries, commit_index=1001))
    member.sync(member.replica.step().flush)
    sizes = []
    for _ in range(10):
        before = len(member.machine.entries)
        member.clock.now_s += 1.0
        member.sync(member.replica.step().flush)
        member.replica.apply()
        sizes.append(len(member.machine.entries) - before)
    assert sum(sizes) == 1000
    assert max(sizes) <= 256
