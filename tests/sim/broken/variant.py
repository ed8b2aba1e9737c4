"""What a broken cluster is, and how its seeds are searched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from tallystick_node.consensus.raft_log import CommittedEntryLostError
from tests.sim.history import CommittedEntryLost
from tests.sim.running import TUNING
from tests.sim.simulation import Simulation

UNCOMPACTED: Final = replace(TUNING, journal_tail_entries=1 << 30)
"""A broken log soon needs entries that were compacted away; that would end the run before the loss."""


LOSS: Final = (CommittedEntryLost, CommittedEntryLostError)
"""What was decided is gone, or a node was about to replace it and stopped."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A cluster with exactly one fix taken out, and the same one with it.

    Attributes:
        name: for `--broken` and `--fixed`.
        fault: the number of pysyncobj's fault, as in consensus/DESIGN.md.
        broken: runs without the fix.
        fixed: the same faults and load, with it.
        symptom: what is to be seen; that it breaks in another way does not count.
        seconds: of faults, as few as find it.
        seeds: known to show it. They go stale when timing changes; then any of the first 200 will do.
    """

    name: str
    fault: int
    broken: type[Simulation]
    fixed: type[Simulation]
    symptom: tuple[type[Exception], ...]
    seconds: float
    seeds: tuple[int, ...] = ()
    nodes: int = 3

    def finds(self, seed: int) -> bool:
        """Whether this seed shows the symptom."""
        try:
            self.broken(seed, self.nodes).run(self.seconds)
        except self.symptom:
            return True
        except Exception:  # noqa: BLE001 - a broken cluster may break in any way; only the symptom counts
            return False
        return False

    def finding(self, seeds: Iterable[int]) -> Iterator[int]:
        """Those of the seeds that show the symptom."""
        return (seed for seed in seeds if self.finds(seed))
