"""fault 3 of pysyncobj: persist first, send second, and nothing is counted or applied before it is on this disk."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tallystick_node.consensus.kernel import Kernel
from tallystick_node.consensus.raft_log import RaftLog
from tallystick_node.consensus.replica import Ready, Replica
from tallystick_node.consensus.settings import Tuning
from tallystick_node.storage import journal as journal_module
from tests.sim.node import SimNode
from tests.sim.simulation import Simulation
from tests.unit.consensus_kit import Member, accepted, append, ask_vote, bodies


class BoastfulKernel(Kernel):
    """Without the fix: the leader counts itself for what it has not synced."""

    def __init__(
        self,
        node_id: str,
        raft_log: RaftLog,
        durable_index: Callable[[], int],
        *,
        tuning: Tuning,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        super().__init__(node_id, raft_log, lambda: 1 << 62, tuning=tuning, clock=clock, rng=rng)


class BoastfulReplica(Replica[bytes]):
    """Runs a `BoastfulKernel`."""

    _make_kernel = BoastfulKernel


def test_an_acknowledgement_waits_for_the_disk() -> None:
    """Taken out by `Replica._sort_messages` giving all messages at once."""
    member = Member()
    member.settle()
    member.receive("b", append(1, (1, 0), [(2, 1)]))
    ready = member.replica.step()
    assert ready.send_now == []
    assert ready.flush is not None
    assert [entry.index for entry in ready.flush.entries] == [2]
    member.sync(ready.flush)
    assert len(bodies(member.replica.take_held(), "append_reply")) == 1


def test_a_vote_waits_for_the_disk() -> None:
    member = Member()
    member.settle()
    member.receive("b", ask_vote(1, (1, 0)))
    ready = member.replica.step()
    assert ready.send_now == []
    assert ready.flush is not None
    assert ready.flush.hard_state_changed
    assert (ready.flush.hard_state.term, ready.flush.hard_state.voted_for) == (1, "b")
    assert len(bodies(member.replica.take_held(), "vote_reply")) == 1


def test_only_a_leaders_entries_leave_before_the_disk_has_them() -> None:
    """Over a simulated life with every fault, on every node."""

    class Watchful(Replica[int]):
        def step(self) -> Ready:
            ready = super().step()
            for _, message in ready.send_now:
                assert message.HasField("append_entries")
                assert self.kernel.is_leader
                assert message.term == self.kernel.term
                seen.append(ready.flush is not None)
            return ready

    class WatchfulNode(SimNode):
        replica_class = Watchful

    class WatchfulSimulation(Simulation):
        node_class = WatchfulNode

    seen: list[bool] = []
    WatchfulSimulation(1).run(5.0)
    assert any(seen), "no message left before a flush: the test saw nothing"


def _committed_unsynced(replica_class: type[Replica[bytes]]) -> bool:
    """Whether a leader commits what both followers have on disk, and itself not yet."""
    member = Member(replica_class=replica_class)
    member.lead()
    member.receive("b", accepted(1, 2))
    member.settle()
    member.replica.propose(b"p" * 16, b"x")
    ready = member.replica.step()
    for peer in "bc":
        member.kernel.receive(peer, accepted(1, 3))
    member.kernel.step()
    committed = member.kernel.commit_index >= 3
    member.sync(ready.flush)
    member.kernel.step()
    assert member.kernel.commit_index == 3
    return committed


def test_a_leader_counts_itself_only_after_its_own_sync() -> None:
    assert not _committed_unsynced(Replica)


def test_without_the_fix_it_counts_itself_too_early() -> None:
    assert _committed_unsynced(BoastfulReplica)


def test_nothing_is_applied_before_this_disk_has_it() -> None:
    """Taken out by `Replica._apply_is_due` and `_next_entries` without `durable_index`."""
    member = Member()
    member.settle()
    member.receive("b", append(1, (1, 0), [(2, 1)], commit_index=2))
    ready = member.replica.step()
    member.clock.now_s += 1.0  # no reason to gather
    member.replica.apply()
    assert member.kernel.commit_index == 2
    assert member.machine.commands == []
    member.sync(ready.flush)
    member.replica.apply()
    assert member.machine.commands == [b"2.1"]


def test_a_vote_survives_a_crash() -> None:
    member = Member()
    member.settle()
    member.receive("b", ask_vote(7, (1, 0)))
    assert len(bodies(member.settle(), "vote_reply")) == 1
    member.files.crash()
    again = Member(files=member.files)
    again.settle()
    again.receive("c", ask_vote(7, (1, 0)))
    assert bodies(again.settle(), "vote_reply") == []
    assert again.kernel.term == 7
    again.receive("c", ask_vote(8, (1, 0)))
    assert len(bodies(again.settle(), "vote_reply")) == 1


def test_a_vote_that_was_not_synced_was_not_given() -> None:
    member = Member()
    member.settle()
    member.receive("b", ask_vote(7, (1, 0)))
    assert member.replica.step().send_now == []
    member.files.crash()
    assert Member(files=member.files).kernel.term == 0


def test_a_step_larger_than_a_flush_needs_several(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `Runner._cycle` loops for: the first flush does not hold all that the acknowledgements speak of."""
    monkeypatch.setattr(journal_module, "MAX_FLUSH_BYTES", 100)
    member = Member()
    member.settle()
    member.receive("b", append(1, (1, 0), [(2, 1), (3, 1), (4, 1)]))
    member.sync(member.replica.step().flush)
    assert member.journal.has_pending
    assert member.journal.durable_index < 4


def test_a_restarted_member_goes_on_where_it_was() -> None:
    member = Member()
    member.receive("b", append(1, (1, 0), [(2, 1), (3, 1)], commit_index=2))
    member.wait(1.0)
    again = Member(files=member.files, machine=member.machine)
    again.receive("b", append(1, (3, 1), [(4, 1)], commit_index=4))
    again.settle()
    again.wait(0.1)
    assert again.machine.commands == [b"2.1", b"3.1", b"4.1"]
