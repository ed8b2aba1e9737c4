"""Measures of documents: opening one of many edits, many that are idle, a large one that is loaded."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Final

import grpc
import pycrdt

from tallystick.testing.local_wait import eventually
from tallystick.v1 import context_pb2
from tests.bench.contexts import raw
from tests.bench.contexts.edits import DEADLINE_S, connected, write
from tests.bench.contexts.plan import Bench
from tests.bench.contexts.trace import trace
from tests.bench.figures import Reading
from tests.bench.processes import rss_bytes
from tests.cluster.harness_replicas import contexts, ref

_CALLERS: Final = 64
_MIB: Final = 1024 * 1024
_PART: Final = 500_000
_OPENINGS: Final = 3
_SAID_EACH: Final = 2000
GROUP: Final = 10
"""Edits of an update of the document that is opened."""
_SEED_WRITER: Final = 1


async def opening(bench: Bench) -> list[Reading]:
    """A new client opens a document that came in many updates."""
    name, note = "many-edits", f"{bench.plan.edits:,} edits in updates of {GROUP}"
    async with connected(bench, bench.node) as client, client.context(name) as context:
        await write(context, trace(bench.plan.edits), group=GROUP, say=bench.say)
        await context.flush(timeout_s=DEADLINE_S)
        content = context.doc.get_update()
    bench.say("  written")
    readings = [reading for _ in range(_OPENINGS) for reading in raw.load(content, note)]
    readings += [Reading("open_ms", await _opened_ms(bench, name), note=note) for _ in range(_OPENINGS)]
    for number in range(_OPENINGS):
        bench.say(f"  start {number + 1} of {_OPENINGS}")
        await _restart(bench)
        readings.append(Reading("open_cold_ms", await _opened_ms(bench, name), note=note))
    return readings


async def _opened_ms(bench: Bench, name: str) -> float:
    async with connected(bench, bench.node) as client:
        await client.status()
        context = client.context(name, timeout_s=DEADLINE_S)
        began_s = time.perf_counter()
        async with context:
            return (time.perf_counter() - began_s) * 1e3


async def _restart(bench: Bench) -> None:
    """The node is back, with a worker that has loaded no more than one small document."""
    await bench.cluster.stop(bench.node)
    await bench.cluster.start(bench.node)
    await bench.cluster.wait_for_leader()
    async with connected(bench, bench.other) as client:
        await client.create_context("ready", exist_ok=True)
    await eventually(lambda: _is_ready(bench), within_s=DEADLINE_S, what="a worker that answers")


async def _is_ready(bench: Bench) -> bool:
    async with contexts(bench.cluster, bench.node) as stub:
        try:
            async for _ in stub.Pull(context_pb2.PullRequest(context=ref("ready")), timeout=DEADLINE_S):
                pass
        except grpc.aio.AioRpcError:
            return False
    return True


async def idle(bench: Bench) -> list[Reading]:
    """Many small documents that nobody has open, and what the workers hold."""
    count = bench.plan.documents
    names = iter(range(count))
    seed = _seed()

    async def create(node_id: str) -> None:
        async with connected(bench, node_id) as client:
            for number in names:
                await client.create_context(f"idle-{number:06}", seed=seed)
                if number % _SAID_EACH == _SAID_EACH - 1:
                    bench.say(f"  {number + 1:,} of {count:,} documents")

    async with asyncio.TaskGroup() as tasks:
        for caller in range(_CALLERS):
            tasks.create_task(create(bench.cluster.node_ids[caller % len(bench.cluster.node_ids)]))
    await bench.cluster.wait_equal()
    async with connected(bench, bench.node) as client, client.context(f"idle-{count - 1:06}"):
        pass  # a worker hears of them in order; that all have is not checked
    note = f"{count:,} documents"
    return [
        Reading("idle_worker_mib", rss_bytes(bench.worker_pid(node_id)) / _MIB, note=note)
        for node_id in bench.cluster.node_ids
    ]


def _seed() -> bytes:
    doc: pycrdt.Doc[pycrdt.Map[str]] = pycrdt.Doc(client_id=_SEED_WRITER)
    doc.get("m", type=pycrdt.Map)["state"] = "idle"
    return doc.get_update()


async def gap(bench: Bench) -> list[Reading]:
    """The longest that a node lets a question wait that needs no document: doing nothing, then loading a large one."""
    name, note = "large", f"{bench.plan.large} MB"
    async with connected(bench, bench.node) as client, client.context(name) as context:
        for part in _parts(bench.plan.large):
            context.text("text").append(part)
            await context.flush(ack="local", timeout_s=DEADLINE_S)
        await context.flush(timeout_s=DEADLINE_S)
    readings: list[Reading] = []
    for number in range(_OPENINGS):
        bench.say(f"  start {number + 1} of {_OPENINGS}")
        await _restart(bench)
        async with _pinging(bench) as taken:
            await asyncio.sleep(1.0)
        readings.append(Reading("echo_idle_ms", max(taken)))
        async with _pinging(bench) as taken, contexts(bench.cluster, bench.node) as stub:
            async for _ in stub.Pull(context_pb2.PullRequest(context=ref(name)), timeout=DEADLINE_S):
                pass
        readings.append(Reading("gap_ms", max(taken), note=note))
    return readings


def _parts(count: int) -> Iterator[str]:
    for _ in range(2 * count):
        yield os.urandom(_PART // 2).hex()


@asynccontextmanager
async def _pinging(bench: Bench) -> AsyncIterator[list[float]]:
    """Asks the node for its status again and again meanwhile; how long each answer took, in milliseconds."""
    taken: list[float] = []
    async with connected(bench, bench.node) as client:
        await client.status()

        async def ping() -> None:
            while True:
                began_s = time.perf_counter()
                await client.status()
                taken.append((time.perf_counter() - began_s) * 1e3)
                await asyncio.sleep(0.001)

        pinging = asyncio.create_task(ping())
        try:
            yield taken
        finally:
            pinging.cancel()
            await asyncio.wait([pinging])
