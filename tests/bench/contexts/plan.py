"""How much is measured of contexts, and what each measure has at hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.contexts.trace import EDITS
from tests.bench.processes import CpuMeter, children
from tests.cluster.harness import Cluster

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much.

    Attributes:
        rounds: how often each of the short measures is repeated.
        latency_s, rate_s: how long one takes.
        trace: edits of the trace; `trace_rounds` times.
        edits: of the document that is opened.
        documents: that are idle.
        large: MB of the large document.
        heals: how often a partition ends.
    """

    rounds: int
    latency_s: float
    rate_s: float
    trace: int
    trace_rounds: int
    edits: int
    documents: int
    large: int
    heals: int


FULL: Final = Plan(
    rounds=3,
    latency_s=1.0,
    rate_s=2.0,
    trace=EDITS,
    trace_rounds=1,
    edits=100_000,
    documents=10_000,
    large=25,
    heals=3,
)
QUICK: Final = Plan(
    rounds=2,
    latency_s=0.5,
    rate_s=1.0,
    trace=5_000,
    trace_rounds=1,
    edits=3_000,
    documents=300,
    large=3,
    heals=1,
)


@dataclass(slots=True)
class Bench:
    """A cluster that is measured. `node`: the one that clients talk to; `other`: another. `say`: how far a long measure
    has come."""

    cluster: Cluster
    folder: Path
    plan: Plan
    say: Say
    node: str = "a"
    other: str = "b"

    def worker_pid(self, node_id: str) -> int:
        """Of a node's worker."""
        found = children(self.cluster.nodes[node_id].pid)
        if not found:
            raise ValueError(f"{node_id} has no worker")
        return found[0]

    def cpu(self) -> CpuMeter:
        """CPU time of the node and of its worker, from now on."""
        return CpuMeter(self.cluster.nodes[self.node].pid, [self.worker_pid(self.node)])
