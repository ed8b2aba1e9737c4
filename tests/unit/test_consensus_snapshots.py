"""A member that lacks what journals no longer hold: it says so, takes a copy, and goes on behind it.

Faults 2, 4 and 14 of pysyncobj: a snapshot raises no commit index by itself, loses nothing, and is not pysyncobj's.
"""

from __future__ import annotations

from dataclasses import replace

from tallystick.peer.v1.peer_pb2 import AppendEntries, RaftMessage
from tallystick_node.consensus.machine import CommittedEntry
from tallystick_node.consensus.proposals import Undecided
from tallystick_node.consensus.settings import SEND_WINDOW_TIMEOUT_S
from tests.unit.consensus_kit import TUNING, Group, Member, append, bodies

SHORT = replace(TUNING, journal_tail_entries=4, journal_kept_bytes=0)
"""Slow members are waited for by nobody."""


def _group_with_a_laggard() -> tuple[Group, Member, Member]:
    group = Group(tuning=SHORT, segment_bytes=256)
    leader = group.elect()
    laggard = next(member for member in group.members.values() if member is not leader)
    group.cut.add(laggard.replica.node_id)
    for number in range(40):
        leader.replica.propose(b"%016d" % number, b"x%d" % number)
        group.wait(0.05, step_s=0.05)
    leader.replica.compact()
    assert leader.journal.first_index > laggard.journal.last_index + 1
    group.cut.clear()
    group.wait(SEND_WINDOW_TIMEOUT_S + 1.0)  # the links never broke: what was lost must be missed first
    return group, leader, laggard


def _install(source: Member, target: Member, reach_index: int = 1 << 30) -> None:
    """What `snapshots.catch_up` does: the state is exchanged, and the journal begins behind it."""
    target.machine.entries = [entry for entry in source.machine.entries if entry.index <= reach_index]
    index = target.machine.applied_index
    target.journal.restart_at(index, source.journal.term_at(index))
    target.sync(target.journal.take_flush())
    target.replica.restart()


def test_a_laggard_wants_what_the_leader_no_longer_has() -> None:
    _, leader, laggard = _group_with_a_laggard()
    assert laggard.replica.wanted_index == leader.journal.base_index
    assert laggard.kernel.commit_index < leader.journal.base_index, "nothing is decided by hearing of a snapshot"


def test_it_goes_on_behind_the_copy() -> None:
    group, leader, laggard = _group_with_a_laggard()
    _install(leader, laggard)
    assert laggard.replica.wanted_index == 0
    leader.replica.propose(b"p" * 16, b"after")
    group.wait(0.5)
    assert laggard.machine.commands == leader.machine.commands
    assert laggard.machine.commands[-1] == b"after"


def test_a_copy_that_is_old_when_it_comes_is_followed_by_the_log() -> None:
    group, leader, laggard = _group_with_a_laggard()
    _install(leader, laggard, leader.journal.base_index)
    group.wait(1.0)
    assert laggard.machine.commands == leader.machine.commands


def test_a_laggard_is_heard_while_it_waits() -> None:
    """Else a leader whose other followers are gone would believe itself cut off."""
    group, leader, laggard = _group_with_a_laggard()
    third = next(name for name in "abc" if group.members[name] not in (leader, laggard))
    group.cut.add(third)
    group.wait(5.0)
    assert leader.kernel.is_leader
    assert group.leaders() == [leader.replica.node_id]


def test_a_waiting_laggard_is_not_sent_the_same_at_once_again() -> None:
    """Its answer says nothing but that it lives; pysyncobj would send at once after each answer."""
    group, _, laggard = _group_with_a_laggard()
    group.sent.clear()
    group.wait(1.0)
    notices = [RaftMessage.FromString(sent) for sent in group.sent]
    count = sum(notice.append_entries.needs_snapshot for notice in notices if notice.HasField("append_entries"))
    assert 0 < count <= 3 * (1.0 / TUNING.heartbeat_s)
    assert laggard.replica.wanted_index


def test_what_was_on_its_way_is_undecided_after_the_exchange() -> None:
    group, leader, laggard = _group_with_a_laggard()
    laggard.replica.propose(b"p" * 16, b"mine")
    laggard.settle()
    _install(leader, laggard)
    assert laggard.verdicts() == {b"p" * 16: Undecided.UNDECIDED}
    group.wait(0.5)
    assert leader.machine.commands.count(b"mine") <= 1


def test_a_member_that_has_what_is_meant_says_where_to_go_on() -> None:
    """A notice that was on its way while the copy was installed."""
    member = Member()
    member.receive("b", append(1, (1, 0), [(2, 1), (3, 1)], commit_index=3))
    member.settle()
    member.receive("b", RaftMessage(term=1, append_entries=AppendEntries(needs_snapshot=True, prev_index=3)))
    (answer,) = [message.append_reply for _, message in member.settle() if message.HasField("append_reply")]
    assert (answer.next_index, answer.reset, answer.success) == (4, True, False)
    assert member.replica.wanted_index == 0


def test_a_state_that_was_put_aside_is_wanted_again() -> None:
    """The journal is sound and begins behind what is applied: nothing is applied, and it does not lead."""
    group, leader, laggard = _group_with_a_laggard()
    follower = next(member for member in group.members.values() if member not in (leader, laggard))
    follower.replica.compact()
    leader.replica.propose(b"p" * 16, b"the next flush removes what was dropped")
    group.wait(0.1)
    again = Member(follower.peers, name=follower.replica.node_id, files=follower.files, segment_bytes=256, tuning=SHORT)
    assert again.replica.wanted_index == again.journal.base_index > 0
    again.receive(leader.replica.node_id, append(leader.kernel.term, leader.log()[-1], commit_index=1 << 30))
    again.settle()
    assert again.machine.entries == []
    kept = again.journal.last_index
    again.machine.entries = list(leader.machine.entries)
    again.replica.restart()
    assert again.replica.wanted_index == 0
    assert again.journal.last_index == kept, "what it acknowledged is still there"
    assert again.kernel.commit_index >= leader.machine.applied_index


def test_who_has_lost_its_state_never_leads() -> None:
    """Who the members are may be lost with it. Elected by those of long ago, it would decide against those of now."""
    group, leader, laggard = _group_with_a_laggard()
    follower = next(member for member in group.members.values() if member not in (leader, laggard))
    follower.replica.compact()
    leader.replica.propose(b"p" * 16, b"the next flush removes what was dropped")
    group.wait(0.1)
    again = Member(follower.peers, name=follower.replica.node_id, files=follower.files, segment_bytes=256, tuning=SHORT)
    assert again.replica.is_behind
    again.settle()
    term = again.kernel.term
    for _ in range(100):
        sent = again.wait(0.1)
        assert bodies(sent, "pre_vote_request") == bodies(sent, "vote_request") == []
    assert again.kernel.term == term
    again.receive(leader.replica.node_id, append(leader.kernel.term, leader.log()[-1], commit_index=1 << 30))
    again.settle()
    assert again.replica.next_deadline_s > again.clock.now_s + 1.0, "there is nothing to do but to wait for the copy"


def test_a_copy_of_a_newer_term_brings_the_term() -> None:
    """Else the log would be ahead of its member's term, and what an older leader still sends would be taken."""
    member = Member()
    member.receive("b", append(3, (1, 0), [(2, 3)]))
    member.settle()
    member.journal.set_hard_state(5, None)
    member.journal.restart_at(9, 5)
    member.sync(member.journal.take_flush())
    member.machine.entries = [CommittedEntry(9, 5, ())]
    member.replica.restart()
    assert member.kernel.term == 5
    assert member.kernel.leader_id is None
    member.receive("b", append(3, (8, 3), [(9, 3), (10, 3)]))
    (answer,) = bodies(member.settle(), "append_reply")
    assert (answer.term, answer.append_reply.success) == (5, False)
    assert member.journal.last_index == 9


def test_who_takes_a_copy_does_not_lead() -> None:
    """It was fetched for long, and an election came first."""
    member = Member()
    member.lead()
    member.replica.restart()
    assert not member.kernel.is_leader
    member.settle()
    assert member.replica.next_deadline_s > member.clock.now_s


def test_what_another_leader_still_has_makes_the_copy_needless() -> None:
    member = Member()
    member.receive("b", append(1, (1, 0), [(2, 1)], commit_index=2))
    member.receive("b", RaftMessage(term=1, append_entries=AppendEntries(needs_snapshot=True, prev_index=4)))
    member.settle()
    assert member.replica.wanted_index == 4
    member.receive("c", append(2, (2, 1), [(3, 1), (4, 1)], commit_index=3))
    member.settle()
    assert member.replica.wanted_index == 4
    member.receive("c", append(2, (4, 1), commit_index=4))
    member.settle()
    assert member.replica.wanted_index == 0
