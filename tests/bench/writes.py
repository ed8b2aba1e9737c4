"""Measures of writes: appends one after another, of many callers, in a stream; and what they take in the journal."""

from __future__ import annotations

import time
from typing import Final

from tallystick import AppendStream
from tallystick._stream import DEFAULT_WINDOW
from tests.bench.bench import Bench, mutation
from tests.bench.figures import CALLERS, Reading
from tests.bench.timing import count_done, latencies_ms, percentile

STREAM_MUTATIONS: Final = 200
"""Mutations of one request of a stream."""
STREAM_WINDOW: Final = 16
"""Requests of a stream that are unanswered at once."""

HISTORY_AGENT: Final = "history"
"""The agent that streams write to: its log grows long."""

_JOURNAL_APPENDS: Final = 100
_JOURNAL_REQUESTS: Final = 50


async def one_after_another(bench: Bench) -> list[Reading]:
    """One caller, who waits for each answer."""
    agent = bench.client.agent("sequential")
    cpu = bench.cpu()
    taken = await latencies_ms(lambda _: agent.append_many((mutation(),)), 2 * bench.plan.latency_s)
    cost = cpu.cost(len(taken))
    return [Reading("append_ms", percentile(taken, 0.5), cost), Reading("append_p99_ms", percentile(taken, 0.99))]


async def many_callers(bench: Bench) -> list[Reading]:
    """Many callers, each with an agent of its own, over one client."""
    agents = [bench.client.agent(f"caller-{caller}") for caller in range(CALLERS)]
    cpu = bench.cpu()
    done, taken_s = await count_done(
        lambda caller: agents[caller].append_many((mutation(),)), CALLERS, bench.plan.rate_s
    )
    return [Reading("append_rate", done / taken_s, cpu.cost(done))]


async def one_stream(bench: Bench) -> list[Reading]:
    """One stream, as fast as it takes them; until the last answer."""
    cpu = bench.cpu()
    began_s = time.perf_counter()
    async with bench.client.agent(HISTORY_AGENT).stream(window=STREAM_WINDOW) as stream:
        handed_in = await fill(stream, requests=None, duration_s=bench.plan.rate_s)
    taken_s = time.perf_counter() - began_s
    note = f"{STREAM_MUTATIONS} to a request, window {STREAM_WINDOW}"
    return [Reading("stream_rate", handed_in / taken_s, cpu.cost(handed_in), note)]


async def one_stream_of_single(bench: Bench) -> list[Reading]:
    """The same with a request for each mutation."""
    cpu = bench.cpu()
    began_s = time.perf_counter()
    ends_s = began_s + bench.plan.rate_s
    handed_in = 0
    async with bench.client.agent("singles").stream() as stream:
        while time.perf_counter() < ends_s:
            await stream.append_mutation(mutation())
            handed_in += 1
    taken_s = time.perf_counter() - began_s
    return [Reading("stream_single_rate", handed_in / taken_s, cpu.cost(handed_in), f"window {DEFAULT_WINDOW}")]


async def fill(stream: AppendStream, *, requests: int | None, duration_s: float) -> int:
    """Hands mutations in for a time, or until so many requests are in; how many mutations."""
    handed_in = 0
    ends_s = time.perf_counter() + duration_s
    while time.perf_counter() < ends_s and (requests is None or handed_in < requests * STREAM_MUTATIONS):
        await stream.append_many([mutation() for _ in range(STREAM_MUTATIONS)])
        handed_in += STREAM_MUTATIONS
    return handed_in


async def journal_bytes(bench: Bench) -> list[Reading]:
    """By how much the leader's journal grows; nothing when a segment is dropped meanwhile."""
    agent = bench.client.agent("sequential")
    before = (await bench.leader_status()).journal_size_bytes
    for _ in range(_JOURNAL_APPENDS):
        await agent.append_many((mutation(),))
    between = (await bench.leader_status()).journal_size_bytes
    async with bench.client.agent(HISTORY_AGENT).stream(window=STREAM_WINDOW) as stream:
        handed_in = await fill(stream, requests=_JOURNAL_REQUESTS, duration_s=bench.plan.history_s)
    after = (await bench.leader_status()).journal_size_bytes
    readings = [
        Reading("journal_append", (between - before) / _JOURNAL_APPENDS, note="of 256 bytes"),
        Reading("journal_stream", (after - between) / handed_in, note="of 256 bytes"),
    ]
    return [reading for reading in readings if reading.value > 0]
