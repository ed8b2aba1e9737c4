"""Measures of steps: one from begin to end, and the resuming of an agent that did many."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import Final

from tallystick import Agent
from tests.bench.bench import Bench
from tests.bench.figures import CALLERS, Reading
from tests.bench.timing import latencies_ms, percentile

RESUMED_AGENT: Final = "did-much"


def _nothing() -> None:
    """An effect that costs nothing."""


async def one_after_another(bench: Bench) -> list[Reading]:
    """New steps: begun, and completed."""
    agent, names = bench.client.agent("steps"), itertools.count(time.monotonic_ns())

    async def step(_caller: int) -> None:
        await agent.step(f"step-{next(names)}", _nothing)

    taken = await latencies_ms(step, bench.plan.latency_s)
    return [Reading("step_ms", percentile(taken, 0.5))]


async def resumed(bench: Bench) -> list[Reading]:
    """An agent that did many steps: from nothing to where it goes on, with all results at hand."""
    await _fill(bench)
    readings: list[Reading] = []
    for _ in range(bench.plan.rounds):
        began_s = time.perf_counter()
        agent = bench.client.agent(RESUMED_AGENT)
        await agent.rehydrate(tail=0)
        loaded = await agent.steps.load()
        for number in range(loaded):
            await _do(agent, number)
        taken_ms = (time.perf_counter() - began_s) * 1e3
        readings.append(Reading("resume_ms", taken_ms, note=f"{loaded:,} steps"))
    return readings


async def _fill(bench: Bench) -> None:
    """Many callers do all the steps, each once."""
    agent, numbers = bench.client.agent(RESUMED_AGENT), iter(range(bench.plan.steps))

    async def work() -> None:
        for number in numbers:
            await _do(agent, number)

    await asyncio.gather(*(work() for _ in range(CALLERS)))


async def _do(agent: Agent, number: int) -> None:
    await agent.step(f"step-{number}", lambda: {"rows": number, "file": "part.csv"})
