"""Linearizable reads by ReadIndex: nobody is answered before a majority has confirmed the leader."""

from __future__ import annotations

from tallystick.peer.v1.peer_pb2 import AppendReply, RaftMessage, ReadRequest
from tallystick_node.consensus.own_read import READ_RETRY_S
from tallystick_node.consensus.read_rounds import ReadRounds
from tests.unit.consensus_kit import Group, Member, append, bodies


def majority_of_three(node_ids: object) -> bool:
    return len(set(node_ids)) >= 2  # type: ignore[call-overload]


def test_a_round_that_began_before_the_read_does_not_count() -> None:
    rounds = ReadRounds()
    rounds.ask("a", 1)
    assert rounds.begin(10)
    rounds.ask("c", 7)
    rounds.answered("b", rounds.round)
    assert [(read.node_id, read.index) for read in rounds.take_confirmed("a", majority_of_three)] == [("a", 10)]
    assert rounds.begin(12)
    assert rounds.take_confirmed("a", majority_of_three) == []
    rounds.answered("b", rounds.round)
    assert [(read.node_id, read.number, read.index) for read in rounds.take_confirmed("a", majority_of_three)] == [
        ("c", 7, 12)
    ]


def test_many_reads_share_a_round() -> None:
    rounds = ReadRounds()
    for number, node_id in enumerate("abc"):
        rounds.ask(node_id, number)
    assert rounds.begin(3)
    assert not rounds.begin(3)
    rounds.answered("b", 1)
    assert {read.node_id for read in rounds.take_confirmed("a", majority_of_three)} == {"a", "b", "c"}
    assert rounds.take_confirmed("a", majority_of_three) == []


def _written(group: Group, member: Member, proposal_id: bytes = b"p" * 16) -> None:
    member.replica.propose(proposal_id, b"x")
    group.wait(0.1)
    assert proposal_id in member.verdicts()


def test_every_member_reads_what_was_acknowledged_anywhere() -> None:
    group = Group()
    leader = group.elect()
    _written(group, leader)
    for member in group.members.values():
        number = member.replica.begin_read()
        group.wait(0.1)
        assert member.replica.take_read() == number
        assert member.machine.commands[-1:] == [b"x"]
        assert member.replica.take_read() is None


def test_a_cut_off_leader_lets_no_read_go() -> None:
    group = Group()
    old = group.elect()
    _written(group, old)
    group.cut.add(old.replica.node_id)
    old.replica.begin_read()
    group.wait(0.3)
    assert old.kernel.is_leader
    assert old.replica.take_read() is None
    others = [member for member in group.members.values() if member is not old]
    group.wait(2.0)
    new = next(member for member in others if member.kernel.is_leader)
    _written(group, new, b"q" * 16)
    assert old.replica.take_read() is None


def test_a_read_survives_a_change_of_leader() -> None:
    """It is asked of the next one, and of the same one again when the answer is lost."""
    group = Group()
    old = group.elect()
    reader = next(member for member in group.members.values() if member is not old)
    group.cut.add(old.replica.node_id)
    number = reader.replica.begin_read()
    group.wait(3.0)
    assert reader.replica.take_read() == number


def test_a_lost_answer_is_asked_for_again() -> None:
    group = Group()
    leader = group.elect()
    reader = next(member for member in group.members.values() if member is not leader)
    number = reader.replica.begin_read()
    reader.settle()  # what it sent is lost
    group.wait(READ_RETRY_S + 0.1)
    assert reader.replica.take_read() == number


def test_a_new_leader_waits_until_an_entry_of_its_term_is_decided() -> None:
    """Before that its commit index may lack what the leader before acknowledged."""
    member = Member()
    member.lead()
    member.replica.begin_read()
    member.settle()
    assert not member.kernel.has_committed_in_term
    assert member.replica.take_read() is None
    answer = AppendReply(next_index=member.journal.last_index + 1, success=True)
    member.receive("b", RaftMessage(term=member.kernel.term, append_reply=answer))
    member.settle()
    assert member.replica.take_read() is None, "the answer is to a message from before the read"
    member.wait(0.01)
    answer.round = member.kernel.round
    member.receive("b", RaftMessage(term=member.kernel.term, append_reply=answer))
    member.settle()
    assert member.replica.take_read() is not None


def test_an_answer_of_an_older_term_confirms_nothing() -> None:
    member = Member()
    member.lead()
    answer = AppendReply(next_index=member.journal.last_index + 1, success=True)
    member.receive("b", RaftMessage(term=member.kernel.term, append_reply=answer))
    member.settle()
    member.replica.begin_read()
    member.settle()
    answer.round = member.kernel.round
    member.receive("b", RaftMessage(term=member.kernel.term - 1, append_reply=answer))
    member.settle()
    assert member.replica.take_read() is None


def test_a_follower_answers_no_read_request() -> None:
    member = Member()
    member.receive("b", RaftMessage(term=0, read_request=ReadRequest(number=1)))
    assert not any(message.HasField("read_reply") for _, message in member.settle())


def test_the_answer_to_an_older_leadership_confirms_no_round_of_this_one() -> None:
    """A follower that heard of the newer term first answers what was on its way in the older one. Whom it answers may
    lead in the newer term by then, and its rounds begin anew: their numbers are small."""
    follower = Member()
    old = append(1, (1, 0))
    old.append_entries.round = 40
    follower.receive("b", old)
    follower.settle()
    heard = RaftMessage(term=2)
    heard.pre_vote_request.last_index = 1
    follower.receive("c", heard)
    follower.settle()
    follower.receive("b", old)
    (answer,) = bodies(follower.settle(), "append_reply")
    assert answer.term == 2
    assert answer.append_reply.round == 0
