"""Replicas compare digests; the odd one stops, and the others say so."""

from __future__ import annotations

import pytest

from tallystick.peer.v1.peer_pb2 import RaftMessage, StateDigest
from tallystick_node.consensus.digests import (
    BALLOTS_KEPT,
    DIGESTS_EVERY_S,
    LAST_REPORT_S,
    DigestBallots,
    DigestExchange,
    ReplicaDivergedError,
)
from tallystick_node.consensus.members import Member as ClusterMember
from tests.unit.consensus_kit import Group, Member, voters


def test_the_odd_one_is_who_differs_from_a_majority() -> None:
    ballots = DigestBallots()
    ballots.report("a", 7, b"right", voters("abc"))
    ballots.report("b", 7, b"wrong", voters("abc"))
    assert ballots.odd == {}, "one against one"
    ballots.report("c", 7, b"right", voters("abc"))
    assert ballots.odd == {"b": 7}


def test_learners_are_judged_and_do_not_judge() -> None:
    members = voters("abc").having(ClusterMember("d", is_learner=True)).having(ClusterMember("e", is_learner=True))
    ballots = DigestBallots()
    for node_id, digest in {"d": b"wrong", "e": b"wrong", "a": b"right"}.items():
        ballots.report(node_id, 7, digest, members)
    assert ballots.odd == {}
    ballots.report("b", 7, b"right", members)
    assert set(ballots.odd) == {"d", "e"}


def test_one_voter_is_not_right_alone() -> None:
    members = voters("a").having(ClusterMember("b", is_learner=True)).having(ClusterMember("c", is_learner=True))
    ballots = DigestBallots()
    for node_id, digest in {"a": b"wrong", "b": b"right"}.items():
        ballots.report(node_id, 7, digest, members)
    assert ballots.odd == {}
    ballots.report("c", 7, b"wrong", members)
    assert set(ballots.odd) == {"b"}


def test_who_is_repaired_is_odd_no_more() -> None:
    ballots = DigestBallots()
    for index, digest in ((7, b"wrong"), (9, b"right")):
        ballots.report("a", index, b"right", voters("abc"))
        ballots.report("c", index, b"right", voters("abc"))
        ballots.report("b", index, digest, voters("abc"))
    assert ballots.odd == {}


def test_few_indexes_are_kept() -> None:
    ballots = DigestBallots()
    for index in range(10 * BALLOTS_KEPT):
        ballots.report("a", index, b"d", voters("abc"))
    ballots.report("b", 0, b"x", voters("abc"))
    ballots.report("c", 0, b"x", voters("abc"))
    assert ballots.odd == {}, "an index that is long past is not judged any more"


def test_who_is_no_member_has_no_say() -> None:
    ballots = DigestBallots()
    for node_id in "axy":
        ballots.report(node_id, 7, b"wrong" if node_id != "a" else b"right", voters("abc"))
    assert ballots.odd == {}


def test_equal_replicas_find_nothing() -> None:
    group = Group()
    leader = group.elect()
    for number in range(5):
        leader.replica.propose(b"%016d" % number, b"x")
        group.wait(DIGESTS_EVERY_S / 2, step_s=0.05)
    assert all(member.replica.status().odd == frozenset() for member in group.members.values())
    reports = [RaftMessage.FromString(sent) for sent in group.sent]
    assert any(report.HasField("state_digest") for report in reports)


@pytest.mark.parametrize("odd", ["follower", "leader"])
def test_the_odd_replica_stops_and_the_others_know(odd: str) -> None:
    group = Group()
    leader = group.elect()
    names = [leader.replica.node_id, *(name for name in "abc" if name != leader.replica.node_id)]
    victim = group.members[names[0] if odd == "leader" else names[1]]
    victim.machine.is_odd = True
    leader.replica.propose(b"p" * 16, b"x")
    with pytest.raises(ReplicaDivergedError):
        group.wait(2.5 * DIGESTS_EVERY_S, step_s=0.05)
    del group.members[victim.replica.node_id]
    group.wait(3.0, step_s=0.05)
    for member in group.members.values():
        assert member.replica.status().odd == {victim.replica.node_id}


def test_a_node_that_starts_with_another_state_is_found_while_nothing_is_decided() -> None:
    group = Group()
    leader = group.elect()
    leader.replica.propose(b"p" * 16, b"x")
    group.wait(2.5 * DIGESTS_EVERY_S, step_s=0.05)
    name = next(name for name in "abc" if name != leader.replica.node_id)
    old = group.members[name]
    old.machine.is_odd = True
    group.members[name] = Member(old.peers, name=name, clock=group.clock, files=old.files, machine=old.machine)
    for other in set("abc") - {name}:
        group.members[other].replica.peer_disconnected(name)
        group.members[other].replica.peer_connected(name)
    with pytest.raises(ReplicaDivergedError):
        group.wait(2.5 * DIGESTS_EVERY_S, step_s=0.05)
    assert leader.replica.status().applied_index == old.machine.applied_index
    assert leader.replica.status().odd == {name}


def test_who_finds_itself_odd_tells_the_others_before_it_stops() -> None:
    exchange = DigestExchange("b", lambda _index: b"wrong")
    for node_id in "ac":
        exchange.heard(node_id, StateDigest(index=7, digest=b"right"), voters("abc"))
    report = exchange.take_report(7, voters("abc"), now_s=1.0)
    assert report is not None and (report.index, report.digest) == (7, b"wrong")
    assert exchange.take_report(7, voters("abc"), now_s=1.0 + LAST_REPORT_S / 2) is None
    with pytest.raises(ReplicaDivergedError):
        exchange.take_report(7, voters("abc"), now_s=1.0 + LAST_REPORT_S)
