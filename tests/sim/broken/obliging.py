"""Fault 12: whoever asks for a vote is listened to, so one that was cut off deposes a leader that works."""

from __future__ import annotations

from typing import Final

from tallystick.peer.v1.peer_pb2 import RaftMessage
from tallystick_node.consensus.kernel import Kernel
from tallystick_node.consensus.replica import Replica
from tests.sim.broken.variant import Variant
from tests.sim.leadership import LeaderDeposed
from tests.sim.node import SimNode
from tests.sim.simulation import Simulation


class ObligingKernel(Kernel):
    """Without the vote filter and the election before the election."""

    def _is_withheld_vote(self, message: RaftMessage) -> bool:
        return False

    def _election_is_due(self) -> bool:
        return False

    def _tick(self) -> None:
        self.doTick(0.0)


class ObligingReplica(Replica[int]):
    """Runs an `ObligingKernel`."""

    _make_kernel = ObligingKernel


class ObligingNode(SimNode):
    """Runs an `ObligingReplica`."""

    replica_class = ObligingReplica


class Returning(Simulation):
    """Nothing is broken; one node is cut off, hears little, and returns."""

    fault_kinds = ("isolate", "cut", "one_way", "pause", "drop", "crash", "heal", "heal", "heal")
    fault_gap_s = (0.2, 1.2)
    victims = 1
    flag = "--fixed obliging"


class ObligingSimulation(Returning):
    """The vote filter of fix 12 is out."""

    node_class = ObligingNode
    flag = "--broken obliging"


OBLIGING: Final = Variant("obliging", 12, ObligingSimulation, Returning, (LeaderDeposed,), 8.0, (0, 1))
