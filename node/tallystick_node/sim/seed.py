"""One seed from its begin to its verdict."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from tallystick_node.sim.cluster import SimCluster
from tallystick_node.sim.judge import PromiseBroken, recover
from tallystick_node.sim.nemesis import Nemesis, Step, run_script
from tallystick_node.sim.payloads import GRACE_S
from tallystick_node.sim.retention import EVERY_S
from tallystick_node.sim.workload import Workload

SECONDS: float = 20.0
"""How long the workload and the nemesis go on, unless it is said otherwise."""

CONTEXTS_EVERY = 5
"""In one seed of so many the nodes hold contexts: they take time, and faults of theirs do not hide in the others."""


@dataclass(frozen=True, slots=True)
class Passed:
    """A seed that kept every promise."""

    trace_hash: str
    events: int
    operations: int
    acknowledged: int


@dataclass(frozen=True, slots=True)
class Failed:
    """One that did not: `kind` tells failures apart, `text` says what happened, for people."""

    kind: str
    text: str
    trace_hash: str
    tail: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a seed is run with.

    Attributes:
        kinds: kinds of faults; None: all.
        contexts: the nodes hold contexts, whatever the seed says.
        make_cluster: makes the cluster, called with `nodes`, `seed=` and settings; tests put broken ones here.
    """

    seed: int
    nodes: int = 3
    seconds: float = SECONDS
    kinds: Collection[str] | None = None
    contexts: bool = False
    make_cluster: Callable[..., SimCluster] = SimCluster

    @property
    def has_contexts(self) -> bool:
        """Whether the nodes hold contexts."""
        return self.contexts or self.seed % CONTEXTS_EVERY == 0

    def script(self) -> list[Step]:
        """The faults of the seed."""
        return Nemesis.script(
            self.seed,
            [chr(ord("a") + place) for place in range(self.nodes)],
            self.seconds,
            self.kinds,
            contexts=self.has_contexts,
        )


def run_seed(plan: Plan, script: Sequence[Step] | None = None) -> Passed | Failed:
    """Runs a seed, with its own script or another."""
    steps = plan.script() if script is None else list(script)
    seed = plan.seed
    with plan.make_cluster(
        plan.nodes,
        seed=seed,
        small_journals=seed % 4 != 0,
        contexts=plan.has_contexts,
        payload_grace_s=GRACE_S,
        retention_every_s=EVERY_S,
    ) as cluster:
        try:
            records = cluster.run(lambda cluster: _life(cluster, plan.seconds, steps))
        except PromiseBroken as error:
            return _failed(cluster, error.kind, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told with its seed
            return _failed(cluster, type(error).__name__, error)
        return Passed(cluster.trace_hash, cluster.trace.count, *records)


def _failed(cluster: SimCluster, kind: str, error: BaseException) -> Failed:
    text = str(error).replace(str(cluster.folder), "")  # a scratch folder's name differs each time
    return Failed(kind, text, cluster.trace_hash, tuple(cluster.trace.tail()))


async def _life(cluster: SimCluster, seconds: float, script: Sequence[Step]) -> tuple[int, int]:
    workload = Workload(cluster, seconds)
    watching = asyncio.create_task(workload.watch())
    striking = asyncio.create_task(run_script(cluster, script))
    try:
        await workload.run()
        await striking
        await recover(cluster, workload.records, workload.come_back)
    finally:
        watching.cancel()
        striking.cancel()
        await asyncio.wait((watching, striking))
    if not watching.cancelled():
        watching.result()  # it ends by being cancelled alone
    for operation in workload.records.history:
        cluster.trace.add(str(operation))
    return len(workload.records.history), len(workload.records.acknowledged)
