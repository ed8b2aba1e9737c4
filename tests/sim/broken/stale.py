"""Fault 6: answers carry no term and votes no voter. An old one counts now, and one that comes twice counts twice."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Final

from tallystick.peer.v1.peer_pb2 import RaftMessage
from tallystick_node.consensus.kernel import Kernel
from tallystick_node.consensus.replica import Replica
from tests.sim.broken.variant import LOSS, UNCOMPACTED, Variant
from tests.sim.leadership import LeaderDeposed
from tests.sim.node import SimNode
from tests.sim.simulation import Simulation

HURRIED: Final = replace(UNCOMPACTED, election_max_s=0.21)


class StaleKernel(Kernel):
    """Believes every answer."""

    def _is_stale_reply(self, peer_id: str, message: RaftMessage) -> bool:
        return False


class StaleReplica(Replica[int]):
    """Runs a `StaleKernel`."""

    _make_kernel = StaleKernel


class StaleNode(SimNode):
    """Runs a `StaleReplica`."""

    replica_class = StaleReplica
    tuning = UNCOMPACTED


class LateAnswers(Simulation):
    """Nothing is broken; leaders hear late what they have lost since."""

    fault_kinds = ("relapse",)
    fault_gap_s = (2.0, 2.5)
    proposals_per_s = 400.0
    recovers = False
    flag = "--fixed stale"


class StaleSimulation(LateAnswers):
    """Fix 6 is out."""

    node_class = StaleNode
    flag = "--broken stale"


class HurriedNode(SimNode):
    """All ask for votes at about the same time."""

    tuning = HURRIED


class HurriedStaleNode(StaleNode):
    """Likewise, without fix 6."""

    tuning = HURRIED


class SplitVotes(Simulation):
    """Nothing is broken; five nodes elect under delay, again and again, and hear everything twice."""

    node_class: ClassVar[type[SimNode]] = HurriedNode
    fault_kinds = ("delay", "repeat_all", "repeat_all", "crash_leader", "crash_leader")
    fault_gap_s = (0.1, 0.4)
    recovers = False
    flag = "--fixed twice"


class TwiceSimulation(SplitVotes):
    """Fix 6 is out."""

    node_class = HurriedStaleNode
    flag = "--broken twice"


STALE: Final = Variant("stale", 6, StaleSimulation, LateAnswers, LOSS, 6.0, (0, 4, 7))
TWICE: Final = Variant("twice", 6, TwiceSimulation, SplitVotes, (*LOSS, LeaderDeposed), 6.0, (4,), nodes=5)
