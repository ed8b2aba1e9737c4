"""What a branch of a large state costs: its beginning, in turns with an append to a small agent; its first append."""

from __future__ import annotations

import itertools
import time
from collections.abc import Awaitable, Callable
from typing import Final

from tallystick import Agent, NotFound, ops
from tests.bench.bench import Bench, mutation
from tests.bench.figures import Reading
from tests.bench.timing import percentile

LARGE_AGENT: Final = "large"
_PIECES: Final = 12
_PIECE_CHARS: Final = 850_000
_FORKS: Final = 100
"""Branches that begin in a round, at most: an agent may have a thousand logs."""


async def of_a_large_state(bench: Bench) -> list[Reading]:
    """One caller, who forks the large agent and appends to a small one, one after the other."""
    large, small = bench.client.agent(LARGE_AGENT), bench.client.agent("beside-large")
    size_mb = await _fill(large)
    names = (f"b{number}" for number in itertools.count(time.monotonic_ns()))
    forks_ms: list[float] = []
    appends_ms: list[float] = []
    ends_s = time.perf_counter() + 4 * bench.plan.latency_s
    while time.perf_counter() < ends_s and len(forks_ms) < _FORKS:
        appends_ms.append(await _taken_ms(lambda: small.append_many((mutation(),))))
        forks_ms.append(await _taken_ms(lambda: large.fork(next(names))))
    branch = await large.fork(next(names))
    first_ms = await _taken_ms(lambda: branch.append(ops.set("/first", value=True)))
    median_ms, append_ms = percentile(sorted(forks_ms), 0.5), percentile(sorted(appends_ms), 0.5)
    note = f"{size_mb:.0f} MB"
    return [
        Reading("fork_ms", median_ms, note=note),
        Reading("fork_ratio", median_ms / append_ms),
        Reading("fork_first_ms", first_ms, note=note),
    ]


async def _fill(agent: Agent) -> float:
    """Makes the state large, once; its size in MB."""
    try:
        await agent.state_digest()
    except NotFound:
        for piece in range(_PIECES):
            await agent.append(ops.set(f"/piece-{piece}", "v" * _PIECE_CHARS))
    return _PIECES * _PIECE_CHARS / 1e6


async def _taken_ms(call: Callable[[], Awaitable[object]]) -> float:
    began_s = time.perf_counter()
    await call()
    return (time.perf_counter() - began_s) * 1e3
