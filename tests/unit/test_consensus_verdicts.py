"""fault 13 of pysyncobj: a verdict is given once and is true. Undecided when leadership changes; refused only if surely
not in the log. The simulation asserts the same of every proposal of every seed (tests/sim/history.py)."""

from __future__ import annotations

import random

import pytest

from tallystick.errors import Reason
from tallystick.peer.v1.peer_pb2 import AppendReply, Forward, ForwardedProposal, ForwardRefused, RaftMessage
from tallystick_node.consensus.proposals import Applied, Proposal, Proposals, Refused, Undecided
from tallystick_node.consensus.replica import Replica
from tallystick_node.consensus.settings import MAX_COMMAND_BYTES, MAX_PENDING_PROPOSALS, Tuning
from tests.sim.history import PromiseBroken
from tests.sim.node import SimNode
from tests.sim.simulation import Simulation
from tests.unit.consensus_kit import Group, Member, append, bodies

P, Q = b"p" * 16, b"q" * 16
UNDECIDED = Undecided.UNDECIDED


def _step_down(member: Member) -> None:
    member.receive("b", RaftMessage(term=member.kernel.term + 1, append_reply=AppendReply()))
    member.settle()


def test_a_lost_leadership_leaves_the_outcome_open() -> None:
    member = Member()
    member.lead()
    member.replica.propose(P, b"x")
    member.settle()
    assert member.verdicts() == {}
    _step_down(member)
    assert member.verdicts() == {P: UNDECIDED}


def test_a_leader_that_falls_back_in_its_own_term_leaves_it_open_too() -> None:
    member = Member()
    member.lead()
    member.replica.propose(P, b"x")
    member.settle()
    member.wait(2.0)
    assert not member.kernel.is_leader
    assert member.kernel.term == 1
    assert member.verdicts() == {P: UNDECIDED}


def test_a_proposal_of_the_very_step_that_ends_the_leadership_is_kept() -> None:
    """It did not get into the log, so it waits for the next leader. Taken out by `Proposals.put_back`."""
    member = Member()
    member.lead()
    last_index = member.journal.last_index
    member.replica.propose(P, b"x")
    member.clock.now_s += 2.0  # pysyncobj falls back before it takes commands
    member.cycle()
    assert not member.kernel.is_leader
    assert member.journal.last_index == last_index
    assert member.verdicts() == {}
    member.receive("b", append(5, (1, 0), [(2, 5)]))
    forwarded = bodies(member.settle(), "forward")
    assert [item.id for message in forwarded for item in message.forward.proposals] == [P]


def test_a_forwarded_proposal_is_undecided_once_the_term_moves_on() -> None:
    member = Member()
    member.receive("b", append(1, (1, 0)))
    member.settle()
    member.replica.propose(P, b"x")
    assert len(bodies(member.settle(), "forward")) == 1
    member.receive("b", append(1, (1, 0)))
    member.settle()
    assert member.verdicts() == {}
    member.receive("c", append(2, (1, 0)))
    member.settle()
    assert member.verdicts() == {P: UNDECIDED}


def test_a_late_refusal_does_not_change_a_verdict() -> None:
    member = Member()
    member.receive("b", append(1, (1, 0)))
    member.settle()
    member.replica.propose(P, b"x")
    member.settle()
    member.receive("c", append(2, (1, 0)))
    member.settle()
    member.receive("b", RaftMessage(term=2, forward_refused=ForwardRefused(ids=[P], reason=Reason.NO_LEADER)))
    member.settle()
    assert member.replica.take_verdicts() == [(P, UNDECIDED)]


def test_a_refused_forward_is_refused() -> None:
    """Also with a reason that only a newer node knows."""
    member = Member()
    member.receive("b", append(1, (1, 0)))
    member.settle()
    member.replica.propose(P, b"x")
    member.replica.propose(Q, b"y")
    member.settle()
    for proposal_id, reason in ((P, Reason.OVERLOADED), (Q, "OF_THE_FUTURE")):
        refusal = ForwardRefused(ids=[proposal_id], reason=reason)
        member.receive("b", RaftMessage(term=1, forward_refused=refusal))
    member.settle()
    assert member.verdicts() == {P: Refused(Reason.OVERLOADED), Q: Refused(Reason.NO_LEADER)}


def test_a_leader_refuses_what_it_cannot_take() -> None:
    member = Member()
    forward = RaftMessage(forward=Forward(proposals=[ForwardedProposal(id=P, command=b"x")]))
    member.receive("b", forward)
    refused = bodies(member.settle(), "forward_refused")
    assert [(list(m.forward_refused.ids), m.forward_refused.reason) for m in refused] == [([P], Reason.NO_LEADER)]
    member.lead()
    large = ForwardedProposal(id=P, command=b"x" * (MAX_COMMAND_BYTES + 1))
    member.receive("b", RaftMessage(term=1, forward=Forward(proposals=[large])))
    refused = bodies(member.settle(), "forward_refused")
    assert [(list(m.forward_refused.ids), m.forward_refused.reason) for m in refused] == [([P], Reason.TOO_LARGE)]
    assert member.journal.last_index == 2


def test_what_waits_at_a_leader_that_steps_down_goes_back_to_who_forwarded_it() -> None:
    """And is not put into the log by it later. Taken out by `Proposals.take_foreign`."""
    member = Member()
    member.lead()
    last_index = member.journal.last_index
    member.clock.now_s += 2.0  # falls back in the step that takes the proposal
    member.receive("b", RaftMessage(term=1, forward=Forward(proposals=[ForwardedProposal(id=P, command=b"x")])))
    refused = bodies(member.cycle(), "forward_refused")
    assert [list(message.forward_refused.ids) for message in refused] == [[P]]
    assert len(member.replica._proposals) == 0
    assert member.journal.last_index == last_index


def test_giving_up_says_whether_anything_happened() -> None:
    member = Member()
    member.settle()
    member.replica.propose(P, b"x")
    assert member.replica.give_up(P, only_queued=True)
    member.lead()
    member.settle()
    member.wait(0.1)
    member.replica.propose(Q, b"y")
    member.settle()
    assert not member.replica.give_up(Q, only_queued=True)
    assert not member.replica.give_up(Q)
    proposed = [data for data in member.journal.entries(1, member.journal.last_index + 1, 1 << 20) if P in data.data]
    assert proposed == []


def test_every_caller_has_its_own_result_wherever_it_waits() -> None:
    group = Group("abcde")
    group.elect()
    for name, member in group.members.items():
        member.replica.propose(name.encode() * 16, name.encode())
    group.wait(0.3)
    for name, member in group.members.items():
        assert member.verdicts() == {name.encode() * 16: Applied(name.encode())}


@pytest.mark.parametrize("seed", range(20))
def test_the_queue_keeps_its_books(seed: int) -> None:
    """Under random use: nothing is lost, doubled or out of order, and what is counted is what is there."""
    rng = random.Random(seed)
    proposals = Proposals(400)
    waiting: list[bytes] = []
    alive: set[bytes] = set()
    for number in range(300):
        proposal_id = number.to_bytes(16, "big")
        deed = rng.random()
        if deed < 0.5:
            peer = "b" if rng.random() < 0.3 else None
            assert proposals.admit(Proposal(proposal_id, b"x" * rng.randint(0, 300), peer))
            waiting.append(proposal_id)
            alive.add(proposal_id)
        elif deed < 0.7:
            batch = proposals.take_batch(1)
            assert [item.id for item in batch] == [item for item in waiting if item in alive][: len(batch)]
            if rng.random() < 0.5:
                proposals.put_back(batch)
            else:
                alive -= {item.id for item in batch}
                for item in batch:
                    proposals.forget(item.id)
        elif waiting:
            gone = rng.choice(waiting)
            if proposals.is_queued(gone):
                proposals.forget(gone)
                alive.discard(gone)
        assert proposals.queued_bytes == sum(item.size_bytes for item in proposals._queue)
        assert alive <= {item.id for item in proposals._queue}
        assert proposals._abandoned == len(proposals._queue) - len(alive)
    while batch := proposals.take_batch(1):
        alive -= {item.id for item in batch}
    assert not alive
    assert len(proposals) == proposals.queued_bytes == proposals._abandoned == 0


def test_too_much_is_refused() -> None:
    """Nothing is queued without a bound, and those who gave up make room."""
    proposals = Proposals(Tuning().max_entry_bytes)
    ids = [number.to_bytes(16, "big") for number in range(MAX_PENDING_PROPOSALS)]
    admitted = [item for item in ids if proposals.admit(Proposal(item, b""))]
    assert 0 < len(admitted) <= MAX_PENDING_PROPOSALS
    assert not proposals.admit(Proposal(P, b""))
    for item in admitted:
        proposals.forget(item)
    assert proposals.admit(Proposal(P, b""))
    assert len(proposals) <= len(admitted) // 2 + 2


def test_a_false_refusal_is_seen_by_the_simulation() -> None:
    """The control: a replica that calls lost leaderships refusals breaks a promise within a few seeds."""

    class Liar(Replica[int]):
        def _follow_leadership(self) -> None:
            super()._follow_leadership()
            self._verdicts = [
                (proposal_id, Refused(Reason.NO_LEADER) if verdict is UNDECIDED else verdict)
                for proposal_id, verdict in self._verdicts
            ]

    class LyingNode(SimNode):
        replica_class = Liar

    class LyingSimulation(Simulation):
        node_class = LyingNode

    def run() -> None:
        for seed in range(10):
            LyingSimulation(seed).run(5.0)

    with pytest.raises(PromiseBroken, match="refused"):
        run()
