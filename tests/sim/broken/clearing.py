"""Fault 4: a journal that does not begin where the state on disk ends is cleared at a restart."""

from __future__ import annotations

from typing import Final

from tallystick_node.storage.journal import Journal
from tests.sim.broken.variant import LOSS, UNCOMPACTED, Variant
from tests.sim.node import SimNode
from tests.sim.simulation import Simulation


class ClearingNode(SimNode):
    """Begins its journal anew behind the state, as pysyncobj does behind its dump, whatever the journal held."""

    tuning = UNCOMPACTED

    def _open_journal(self) -> Journal:
        journal = super()._open_journal()
        if self.machine.entries and self.machine.applied_index != journal.base_index:
            last = self.machine.entries[-1]
            journal.restart_at(last.index, last.term)
            while (flush := journal.take_flush()) is not None:
                journal.write_flush(flush)
                journal.finish_flush(flush)
        return journal


class Restarts(Simulation):
    """Nothing is broken; nodes restart, alone and together."""

    fault_kinds = ("kill", "crash", "power_cut", "crash_leader")
    fault_gap_s = (0.4, 0.8)
    flag = "--fixed clearing"


class ClearingSimulation(Restarts):
    """Fix 4 is out."""

    node_class = ClearingNode
    flag = "--broken clearing"


CLEARING: Final = Variant("clearing", 4, ClearingSimulation, Restarts, LOSS, 3.0, (0,))
