"""A leader hands over: the next one leads within a round trip, and nothing that was proposed meanwhile is lost."""

from __future__ import annotations

import pytest

from tallystick.peer.v1.peer_pb2 import RaftMessage, TimeoutNow
from tests.unit.consensus_kit import TUNING, Group, Member


@pytest.mark.parametrize("chosen", [True, False])
def test_the_next_leader_leads_at_once(chosen: bool) -> None:
    group = Group()
    old = group.elect()
    to = next(name for name in "cba" if name != old.replica.node_id)
    began_s = group.clock.now_s
    old.replica.hand_over(to if chosen else None)
    group.run()
    assert not old.kernel.is_leader
    (new,) = group.leaders()
    assert new == to or not chosen
    assert group.clock.now_s - began_s < TUNING.election_min_s, "nobody waited for an election timeout"


def test_what_is_proposed_meanwhile_goes_to_the_next_leader() -> None:
    group = Group()
    old = group.elect()
    old.replica.hand_over()
    for number in range(20):
        old.replica.propose(b"%016d" % number, b"x%d" % number)
    group.wait(1.0)
    assert not old.kernel.is_leader
    assert {type(verdict).__name__ for verdict in old.verdicts().values()} == {"Applied"}
    for member in group.members.values():
        assert sorted(member.machine.commands) == sorted(b"x%d" % number for number in range(20))


def test_a_leader_whose_successor_is_silent_goes_on() -> None:
    group = Group()
    leader = group.elect()
    follower = next(name for name in "cba" if name != leader.replica.node_id)
    group.cut.add(follower)
    leader.replica.hand_over(follower)
    leader.replica.propose(b"p" * 16, b"x")
    group.wait(TUNING.election_max_s + 0.2)
    assert leader.kernel.is_leader
    assert b"p" * 16 in leader.verdicts()


def test_only_the_leader_of_the_term_may_ask() -> None:
    group = Group()
    leader = group.elect()
    term = leader.kernel.term
    target, other = (name for name in "abc" if name != leader.replica.node_id)
    group.members[target].receive(other, RaftMessage(term=term, timeout_now=TimeoutNow()))
    group.members[target].receive(leader.replica.node_id, RaftMessage(term=term - 1, timeout_now=TimeoutNow()))
    group.wait(0.2)
    assert leader.kernel.is_leader
    assert leader.kernel.term == term


def test_a_vote_request_that_was_not_handed_over_is_still_withheld() -> None:
    """Taken out by `_is_withheld_vote` looking at nothing but `handed_over`."""
    group = Group()
    leader = group.elect()
    voter = next(member for member in group.members.values() if member is not leader)
    other = next(name for name in "abc" if name not in (voter.replica.node_id, leader.replica.node_id))
    request = RaftMessage(term=leader.kernel.term + 1)
    request.vote_request.last_index, request.vote_request.last_term = 1 << 40, leader.kernel.term
    voter.receive(other, request)
    assert not any(message.HasField("vote_reply") for _, message in voter.settle())
    request.vote_request.handed_over = True
    voter.receive(other, request)
    assert any(message.HasField("vote_reply") for _, message in voter.settle())


def test_a_member_that_does_not_lead_hands_nothing_over() -> None:
    member = Member()
    member.replica.hand_over()
    assert not any(message.HasField("timeout_now") for _, message in member.wait(0.1))
