"""What a granted election is good for, and what must not come of it: the corners of votes, grants, handing over."""

from __future__ import annotations

from tallystick.peer.v1.peer_pb2 import AppendReply, LogEntry, RaftMessage, TimeoutNow, VoteReply
from tallystick_node.consensus.entries import encode_members_entry
from tests.unit.consensus_kit import TUNING, Member, append, ask_vote, bodies, voters


def _granted(term: int) -> RaftMessage:
    message = RaftMessage(term=term)
    message.pre_vote_reply.asked_term = term + 1
    return message


def _wait_for_deadline(member: Member) -> None:
    member.wait(member.kernel.next_deadline_s - member.clock.now_s + 0.01)


def _following(term: int = 1, peers: str = "bc") -> Member:
    """A member that hears a living leader, `b`."""
    member = Member(peers)
    member.receive("b", append(term, (1, 0), [(2, term)]))
    member.settle()
    assert member.kernel.leader_id == "b"
    return member


def test_a_vote_counts_once_also_after_the_candidate_has_asked_again() -> None:
    """pysyncobj's count lasts as long as the term: forgotten votes, delivered again, made a leader of two of five."""
    member = Member("bcde")
    member.settle()
    _wait_for_deadline(member)
    member.receive("b", _granted(0))
    member.receive("c", _granted(0))
    member.settle()
    vote = RaftMessage(term=member.kernel.term, vote_reply=VoteReply())
    member.receive("b", vote)
    member.settle()
    _wait_for_deadline(member)
    assert member.kernel.is_candidate
    member.receive("b", vote)
    member.settle()
    assert not member.kernel.is_leader


def test_a_vote_counts_once_also_after_the_next_grant() -> None:
    member = Member("bcde")
    member.settle()
    _wait_for_deadline(member)
    member.receive("b", _granted(0), _granted(0))
    member.receive("c", _granted(0))
    member.settle()
    vote = RaftMessage(term=1, vote_reply=VoteReply())
    member.receive("b", vote)
    member.settle()
    _wait_for_deadline(member)
    member.receive("b", _granted(1))
    member.receive("c", _granted(1))
    member.receive("b", vote)
    member.settle()
    assert not member.kernel.is_leader
    assert member.kernel.term == 2


def test_a_grant_is_void_in_a_newer_term() -> None:
    """What was granted is the election of the next term. Another came first: begun all the same, the election would be
    one that nobody was asked about, and depose whom the others have just elected."""
    member = Member()
    member.settle()
    _wait_for_deadline(member)
    member.receive("b", _granted(0))
    member.receive("c", RaftMessage(term=1, append_reply=AppendReply()))
    sent = member.settle()
    assert bodies(sent, "vote_request") == []
    assert member.kernel.term == 1
    assert member.replica.next_deadline_s > member.clock.now_s


def test_a_grant_is_void_when_a_newer_candidate_gets_no_vote() -> None:
    member = _following()
    _wait_for_deadline(member)
    member.receive("b", _granted(1))
    member.receive("c", ask_vote(2, (1, 0)))
    assert bodies(member.settle(), "vote_request") == []
    assert member.kernel.term == 2


def test_who_was_asked_to_take_over_and_could_not_hears_its_leader_again() -> None:
    """pysyncobj lets no heartbeat count while it is to take over, and forgets that in an election alone."""
    member = _following()
    for peer in "bc":
        member.replica.peer_disconnected(peer)
    member.receive("b", RaftMessage(term=1, timeout_now=TimeoutNow()))
    assert bodies(member.settle(), "vote_request") == []
    for peer in "bc":
        member.replica.peer_connected(peer)
    for _ in range(50):
        member.receive("b", append(1, (2, 1)))
        assert bodies(member.wait(TUNING.heartbeat_s), "pre_vote_request") == []
        assert member.kernel.leader_id == "b"


def test_who_voted_for_another_while_it_was_to_take_over_hears_the_next_leader() -> None:
    """A leader that asked one voter, and then another: both answer."""
    member = _following()
    request = ask_vote(2, (2, 1))
    request.vote_request.handed_over = True
    member.receive("b", RaftMessage(term=1, timeout_now=TimeoutNow()))
    member.receive("c", request)
    assert len(bodies(member.settle(), "vote_reply")) == 1
    for _ in range(50):
        member.receive("c", append(2, (2, 1)))
        assert bodies(member.wait(TUNING.heartbeat_s), "pre_vote_request") == []
        assert member.kernel.leader_id == "c"


def test_who_is_removed_before_it_takes_over_calls_no_election() -> None:
    """It would count itself, and is no voter."""
    member = _following()
    removal = append(1, (2, 1))
    entry = LogEntry(index=3, term=1, data=encode_members_entry(b"i" * 16, voters("bc")))
    removal.append_entries.entries.append(entry)
    member.receive("b", RaftMessage(term=1, timeout_now=TimeoutNow()), removal)
    assert bodies(member.settle(), "vote_request") == []
    assert member.kernel.term == 1


def test_who_may_not_lead_has_no_deadline() -> None:
    """A learner without a leader, or a node that waits to be added, has nothing to do: it must not spin."""
    learner = Member("bc", name="d", first="abc")
    learner.settle()
    learner.wait(10 * TUNING.election_max_s)
    assert learner.replica.next_deadline_s > learner.clock.now_s + TUNING.election_max_s
