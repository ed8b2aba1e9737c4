"""Measures of edits: how soon another node's subscriber sees one, how many a second are acknowledged, the trace.

Rules of this file: all clients live in this process, as the raw ones in theirs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final, Literal

from tallystick import Client
from tallystick.contexts.context import Context
from tests.bench.contexts.plan import Bench, Say
from tests.bench.contexts.trace import Step
from tests.bench.figures import Reading
from tests.bench.timing import percentile

BATCH: Final = 250
"""Edits between two flushes."""
TRACE_BATCH: Final = 500
"""Edits of the trace after which the event loop has its turn, as where somebody types."""
SAID_EACH: Final = 50_000
DEADLINE_S: Final = 600.0
_KEYS: Final = 100
_SEEN_S: Final = 30.0


def connected(bench: Bench, node_id: str) -> Client:
    """A client at one node."""
    return bench.cluster.connect(nodes=[node_id], actor=f"at-{node_id}", timeout_s=_SEEN_S)


async def seen_elsewhere(bench: Bench) -> list[Reading]:
    """Edits one after another; each is waited for at another node."""
    async with (
        connected(bench, bench.node) as client,
        connected(bench, bench.other) as other,
        client.context("seen") as from_here,
        other.context("seen") as there,
    ):
        news = asyncio.Event()
        there.observe(lambda _: news.set())
        taken: list[float] = []
        ends_s = time.perf_counter() + bench.plan.latency_s
        while time.perf_counter() < ends_s:
            number = len(taken)
            began_s = time.perf_counter()
            from_here.map("m")["k"] = number
            async with asyncio.timeout(_SEEN_S):
                while there.map("m").get("k") != number:
                    news.clear()
                    await news.wait()
            taken.append((time.perf_counter() - began_s) * 1e3)
    taken.sort()
    return [Reading("seen_ms", percentile(taken, 0.5)), Reading("seen_p99_ms", percentile(taken, 0.99))]


async def local(bench: Bench) -> list[Reading]:
    """Batches, each flushed to the node's disk."""
    return await _batches(bench, "local_rate", "local", lambda number: "")


async def quorum(bench: Bench) -> list[Reading]:
    """Batches, each flushed to the disks of a majority."""
    return await _batches(bench, "quorum_rate", "quorum", lambda number: "")


async def singles(bench: Bench) -> list[Reading]:
    """Each edit has a cause of its own, and so goes as an update of its own."""
    return await _batches(bench, "single_rate", "local", lambda number: f"step-{number}")


async def _batches(
    bench: Bench, key: str, ack: Literal["local", "quorum"], cause_of: Callable[[int], str]
) -> list[Reading]:
    async with connected(bench, bench.node) as client, client.context(key.replace("_", "-")) as context:
        await _batch(context, 0, cause_of)
        await context.flush()
        cpu = bench.cpu()
        began_s = now_s = time.perf_counter()
        done = 0
        while now_s - began_s < bench.plan.rate_s:
            await _batch(context, done, cause_of)
            await context.flush(ack=ack)
            done += BATCH
            now_s = time.perf_counter()
        return [Reading(key, done / (now_s - began_s), cpu.cost(done), f"batches of {BATCH}")]


async def _batch(context: Context, first: int, cause_of: Callable[[int], str]) -> None:
    root = context.map("m")
    for number in range(first, first + BATCH):
        with context.transaction(cause_of(number)):
            root[f"k{number % _KEYS}"] = number


async def whole_trace(bench: Bench, steps: Sequence[Step], name: str) -> list[Reading]:
    """The trace as one agent writes it, until a node has all of it on disk."""
    async with connected(bench, bench.node) as client, client.context(name) as context:
        cpu = bench.cpu()
        began_s = time.perf_counter()
        await write(context, steps, say=bench.say)
        await context.flush(ack="local", timeout_s=DEADLINE_S)
        taken_s = time.perf_counter() - began_s
        return [Reading("trace_s", taken_s, cpu.cost(len(steps)), f"{len(steps):,} edits")]


async def write(context: Context, steps: Sequence[Step], *, group: int = 1_000_000, say: Say) -> None:
    """Each step is an edit; at most so many go as one update."""
    text = context.text("text")
    for number, (at, letter) in enumerate(steps):
        with context.transaction(f"group-{number // group}"):
            if letter:
                text.insert(at, letter)
            else:
                text.delete(at, at + 1)
        if number % TRACE_BATCH == 0:
            await asyncio.sleep(0)
        if number % SAID_EACH == SAID_EACH - 1:
            say(f"  {number + 1:,} of {len(steps):,} edits")
