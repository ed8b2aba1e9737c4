"""The run: which measures of contexts there are, and in which order.

Rules of this file: as in `tests.bench.run`; the short ones come in rounds, the raw ones among them, the long ones once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from tests.bench.contexts import documents, edits, healing, raw
from tests.bench.contexts.plan import Bench, Plan, Say
from tests.bench.contexts.trace import trace
from tests.bench.figures import Reading
from tests.cluster.harness import Cluster

Measure = Callable[[Bench], Awaitable[list[Reading]]]

REPEATED: Final[dict[str, Measure]] = {
    "seen": edits.seen_elsewhere,
    "local": edits.local,
    "quorum": edits.quorum,
    "singles": edits.singles,
}
ONCE: Final[dict[str, Measure]] = {"opening": documents.opening, "gap": documents.gap, "idle": documents.idle}
NAMES: Final = (*REPEATED, "trace", *ONCE, "heal")


async def run(folder: Path, plan: Plan, only: str | None, say: Say) -> list[Reading]:
    """All readings, of all measures or of one beside the raw ones."""
    wanted = frozenset(NAMES) if only is None else {only}
    has_yjs = await raw.install_yjs()
    if not has_yjs:
        say("without Node and npm there is no stock Yjs beside")
    readings: list[Reading] = []
    async with Cluster(folder / "cluster") as cluster:
        await cluster.wait_for_leader()
        bench = Bench(cluster, folder, plan, say)
        readings += await _rounds(bench, wanted, say, has_yjs=has_yjs)
        if "trace" in wanted:
            readings += await _trace(bench, say, has_yjs=has_yjs)
        for name, measure in ONCE.items():
            if name in wanted:
                say(name)
                readings += await measure(bench)
    if "heal" in wanted:
        say("heal")
        readings += await healing.heal(folder / "split", plan)
    return readings


async def _rounds(bench: Bench, wanted: frozenset[str] | set[str], say: Say, *, has_yjs: bool) -> list[Reading]:
    readings: list[Reading] = []
    measures = {name: measure for name, measure in REPEATED.items() if name in wanted}
    for number in range(1, bench.plan.rounds + 1 if measures else 1):
        prefix = f"round {number} of {bench.plan.rounds}: "
        say(prefix + "raw")
        readings += raw.key_sets(bench.plan.latency_s)
        if has_yjs:
            readings += await raw.y_websocket(bench.plan.latency_s)
        for name, measure in measures.items():
            say(prefix + name)
            readings += await measure(bench)
    return readings


async def _trace(bench: Bench, say: Say, *, has_yjs: bool) -> list[Reading]:
    readings: list[Reading] = []
    steps = trace(bench.plan.trace)
    for number in range(1, bench.plan.trace_rounds + 1):
        prefix = f"trace, {number} of {bench.plan.trace_rounds}: "
        say(prefix + "pycrdt")
        alone = raw.trace_in_pycrdt(steps)
        if has_yjs:
            say(prefix + "Yjs")
            readings += await raw.trace_in_yjs(steps, bench.folder)
        say(prefix + "a node")
        through = await edits.whole_trace(bench, steps, f"trace-{number}")
        ratio = through[0].value / alone[0].value
        readings += [*alone, *through, Reading("trace_ratio", ratio, note=alone[0].note)]
    return readings
