"""What a schema costs the one who writes: appends with and without, in turns, and a stream of them.

Without: an agent of a namespace that has no schemas. Beside: one that no schema governs, where others have some.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from tallystick import JSON, Agent, Client, Mutation, ops
from tests.bench.bench import Bench
from tests.bench.figures import Reading
from tests.bench.timing import percentile

_NAMESPACE: Final = "schemas"
_SCHEMA: Final[dict[str, JSON]] = {
    "type": "object",
    "properties": {
        "v": {"type": "string"},
        "n": {"type": "integer"},
        "items": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"role": {"enum": ["user", "agent"]}, "text": {"type": "string"}},
                "required": ["role", "text"],
            },
        },
    },
    "additionalProperties": False,
}
_ITEMS: Final = 8000
_ITEM: Final[dict[str, JSON]] = {"role": "agent", "text": "t" * 100}
_PIECES: Final = 4
_OPERATIONS: Final = 100
_VALUE: Final = "v" * 200


async def appends_with_and_without(bench: Bench) -> list[Reading]:
    """One caller, who appends to each of them one after the other; then one stream to the small one."""
    async with bench.cluster.connect(_NAMESPACE) as client:
        agents = [bench.client.agent("schemaless"), *await _governed(client)]
        taken: list[list[float]] = [[] for _ in agents]
        ends_s = time.perf_counter() + 6 * bench.plan.latency_s
        while time.perf_counter() < ends_s:
            for number in (*range(len(agents)), *reversed(range(len(agents)))):
                taken[number].append(await _append_ms(agents[number]))
        without_ms, beside_ms, small_ms, large_ms = _medians(taken)
        rate = await _stream_rate(agents[2], bench.plan.rate_s)
    return [
        Reading("schema_append_ms", small_ms),
        Reading("schema_ratio", small_ms / without_ms),
        Reading("schema_beside_ratio", beside_ms / without_ms),
        Reading("schema_large_ms", large_ms, note=f"{_ITEMS} items, 1 MB"),
        Reading("schema_stream_rate", rate),
    ]


async def _governed(client: Client) -> list[Agent]:
    """One that no schema governs, one with a small state, and one with a large one."""
    await client.schemas.register("state of checked-", _SCHEMA)
    large = client.agent("checked-large")
    if not [info async for info in client.agents(prefix=large.name)]:
        for _ in range(_PIECES):
            piece = Mutation.of(*[ops.append("/items", _ITEM) for _ in range(_OPERATIONS)])
            await large.append_many([piece] * (_ITEMS // _PIECES // _OPERATIONS))
    return [client.agent("beside"), client.agent("checked-small"), large]


async def _append_ms(agent: Agent) -> float:
    began_s = time.perf_counter()
    await agent.append(ops.set("/v", _VALUE))
    return (time.perf_counter() - began_s) * 1e3


async def _stream_rate(agent: Agent, duration_s: float) -> float:
    began_s = time.perf_counter()
    handed_in = 0
    async with agent.stream() as stream:
        while time.perf_counter() - began_s < duration_s:
            await stream.append(ops.increment("/n", 1))
            handed_in += 1
    return handed_in / (time.perf_counter() - began_s)


def _medians(taken: Sequence[Sequence[float]]) -> list[float]:
    return [percentile(sorted(each), 0.5) for each in taken]
