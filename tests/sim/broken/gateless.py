"""Fault 15: members change again before the change before is decided, and before the leader has decided anything."""

from __future__ import annotations

from typing import ClassVar, Final

from tallystick_node.consensus.kernel import Kernel
from tests.sim.broken.variant import LOSS, Variant
from tests.sim.members.history import TwoLeaders
from tests.sim.members.node import MembersNode, MembersReplica
from tests.sim.members.simulation import MembersSimulation


class GatelessKernel(Kernel):
    """Says that nothing is under way."""

    @property
    def is_settled(self) -> bool:
        return True


class GatelessReplica(MembersReplica):
    """Runs a `GatelessKernel`."""

    _make_kernel = GatelessKernel


class GatelessNode(MembersNode):
    """Runs a `GatelessReplica`."""

    replica_class = GatelessReplica


class Removing(MembersSimulation):
    """Nothing is broken; a leader that is cut off is asked to remove who it does not reach."""

    node_class: ClassVar[type[MembersNode]] = MembersNode
    fault_kinds = ()
    change_kinds = ("desert",)
    change_gap_s = (1.0, 1.5)
    spares = 0
    recovers = False
    flag = "--fixed gateless"


class GatelessSimulation(Removing):
    """The gate is open."""

    node_class = GatelessNode
    flag = "--broken gateless"


GATELESS: Final = Variant("gateless", 15, GatelessSimulation, Removing, (*LOSS, TwoLeaders), 4.0, (0,))
