"""Faults 11 and 12 of pysyncobj, in virtual time: commits wait for no heartbeat, and who is cut off disturbs nobody."""

from __future__ import annotations

import pytest

from tallystick.peer.v1.peer_pb2 import RaftMessage
from tallystick_node.consensus import send_window
from tallystick_node.consensus.kernel import Kernel
from tallystick_node.consensus.replica import Replica
from tests.unit.consensus_kit import TUNING, Clock, Group, Member, accepted, append, ask_vote, bodies


class EagerKernel(Kernel):
    """Without pre-vote: it asks for real votes at once."""

    def _election_is_due(self) -> bool:
        return False

    def _tick(self) -> None:
        self.doTick(0.0)


class EagerReplica(Replica[bytes]):
    """Runs an `EagerKernel`."""

    _make_kernel = EagerKernel


class ObligingKernel(Kernel):
    """Without the vote filter: it listens to any candidate."""

    def _is_withheld_vote(self, message: RaftMessage) -> bool:
        return False


class ObligingReplica(Replica[bytes]):
    """Runs an `ObligingKernel`."""

    _make_kernel = ObligingKernel


def test_a_commit_does_not_wait_for_a_heartbeat() -> None:
    """Taken out by `appendEntriesUseBatch=True` in `Kernel._conf`."""
    group = Group()
    leader = group.elect()
    for number in range(10):
        asked_s = group.clock.now_s
        leader.replica.propose(number.to_bytes(16, "big"), b"%d" % number)
        group.run()
        assert len(leader.verdicts()) == 1
        group.wait(0.02, step_s=0.001)
        assert all(len(member.machine.commands) == number + 1 for member in group.members.values())
        assert group.clock.now_s - asked_s < TUNING.heartbeat_s


def test_a_caller_at_a_follower_does_not_wait_for_a_heartbeat() -> None:
    group = Group()
    leader = group.elect()
    follower = next(member for member in group.members.values() if member is not leader)
    follower.replica.propose(b"p" * 16, b"x")
    group.run()  # no time passes
    assert len(follower.verdicts()) == 1


def _after_a_cut(replica_class: type[Replica[bytes]]) -> tuple[bool, bool, bool]:
    """Whether a follower that was alone raised its term, and whether leader and term outlive its return."""
    group = Group(replica_class=replica_class)
    leader = group.elect()
    lonely = next(name for name, member in group.members.items() if member is not leader)
    term = leader.kernel.term
    group.cut = {lonely}
    group.wait(5.0)
    raised = group.members[lonely].kernel.term > term
    group.cut = set()
    group.wait(3.0)
    return raised, leader.kernel.is_leader, leader.kernel.term == term


def test_who_was_cut_off_raises_no_term_and_deposes_nobody() -> None:
    assert _after_a_cut(Replica) == (False, True, True)


def test_without_pre_vote_it_does() -> None:
    raised, _, same_term = _after_a_cut(EagerReplica)
    assert raised
    assert not same_term


def _vote_for_a_rival(replica_class: type[Replica[bytes]], silence_s: float) -> bool:
    member = Member(replica_class=replica_class)
    member.receive("b", append(1, (1, 0)))
    member.settle()
    member.clock.now_s += silence_s
    member.receive("c", ask_vote(2, (1, 0)))
    return bool(bodies(member.cycle(), "vote_reply"))


def test_who_hears_a_leader_gives_no_vote() -> None:
    assert not _vote_for_a_rival(Replica, TUNING.election_min_s * 0.9)
    assert _vote_for_a_rival(Replica, TUNING.election_min_s * 1.1)


def test_without_the_filter_it_does() -> None:
    assert _vote_for_a_rival(ObligingReplica, TUNING.election_min_s * 0.9)


def test_a_leader_gives_no_vote_and_takes_no_term_from_who_asks() -> None:
    member = Member()
    member.lead()
    member.receive("c", ask_vote(50, (100, 49)))
    assert bodies(member.settle(), "vote_reply") == []
    assert member.kernel.is_leader
    assert member.kernel.term == 1


@pytest.mark.parametrize("names", ["ab", "abc", "abcde"])
def test_a_leader_without_a_majority_steps_down_in_time(names: str) -> None:
    """Taken out by pysyncobj's own `leaderFallbackTimeout` of 30 s."""
    group = Group(names)
    leader = group.elect()
    name = group.leaders()[0]
    group.cut = {name}
    group.wait(TUNING.election_max_s + TUNING.heartbeat_s)
    assert not leader.kernel.is_leader
    others = [other for other in names if other != name]
    group.wait(3 * TUNING.election_max_s)
    assert len(group.leaders()) == (1 if len(others) > len(names) / 2 else 0)
    group.cut = set()
    group.wait(3.0)
    assert len(group.leaders()) == 1


def test_a_deadline_between_two_looks_at_the_clock_begins_no_election() -> None:
    """Whoever is due asks first, however the clock runs. Taken out by `Kernel._tick` hiding the deadline."""

    class Leaping(Clock):
        leap_s = 0.0

        def __call__(self) -> float:
            self.now_s += self.leap_s
            return super().__call__()

    clock = Leaping()
    member = Member(clock=clock)
    member.settle()
    for _ in range(50):
        clock.leap_s = 0.05  # every look may be the one that passes the deadline
        sent = member.cycle()
        clock.leap_s = 0.0
        assert bodies(sent, "vote_request") == []
        member.settle()
    assert member.kernel.term == 0


def test_without_hiding_the_deadline_an_election_begins_unasked() -> None:
    member = Member(replica_class=EagerReplica)
    member.settle()
    assert bodies(member.wait(2.0), "vote_request") != []


def test_a_grant_that_cannot_be_used_is_void() -> None:
    """A member that was granted an election and lost its links at once does not begin it when they are back."""
    member = Member()
    member.settle()
    member.wait(1.1)
    grant = RaftMessage()
    grant.pre_vote_reply.asked_term = 1
    member.receive("b", grant)
    for peer in "bc":
        member.replica.peer_disconnected(peer)
    member.settle()
    assert member.replica.next_deadline_s > member.clock.now_s
    for peer in "bc":
        member.replica.peer_connected(peer)
    assert bodies(member.settle(), "vote_request") == []
    assert member.kernel.term == 0


def test_a_step_that_lasts_long_leaves_no_command_behind() -> None:
    """pysyncobj takes commands for a heartbeat's time only; one left there could be proposed twice, or after its caller
    was told that it was not. Taken out by `Kernel._drop_late_commands`."""
    group = Group("a")
    member = group.members["a"]
    group.wait(2.0)
    member.replica.propose(b"p" * 16, b"x")
    member.replica.propose(b"q" * 16, b"y")

    class Slow(Clock):
        def __call__(self) -> float:
            self.now_s += 0.2
            return self.now_s

    slow = Slow()
    slow.now_s = group.clock.now_s
    member.kernel._clock = slow
    member.cycle()
    member.kernel._clock = group.clock
    group.clock.now_s = slow.now_s
    assert member.replica.give_up(b"q" * 16, only_queued=True)
    group.wait(1.0)
    assert member.machine.commands == [b"x"]


def test_a_member_at_rest_has_no_work() -> None:
    """`has_work` without progress would be a busy loop."""
    group = Group()
    group.elect()
    group.wait(1.0)
    for names in (set(), {"a"}, {"a", "b", "c"}):
        group.cut = names
        for name, member in group.members.items():
            for peer in member.peers:
                (member.replica.peer_disconnected if names else member.replica.peer_connected)(peer)
            member.replica.propose(name.encode() * 16, b"x")
        group.wait(2.0)
        for member in group.members.values():
            assert not member.replica.has_work
            assert member.replica.next_deadline_s > group.clock.now_s


def test_a_new_leadership_begins_with_empty_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was on its way in an earlier one is answered by nobody. Taken out by `_hold_full_windows` not clearing."""
    monkeypatch.setattr(send_window, "SEND_WINDOW_BYTES", 300)
    member = Member()
    member.lead()
    member.receive("c", accepted(1, 2))
    member.settle()
    for number, size_bytes in enumerate((1, 1, 600)):
        member.replica.propose(bytes([number]) * 16, b"x" * size_bytes)
        member.wait(0.005)
    member.receive("b", append(5, (2, 1), [(3, 5)]))
    member.settle()
    member.lead("c")
    member.receive("c", accepted(6, 4))
    member.settle()
    member.replica.propose(b"p" * 16, b"x")
    sent = [message.append_entries for peer, message in member.wait(0.005) if peer == "c"]
    assert [entry.index for body in sent for entry in body.entries] == [5]


def test_a_peer_that_is_sent_no_entries_still_hears_its_leader() -> None:
    """Else it would call an election. Taken out by `Kernel._beat_held`."""
    member = Member()
    member.lead()  # its first entry is on its way to "c", which does not answer
    heard = 0
    for _ in range(10):
        member.receive("b", accepted(1, 2))
        heard += any(peer == "c" and m.HasField("append_entries") for peer, m in member.wait(TUNING.heartbeat_s * 1.01))
    assert heard == 10
