"""Members change one at a time, through the log (fault 15 of pysyncobj: its own guard is never set)."""

from __future__ import annotations

import pytest

from tallystick.errors import Reason
from tallystick.peer.v1.peer_pb2 import MemberChange, RaftMessage
from tallystick_node.consensus.entries import encode_members_entry
from tallystick_node.consensus.members import MAX_MEMBERS, Members, decode_members
from tallystick_node.consensus.members import Member as ClusterMember
from tallystick_node.consensus.membership import LEARNER_LAG_ENTRIES, Leadership, changed_members
from tallystick_node.consensus.proposals import Applied, Refused
from tallystick_node.consensus.settings import SEND_WINDOW_TIMEOUT_S
from tests.unit.consensus_kit import Group, Member, append, voters

ADD, PROMOTE, REMOVE = MemberChange.KIND_ADD, MemberChange.KIND_PROMOTE, MemberChange.KIND_REMOVE


def change(kind: MemberChange.Kind.ValueType, node_id: str) -> MemberChange:
    return MemberChange(kind=kind, member=ClusterMember(node_id, f"{node_id}:1", f"{node_id}:2").to_proto())


def learner(node_id: str) -> ClusterMember:
    return ClusterMember(node_id, is_learner=True)


def leadership(members: Members, *, is_settled: bool = True, last_index: int = 10, **match: int) -> Leadership:
    return Leadership("a", members, is_settled, last_index, match, members_index=5)


def test_a_majority_is_of_voters_alone() -> None:
    members = voters("abc").having(learner("d")).having(learner("e"))
    assert members.is_majority(["a", "b"])
    assert not members.is_majority(["a", "d", "e"])
    assert decode_members(members.encode()) == members


@pytest.mark.parametrize(
    ("kind", "node_id", "expected"),
    [
        (ADD, "c", Reason.MEMBER_EXISTS),
        (ADD, "d", Reason.MEMBER_EXISTS),
        (ADD, "", Reason.INVALID_MEMBERS),
        (PROMOTE, "x", Reason.MEMBER_NOT_FOUND),
        (PROMOTE, "b", Reason.MEMBER_EXISTS),
        (REMOVE, "x", Reason.MEMBER_NOT_FOUND),
        (REMOVE, "a", Reason.NO_LEADER),
        (MemberChange.KIND_UNSPECIFIED, "b", Reason.INVALID_MEMBERS),
    ],
)
def test_what_is_refused(kind: MemberChange.Kind.ValueType, node_id: str, expected: Reason) -> None:
    members = voters("abc").having(learner("d"))
    assert changed_members(change(kind, node_id), leadership(members)) is expected


def test_the_gate_is_closed_while_a_change_is_not_decided() -> None:
    for kind in (ADD, PROMOTE, REMOVE):
        refused = changed_members(change(kind, "b"), leadership(voters("abc"), is_settled=False))
        assert refused is Reason.MEMBER_CHANGE_PENDING


def test_a_learner_that_lacks_much_is_not_promoted() -> None:
    members = voters("abc").having(learner("d"))
    far = leadership(members, last_index=LEARNER_LAG_ENTRIES + 8, d=7)
    assert changed_members(change(PROMOTE, "d"), far) is Reason.LEARNER_BEHIND
    near = leadership(members, last_index=LEARNER_LAG_ENTRIES + 7, d=7)
    assert changed_members(change(PROMOTE, "d"), near) == voters("abcd")


def test_a_learner_that_does_not_know_of_itself_is_not_promoted() -> None:
    """Until it does, it gives no vote: a majority that needs it would elect nobody."""
    members = voters("abc").having(learner("d"))
    assert changed_members(change(PROMOTE, "d"), leadership(members, d=4)) is Reason.LEARNER_BEHIND
    assert changed_members(change(PROMOTE, "d"), leadership(members, d=5)) == voters("abcd")


def test_a_node_that_its_log_does_not_know_gives_no_vote() -> None:
    """Who asks may count one of the same name that was removed, and that had acknowledged what this one has not."""
    for first, is_answered in (("ab", False), ("abc", True)):
        for kind, answer in (("vote_request", "vote_reply"), ("pre_vote_request", "pre_vote_reply")):
            member = Member("ab", name="c", first=first)
            request = RaftMessage(term=7)
            getattr(request, kind).last_index, getattr(request, kind).last_term = 1 << 40, 6
            member.receive("a", request)
            answers = [message.WhichOneof("body") for _, message in member.settle()]
            assert (answer in answers) is is_answered


def test_the_last_voter_stays_and_there_are_not_too_many() -> None:
    assert changed_members(change(REMOVE, "a"), leadership(voters("a").having(learner("b")))) is Reason.INVALID_MEMBERS
    full = voters([f"n{number:02}" for number in range(MAX_MEMBERS)])
    assert changed_members(change(ADD, "x"), leadership(full)) is Reason.INVALID_MEMBERS


def decide(group: Group, member: Member, kind: MemberChange.Kind.ValueType, node_id: str) -> object:
    """Proposes a change at a member and waits for the verdict."""
    proposal_id = f"{kind}{node_id}{group.clock.now_s}".encode()[:16].ljust(16, b".")
    member.replica.propose_change(proposal_id, change(kind, node_id))
    for _ in range(60):
        group.wait(0.05)
        verdict = member.verdicts().get(proposal_id)
        if verdict is not None:
            return verdict
    raise AssertionError("no verdict")


def node_ids(group: Group) -> dict[str, tuple[str, ...]]:
    return {name: member.replica.members.voter_ids for name, member in group.members.items()}


def test_a_learner_is_sent_the_log_and_counts_for_nothing() -> None:
    group = Group("abc")
    leader = group.elect()
    follower = next(member for member in group.members.values() if member is not leader)
    assert isinstance(decide(group, follower, ADD, "d"), Applied)
    group.join("d")
    group.wait(0.5)
    assert group.members["d"].machine.entries == leader.machine.entries
    assert group.members["d"].replica.members.get("d") == ClusterMember("d", "d:1", "d:2", is_learner=True)
    others = [name for name in "abc" if name != leader.replica.node_id]
    group.cut.update(others)
    leader.replica.propose(b"p" * 16, b"x")
    group.wait(0.3)
    assert b"p" * 16 not in leader.verdicts(), "a leader and a learner are no majority of three"


def test_a_learner_calls_no_election() -> None:
    group = Group("abc")
    decide(group, group.elect(), ADD, "d")
    group.join("d")
    group.wait(0.5)
    group.cut.update("abc")
    group.wait(5.0)
    assert not group.members["d"].kernel.is_leader
    assert not group.members["d"].kernel.is_candidate


def test_a_promoted_learner_counts() -> None:
    group = Group("abc")
    leader = group.elect()
    decide(group, leader, ADD, "d")
    group.join("d")
    group.wait(0.5)
    assert isinstance(decide(group, leader, PROMOTE, "d"), Applied)
    group.wait(0.2)
    assert set(node_ids(group).values()) == {("a", "b", "c", "d")}
    first, second = (name for name in "abc" if name != leader.replica.node_id)
    group.cut.update({first})
    assert isinstance(decide(group, leader, REMOVE, first), Applied), "three of four are a majority"
    group.cut.update({second})
    leader.replica.propose(b"p" * 16, b"x")
    group.wait(0.3)
    assert b"p" * 16 in leader.verdicts(), "two of three are a majority"


def test_two_changes_at_once_are_one_too_many() -> None:
    group = Group("abc")
    leader = group.elect()
    group.cut.update(name for name in "abc" if name != leader.replica.node_id)
    leader.replica.propose_change(b"1" * 16, change(ADD, "d"))
    leader.settle()
    leader.replica.propose_change(b"2" * 16, change(ADD, "e"))
    group.wait(0.1)
    assert leader.verdicts() == {b"2" * 16: Refused(Reason.MEMBER_CHANGE_PENDING)}


def test_a_change_that_was_never_decided_is_taken_back() -> None:
    """Members count from the moment they are in a log, until a conflict takes them out of it again."""
    group = Group("abc")
    old = group.elect()
    group.cut.add(old.replica.node_id)
    old.replica.propose_change(b"1" * 16, change(ADD, "d"))
    old.settle()
    assert list(old.replica.members.node_ids) == ["a", "b", "c", "d"]
    group.wait(3.0)
    group.cut.clear()
    group.wait(1.0)
    assert set(node_ids(group).values()) == {("a", "b", "c")}
    assert list(old.replica.members.node_ids) == ["a", "b", "c"]


def test_members_survive_a_restart_before_they_are_applied() -> None:
    """They are in the journal, decided or not."""
    group = Group("abc")
    old = group.elect()
    group.cut.update(name for name in "abc" if name != old.replica.node_id)
    old.replica.propose_change(b"1" * 16, change(ADD, "d"))
    old.settle()
    again = Member("", name=old.replica.node_id, files=old.files, machine=old.machine, first="abc")
    assert again.replica.members.node_ids == ("a", "b", "c", "d")


def test_a_removed_node_disturbs_nobody() -> None:
    group = Group("abcd")
    leader = group.elect()
    gone = next(name for name in "abcd" if name != leader.replica.node_id)
    assert isinstance(decide(group, leader, REMOVE, gone), Applied)
    term = leader.kernel.term
    group.wait(5.0)
    assert group.leaders() == [leader.replica.node_id]
    assert leader.kernel.term == term


def test_a_leader_that_is_to_go_hands_over_first() -> None:
    group = Group("abc")
    old = group.elect()
    refused = decide(group, old, REMOVE, old.replica.node_id)
    assert refused == Refused(Reason.NO_LEADER)
    group.wait(0.3)
    (new,) = group.leaders()
    assert new != old.replica.node_id
    assert isinstance(decide(group, group.members[new], REMOVE, old.replica.node_id), Applied)


def test_a_node_that_knows_nothing_of_its_leader_follows_it() -> None:
    """A member that was away while another was added, promoted and elected."""
    group = Group("abc")
    leader = group.elect()
    away = next(name for name in "abc" if name != leader.replica.node_id)
    group.cut.add(away)
    decide(group, leader, ADD, "d")
    group.join("d")
    group.wait(0.5)
    decide(group, leader, PROMOTE, "d")
    leader.replica.hand_over("d")
    group.wait(0.5)
    assert group.members["d"].kernel.is_leader
    group.cut.clear()
    group.wait(SEND_WINDOW_TIMEOUT_S + 1.0)  # the links never broke: what was lost must be missed first
    assert group.members[away].kernel.leader_id == "d"
    assert group.members[away].replica.members.voter_ids == ("a", "b", "c", "d")


def test_who_is_to_go_is_still_needed_for_a_vote() -> None:
    """Until its removal is decided. Its log has the entry, so that it does not stand itself, and its leader lost it."""
    group = Group("ab")
    leader = group.elect()
    going = next(member for member in group.members.values() if member is not leader)
    term, last = leader.kernel.term, leader.journal.last_index
    message = append(term, leader.log()[-1], [(last + 1, term)])
    message.append_entries.entries[0].data = encode_members_entry(b"1" * 16, voters(leader.replica.node_id))
    going.receive(leader.replica.node_id, message)
    going.settle()
    assert not going.replica.members.is_voter(going.replica.node_id)
    going.wait(5.0)
    request = RaftMessage(term=term)
    request.pre_vote_request.last_index, request.pre_vote_request.last_term = last, term
    going.receive(leader.replica.node_id, request)
    assert any(message.HasField("pre_vote_reply") for _, message in going.settle())
    request = RaftMessage(term=term + 1)
    request.vote_request.last_index, request.vote_request.last_term = last - 1, term
    going.receive(leader.replica.node_id, request)
    assert not any(message.HasField("vote_reply") for _, message in going.settle()), "it lacks what counted"
    request.vote_request.last_index = last
    going.receive(leader.replica.node_id, request)
    assert any(message.HasField("vote_reply") for _, message in going.settle())
    assert going.journal.last_index == last + 1
