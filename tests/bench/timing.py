"""Running an operation again and again for a time: latencies one after another, rates with many callers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

Operation = Callable[[int], Awaitable[object]]
"""Called with the number of the caller, 0, 1, 2, ..."""


async def latencies_ms(operation: Operation, duration_s: float) -> list[float]:
    """How long each took, one after another, in milliseconds, sorted; at least one."""
    taken: list[float] = []
    began_s = now_s = time.perf_counter()
    while not taken or now_s - began_s < duration_s:
        await operation(0)
        before_s, now_s = now_s, time.perf_counter()
        taken.append((now_s - before_s) * 1e3)
    return sorted(taken)


async def count_done(operation: Operation, callers: int, duration_s: float) -> tuple[int, float]:
    """How many operations so many callers finished, each one after another, and in how many seconds."""
    began_s = time.perf_counter()
    ends_s = began_s + duration_s

    async def call(caller: int) -> int:
        done = 0
        while time.perf_counter() < ends_s:
            await operation(caller)
            done += 1
        return done

    counts = await asyncio.gather(*(call(caller) for caller in range(callers)))
    return sum(counts), time.perf_counter() - began_s


def percentile(ascending: Sequence[float], part: float) -> float:
    """The value below which this part (0..1) of the sorted values lies."""
    return ascending[min(len(ascending) - 1, int(len(ascending) * part))]
