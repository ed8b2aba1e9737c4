"""Fault 12, reads: a leader lets them go by what it knows itself, and does not ask whether it still leads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar, Final

from tallystick_node.consensus.kernel import Kernel
from tallystick_node.consensus.read_rounds import Read, ReadRounds
from tests.sim.broken.variant import Variant
from tests.sim.members.history import StaleRead
from tests.sim.members.node import MembersNode, MembersReplica
from tests.sim.members.simulation import MembersSimulation


class _NoRounds(ReadRounds):
    """Believes itself."""

    def take_confirmed(self, leader_id: str, is_majority: Callable[[Iterable[str]], bool]) -> list[Read]:
        confirmed = list(self._waiting.values())
        self._waiting.clear()
        return confirmed


class RoundlessKernel(Kernel):
    """Its rounds are none."""

    def _rounds_of_term(self) -> ReadRounds:
        if self._rounds_term != self.term:
            self._rounds, self._rounds_term = _NoRounds(), self.term
        return self._rounds


class RoundlessReplica(MembersReplica):
    """Runs a `RoundlessKernel`."""

    _make_kernel = RoundlessKernel


class RoundlessNode(MembersNode):
    """Runs a `RoundlessReplica`."""

    replica_class = RoundlessReplica


class Reading(MembersSimulation):
    """Nothing is broken; leaders are cut off while clients read."""

    node_class: ClassVar[type[MembersNode]] = MembersNode
    fault_kinds = ("isolate", "cut", "pause", "heal")
    fault_gap_s = (0.3, 0.8)
    change_kinds = ()
    spares = 0
    reads_per_s = 200.0
    recovers = False
    flag = "--fixed roundless"


class RoundlessSimulation(Reading):
    """Without the rounds."""

    node_class = RoundlessNode
    flag = "--broken roundless"


ROUNDLESS: Final = Variant("roundless", 12, RoundlessSimulation, Reading, (StaleRead,), 4.0, (0,))
