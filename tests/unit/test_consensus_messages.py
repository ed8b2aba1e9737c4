"""fault 6 of pysyncobj: an acknowledgement counts in its own term, a vote once a voter.

Taken out by `Kernel._is_stale_reply` returning False.
"""

from __future__ import annotations

import pytest
from pysyncobj.node import Node

from tallystick.peer.v1.peer_pb2 import AppendReply, RaftMessage, VoteReply
from tallystick_node.consensus import codec
from tallystick_node.consensus.intake import Addressed
from tallystick_node.consensus.kernel import Kernel
from tallystick_node.consensus.replica import Replica
from tallystick_node.consensus.settings import Tuning
from tests.unit.consensus_kit import Member, accepted, append, bodies


class CredulousKernel(Kernel):
    """Without the fix."""

    def _is_stale_reply(self, peer_id: str, message: RaftMessage) -> bool:
        return False


class CredulousReplica(Replica[bytes]):
    """Runs a `CredulousKernel`."""

    _make_kernel = CredulousKernel


def _leads_by_one_voter(replica_class: type[Replica[bytes]]) -> bool:
    """Whether one vote, given three times, elects one of five."""
    member = Member("bcde", replica_class=replica_class)
    member.settle()
    member.wait(2.0)
    for voter in "bc":
        grant = RaftMessage()
        grant.pre_vote_reply.asked_term = 1
        member.receive(voter, grant)
    member.settle()
    assert member.kernel.is_candidate
    for _ in range(3):
        member.receive("b", RaftMessage(term=1, vote_reply=VoteReply()))
        member.settle()
    return member.kernel.is_leader


def test_a_voter_counts_once() -> None:
    assert not _leads_by_one_voter(Replica)


def test_without_the_fix_one_voter_elects() -> None:
    assert _leads_by_one_voter(CredulousReplica)


def _commit_index_after_stale_acknowledgement(replica_class: type[Replica[bytes]]) -> int:
    """A leader of term 2 hears an answer that was given in term 1: to another leader's entries."""
    member = Member(replica_class=replica_class)
    member.receive("b", append(1, (1, 0), [(2, 1), (3, 1)]))
    member.lead()
    assert (member.kernel.term, member.journal.last_index) == (2, 4)
    member.receive("c", accepted(1, 4))
    member.settle()
    return member.kernel.commit_index


def test_an_acknowledgement_of_another_term_does_not_count() -> None:
    assert _commit_index_after_stale_acknowledgement(Replica) == 1


def test_without_the_fix_it_commits_what_nobody_else_has() -> None:
    assert _commit_index_after_stale_acknowledgement(CredulousReplica) == 4


def test_a_leader_that_meets_a_newer_term_steps_down() -> None:
    """By any message: pysyncobj would not take the term from an answer."""
    member = Member()
    member.lead()
    member.receive("b", RaftMessage(term=9, append_reply=AppendReply()))
    member.settle()
    assert not member.kernel.is_leader
    assert member.kernel.term == 9


def test_a_leader_of_an_older_term_is_told() -> None:
    """pysyncobj is silent: the stale leader would not learn before its own deadline."""
    member = Member()
    member.receive("b", append(5, (1, 0)))
    member.settle()
    member.receive("c", append(3, (1, 0), [(2, 3)]))
    replies = [(peer, message) for peer, message in member.settle() if message.HasField("append_reply")]
    assert [(peer, message.term, message.append_reply.success) for peer, message in replies] == [("c", 5, False)]
    assert member.journal.last_index == 1


def test_every_message_has_its_senders_term() -> None:
    member = Member()
    sent = member.lead()
    assert {message.term for _, message in sent} == {1}
    member.receive("b", append(4, (1, 0)))
    assert {message.term for _, message in member.settle()} == {4}


def test_what_we_never_send_has_no_form() -> None:
    """What carries pickles, or what pysyncobj would do on its own, cannot be put on the wire."""
    pieces = {"type": "append_entries", "term": 1, "prevLogIdx": 1, "transmission": "start", "data": b""}
    for message in (pieces, {"type": "apply_command_response"}, {"type": "timeout_now", "term": 1}):
        with pytest.raises(codec.UnknownMessageError):
            codec.encode(message, 1)


def test_a_kind_of_message_of_a_newer_node_changes_nothing() -> None:
    member = Member()
    member.settle()
    unknown = RaftMessage.FromString(b"\x08\x63" + b"\xf2\x07\x00")  # term 99, field 126
    assert unknown.WhichOneof("body") is None
    member.receive("b", unknown)
    assert member.settle() == []
    assert member.kernel.term == 0


def test_a_search_for_the_parting_point_does_not_try_one_by_one() -> None:
    """A follower with a long tail of another term names where that term begins."""
    member = Member()
    member.receive("b", append(1, (1, 0), [(index, 1) for index in range(2, 50)]))
    member.settle()
    member.receive("c", append(2, (40, 2), [(41, 2)]))
    reply = bodies(member.settle(), "append_reply")[0].append_reply
    assert (reply.reset, reply.success, reply.next_index) == (True, False, 2)


class BurstingKernel(Kernel):
    """Without the window."""

    def sent_entries(self, node: Node, message: RaftMessage) -> None:
        """Nothing is counted."""


class BurstingReplica(Replica[bytes]):
    """Runs a `BurstingKernel`."""

    _make_kernel = BurstingKernel


def _messages_after_refusal(replica_class: type[Replica[bytes]]) -> int:
    """How many messages with entries go to a peer that did not take the last one."""
    member = Member(replica_class=replica_class, tuning=Tuning(append_batch_bytes=150))
    member.lead()
    for count in range(5):
        member.replica.propose(bytes([count]) * 16, b"x" * 40)
        member.wait(0.005)
    refusal = AppendReply(next_index=2, reset=True, success=False)
    member.receive("b", RaftMessage(term=1, append_reply=refusal))
    return sum(bool(peer == "b" and message.append_entries.entries) for peer, message in member.settle())


def test_a_probed_peer_is_sent_one_message_at_a_time() -> None:
    """Sent a burst, it answers each message, the answers undo one another, and the search never ends."""
    assert _messages_after_refusal(Replica) == 1


def test_without_the_window_it_is_sent_a_burst() -> None:
    assert _messages_after_refusal(BurstingReplica) > 1


def test_what_the_leader_has_not_synced_is_not_everyones() -> None:
    """Nobody may let go of it: if the leader's power goes, it will need it. Taken out by `Kernel.slowest_index` without
    the commit index, which the leader's own disk bounds."""
    member = Member()
    member.lead()
    member.replica.propose(b"p" * 16, b"x")
    ready = member.replica.step()
    for peer in "bc":
        member.kernel.receive(peer, accepted(1, 3))
    member.kernel.step()
    assert member.kernel.slowest_index == 2
    member.sync(ready.flush)
    member.kernel.step()
    assert member.kernel.slowest_index == 3


def test_what_is_on_its_way_is_not_sent_again() -> None:
    """pysyncobj would, after each answer. Taken out by the end of `Kernel._take_answer`."""
    member = Member()
    member.lead()
    member.receive("b", accepted(1, 2))
    member.settle()
    sent: list[int] = []
    for number in range(3):
        member.replica.propose(bytes([number]) * 16, b"x")
        sent += _indexes_sent(member.wait(0.01), "b")
    member.receive("b", accepted(1, 3))
    assert (sent, _indexes_sent(member.wait(0.2), "b")) == ([3, 4, 5], [])


def _indexes_sent(messages: Addressed, to: str) -> list[int]:
    return [entry.index for peer, message in messages if peer == to for entry in message.append_entries.entries]


def test_one_answer_stands_for_those_before_it() -> None:
    """Taken out by `Outbox._drop_superseded`."""
    member = Member()
    member.receive("b", *(append(1, (last, int(last > 1)), [(last + 1, 1)]) for last in range(1, 6)))
    assert [reply.append_reply.next_index for reply in bodies(member.settle(), "append_reply")] == [7]


def test_a_follower_that_ends_where_the_journal_begins_needs_no_snapshot() -> None:
    """The entry before the first one sent is compacted away, and its term is still known. Taken out by
    `RaftLog.first_index`."""
    member = Member(tuning=Tuning(journal_tail_entries=0), segment_bytes=1)
    member.lead()
    for number in range(5):
        member.replica.propose(bytes([number]) * 16, b"x")
        member.settle()
        for peer in "bc":
            member.receive(peer, accepted(1, member.journal.last_index))
        member.settle()
    member.replica.compact()
    base_index = member.journal.base_index
    assert base_index == member.journal.last_index - 1
    refusal = AppendReply(next_index=base_index + 1, reset=True, success=False)
    member.receive("b", RaftMessage(term=1, append_reply=refusal))
    sent = [message.append_entries for peer, message in member.settle() if peer == "b"]
    assert [(body.needs_snapshot, body.prev_index, len(body.entries)) for body in sent] == [(False, base_index, 1)]


def _compacted_follower() -> Member:
    """Its log begins behind entry 9: that is where its journal was cut. It ends with entry 10."""
    member = Member(tuning=Tuning(journal_tail_entries=0), segment_bytes=1)
    for index in range(2, 11):
        message = append(1, (index - 1, int(index > 2)), [(index, 1)], commit_index=index)
        message.append_entries.slowest_index = index
        member.receive("b", message)
        member.settle()
    member.wait(0.1)
    member.replica.compact()
    assert (member.journal.base_index, member.journal.last_index) == (9, 10)
    return member


def _answer(member: Member, message: RaftMessage) -> AppendReply:
    member.receive("b", message)
    return bodies(member.settle(), "append_reply")[0].append_reply


def test_a_leader_whose_journal_begins_earlier_is_understood() -> None:
    """What lies before a follower's log is decided: it fits. Taken out by `codec.without_known`; then the answer names
    the follower's own end, which may lie behind the leader's."""
    member = _compacted_follower()
    beat = _answer(member, append(1, (5, 1)))
    assert (beat.success, beat.next_index) == (True, 10)
    entries = _answer(member, append(1, (5, 1), [(index, 1) for index in range(6, 13)]))
    assert (entries.success, entries.next_index) == (True, 13)
    assert member.journal.last_index == 12


def test_an_answer_does_not_point_below_what_the_leader_may_have_let_go_of() -> None:
    """Taken out by `Kernel._handle` taking `slowest_index` after the answer."""
    member = Member()
    member.receive("b", append(1, (1, 0), [(index, 1) for index in range(2, 50)]))
    member.settle()
    conflict = append(2, (40, 2), [(41, 2)])
    conflict.append_entries.slowest_index = 30
    assert _answer(member, conflict).next_index == 31


def test_an_answer_beyond_the_leaders_log_does_not_stop_it() -> None:
    """A peer's number is never trusted to lie in our log. Taken out by `_take_answer` without `min`."""
    member = Member()
    member.lead()
    for next_index in (1_000_000, 2):
        refusal = AppendReply(next_index=next_index, reset=True, success=False)
        member.receive("b", RaftMessage(term=1, append_reply=refusal))
        assert any(peer == "b" for peer, _ in member.settle())
    assert member.kernel.is_leader
