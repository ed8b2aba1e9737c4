"""Measures of reads: the head of a small agent, of one whose log is long, and of a large state with either."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tallystick import Agent, Consistency, Operation, ops
from tests.bench.bench import Bench, mutation
from tests.bench.figures import CALLERS, Reading
from tests.bench.timing import count_done, latencies_ms, percentile
from tests.bench.writes import HISTORY_AGENT, STREAM_MUTATIONS, STREAM_WINDOW, fill

_SHORT_LOG: Final = 100
_TURN_S: Final = 0.3
_MESSAGES: Final = 1_000
_MESSAGES_AT_ONCE: Final = 100
_OTHERS: Final = 4
_TEXT: Final = "w" * 950
"""With its name and its role a message has 1,000 bytes, so the state has a megabyte."""


async def session(bench: Bench) -> list[Reading]:
    """Head reads that see what this client wrote."""
    return await _heads(bench, Consistency.SESSION, "session")


async def linearizable(bench: Bench) -> list[Reading]:
    """Head reads that see what anyone wrote."""
    return await _heads(bench, Consistency.LINEARIZABLE, "linearizable")


async def _heads(bench: Bench, consistency: Consistency, name: str) -> list[Reading]:
    agent = bench.client.agent("read")
    await agent.append_many((mutation(),))

    async def read(_caller: int) -> None:
        await agent.read(consistency=consistency)

    taken = await latencies_ms(read, bench.plan.latency_s)
    cpu = bench.cpu()
    done, taken_s = await count_done(read, CALLERS, bench.plan.rate_s)
    cost = cpu.cost(done)
    return [Reading(f"{name}_ms", percentile(taken, 0.5)), Reading(f"{name}_rate", done / taken_s, cost)]


async def long_log(bench: Bench) -> list[Reading]:
    """The same read of an agent with a short log and of one with a long one, in turns."""
    short, long = bench.client.agent("short"), bench.client.agent(HISTORY_AGENT)
    await short.append_many([mutation() for _ in range(_SHORT_LOG)])
    mutations = await _lengthen(bench)
    readings: list[Reading] = []
    for _ in range(bench.plan.rounds):
        medians = [await _head_ms(agent) for agent in (short, long)]
        note = f"{mutations:,} mutations"
        readings += [Reading("short_log_ms", medians[0]), Reading("long_log_ms", medians[1], note=note)]
        readings.append(Reading("long_log_ratio", medians[1] / medians[0]))
    return readings


async def large_state(bench: Bench) -> list[Reading]:
    """Rehydrating an agent with a megabyte of state, with a short log and with a long one, in turns."""
    short, long = bench.client.agent("large-short"), bench.client.agent("large-long")
    others = [bench.client.agent(f"large-{number}") for number in range(_OTHERS)]
    for agent in (short, long, *others):
        await agent.append(ops.set("/messages", {}))
        for first in range(0, _MESSAGES, _MESSAGES_AT_ONCE):
            await agent.append(*(_message(number) for number in range(first, first + _MESSAGES_AT_ONCE)))
    async with long.stream(window=STREAM_WINDOW) as stream:
        await fill(stream, requests=bench.plan.large_history // STREAM_MUTATIONS, duration_s=bench.plan.history_s)
    lengths = [(await agent.checkpoint("here")).seq for agent in (short, long)]
    readings: list[Reading] = []
    for _ in range(bench.plan.rounds):
        for key, agent, seq in zip(("large_short_ms", "large_long_ms"), (short, long), lengths, strict=True):
            readings.append(Reading(key, await _rehydrate_ms(agent, _TURN_S), note=f"{seq:,} mutations"))
        readings.append(Reading("large_cold_ms", await _cold_ms(long, others)))
    return readings


async def _cold_ms(agent: Agent, others: Sequence[Agent]) -> float:
    """How long it takes when others were read since, as many as have room in a node's memory."""
    for other in others:
        await other.read()
    return await _rehydrate_ms(agent, duration_s=0.0)


async def _rehydrate_ms(agent: Agent, duration_s: float) -> float:
    return percentile(await latencies_ms(lambda _: agent.rehydrate(), duration_s), 0.5)


def _message(number: int) -> Operation:
    return ops.set(f"/messages/{number:04}", {"role": "assistant", "text": _TEXT})


async def _head_ms(agent: Agent) -> float:
    taken = await latencies_ms(lambda _: agent.read(consistency=Consistency.SESSION), _TURN_S)
    return percentile(taken, 0.5)


async def _lengthen(bench: Bench) -> int:
    """Streams to the long log until it is as long as planned, or the time is up; how long it is."""
    agent = bench.client.agent(HISTORY_AGENT)
    first = await agent.append_many((mutation(),))
    missing = max(0, bench.plan.history - first.seq)
    async with agent.stream(window=STREAM_WINDOW) as stream:
        await fill(stream, requests=-(-missing // STREAM_MUTATIONS), duration_s=bench.plan.history_s)
    return (await agent.read()).seq
