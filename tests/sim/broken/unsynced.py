"""Fault 3: nothing waits for the disk. Messages leave before what they speak of is synced; a leader counts itself."""

from __future__ import annotations

from typing import Final

from tallystick_node.consensus.intake import Addressed
from tallystick_node.consensus.replica import Replica
from tallystick_node.consensus.stand_ins import MatchIndex
from tallystick_node.storage.journal import Journal
from tests.sim.broken.variant import LOSS, UNCOMPACTED, Variant
from tests.sim.node import SimNode
from tests.sim.simulation import Simulation


class UnsyncedReplica(Replica[int]):
    """Holds no message."""

    def _sort_messages(self) -> Addressed:
        return super()._sort_messages() + self.take_held()


class UnsyncedNode(SimNode):
    """Runs an `UnsyncedReplica`, whose leader counts itself before its sync."""

    replica_class = UnsyncedReplica
    tuning = UNCOMPACTED

    def _make_replica(self, journal: Journal) -> Replica[int]:
        replica = super()._make_replica(journal)
        replica.kernel._SyncObj__raftMatchIndex = MatchIndex(lambda: 1 << 62)
        return replica


class PowerCuts(Simulation):
    """Nothing is broken; disks are slow, and the power goes."""

    fault_kinds = ("outage", "outage", "power_cut", "crash_leader", "slow_disk")
    fault_gap_s = (0.8, 1.5)
    flag = "--fixed unsynced"


class UnsyncedSimulation(PowerCuts):
    """Fix 3 is out."""

    node_class = UnsyncedNode
    flag = "--broken unsynced"


UNSYNCED: Final = Variant("unsynced", 3, UnsyncedSimulation, PowerCuts, LOSS, 4.0, (0,))
