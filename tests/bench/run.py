"""The run: which measures there are, in which order, and how often.

Rules of this file:
- The short measures are repeated in rounds, the raw ones among them, so that a busy moment of the machine falls on all.
- What changes the cluster for good comes once, after them: the long log, then many agents, then kills.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench import branches, causality, conversation, failover, fleet, leases, raw, reads, schemas, steps, writes
from tests.bench.bench import Bench, Plan, mutation
from tests.bench.figures import Reading
from tests.cluster.harness import Cluster

_WARM_UP_APPENDS: Final = 200


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure, by the name that `--only` takes."""

    name: str
    run: Callable[[Bench], Awaitable[list[Reading]]]


async def _fdatasync(bench: Bench) -> list[Reading]:
    return raw.fdatasync(bench.folder, bench.plan.latency_s)


async def _echoes(bench: Bench) -> list[Reading]:
    return await raw.echoes(bench.echo, bench.plan.latency_s)


REPEATED: Final = (
    Measure("fdatasync", _fdatasync),
    Measure("echo", _echoes),
    Measure("append", writes.one_after_another),
    Measure("lease", leases.under_lease),
    Measure("schema", schemas.appends_with_and_without),
    Measure("fork", branches.of_a_large_state),
    Measure("step", steps.one_after_another),
    Measure("callers", writes.many_callers),
    Measure("stream", writes.one_stream),
    Measure("singles", writes.one_stream_of_single),
    Measure("session", reads.session),
    Measure("linearizable", reads.linearizable),
    Measure("journal", writes.journal_bytes),
)
ONCE: Final = (
    Measure("history", reads.long_log),
    Measure("large", reads.large_state),
    Measure("resume", steps.resumed),
    Measure("causality", causality.observing),
    Measure("conversation", conversation.on_disk),
    Measure("agents", fleet.many_agents),
    Measure("failover", failover.kill_leader),
)
RAW: Final = frozenset({"fdatasync", "echo"})
NAMES: Final = tuple(measure.name for measure in REPEATED + ONCE)


async def run(folder: Path, plan: Plan, only: str | None, say: Callable[[str], None]) -> list[Reading]:
    """All readings, of all measures or of one beside the raw ones.

    Args:
        folder: where the nodes keep their data; it is empty.
        say: is told what goes on.
    """
    wanted = frozenset(NAMES) if only is None else RAW | {only}
    readings: list[Reading] = []
    rounds = [(f"round {number} of {plan.rounds}: ", REPEATED) for number in range(1, plan.rounds + 1)]
    async with _started(folder, plan) as bench:
        for prefix, measures in [*rounds, ("", ONCE)]:
            for measure in measures:
                if measure.name in wanted:
                    say(prefix + measure.name)
                    bench.leader = await bench.cluster.wait_for_leader()
                    readings += await measure.run(bench)
    return readings


@contextlib.asynccontextmanager
async def _started(folder: Path, plan: Plan) -> AsyncIterator[Bench]:
    """Three nodes, a client that knows the leader, and the echo server; warm."""
    async with raw.echo_server() as echo, Cluster(folder) as cluster, cluster.connect("bench") as client:
        bench = Bench(cluster, client, echo, folder, plan, await cluster.wait_for_leader())
        for _ in range(_WARM_UP_APPENDS):
            await client.agent("warm").append_many((mutation(),))
        yield bench
