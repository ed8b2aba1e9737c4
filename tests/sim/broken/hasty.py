"""Fault 1: what pysyncobj deletes is gone, and what it adds replaces the tail, conflict or not."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from tallystick_node.consensus.kernel import Kernel
from tallystick_node.consensus.raft_log import RaftLog
from tallystick_node.consensus.replica import Replica
from tallystick_node.consensus.settings import Tuning
from tests.sim.broken.variant import LOSS, UNCOMPACTED, Variant
from tests.sim.node import SimNode
from tests.sim.simulation import Simulation


class HastyLog(RaftLog):
    """Without fix 1."""

    def _is_known(self, index: int, term: int) -> bool:
        return False

    def add(self, command: bytes, index: int, term: int) -> None:
        self.committed_index = 0  # pysyncobj would not notice either
        super().add(command, index, term)

    def settle(self) -> None:
        """Nothing comes back."""
        self._last = min(self._last, self._journal.last_index)


class HastyKernel(Kernel):
    """On a `HastyLog`; whatever else is ours is in place."""

    def __init__(
        self,
        node_id: str,
        raft_log: RaftLog,
        durable_index: Callable[[], int],
        *,
        tuning: Tuning,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        hasty = HastyLog(raft_log._journal, raft_log.committed_index, raft_log.members)
        super().__init__(node_id, hasty, durable_index, tuning=tuning, clock=clock, rng=rng)

    def _after_entry(self) -> None:
        self._SyncObj__connectedNodes |= self._held
        self._held.clear()


class HastyReplica(Replica[int]):
    """Runs a `HastyKernel`."""

    _make_kernel = HastyKernel


class HastyNode(SimNode):
    """Runs a `HastyReplica`."""

    replica_class = HastyReplica
    tuning = UNCOMPACTED


class Rewinding(Simulation):
    """Nothing is broken; what leaders sent comes late, and then they are gone."""

    fault_kinds = ("rewind",)
    fault_gap_s = (0.8, 1.5)
    proposals_per_s = 200.0
    recovers = False
    flag = "--fixed hasty"


class HastySimulation(Rewinding):
    """Only fix 1 is out."""

    node_class = HastyNode
    flag = "--broken hasty"


HASTY: Final = Variant("hasty", 1, HastySimulation, Rewinding, LOSS, 4.0, (0,))
