"""What a long conversation takes on disk, when the agent is checkpointed after every turn.

Rules of this file:
- Counted is the whole data folder of a node that was stopped: the database, the journal and what stands beside them,
  by the blocks that the files take. The journal's segments are of 1 MiB, the least that can be configured, so that
  what compaction leaves is not lost in the last segment; it is a constant however long the conversation is, so a
  shorter one than the target's takes more of its own size.
- It is held against the conversation's own bytes: its messages as compact JSON, once.
- Words are drawn from a vocabulary: as texts are, so that neither side is flattered by what compresses.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

import orjson

from tallystick import JSON, Agent, ops
from tests.bench.bench import Bench
from tests.bench.figures import Reading
from tests.cluster.harness import Cluster

_SEGMENT_BYTES: Final = 1 << 20
_BLOCK_BYTES: Final = 512
_TARGET_TURNS: Final = 2_000
_WORDS: Final = 4_000
_USER_WORDS: Final = (5, 120)
_ASSISTANT_WORDS: Final = (20, 500)

Turn = Callable[[Agent, list[JSON]], Awaitable[object]]


async def on_disk(bench: Bench) -> list[Reading]:
    """The same conversation, with its turns appended, and with the whole state saved after each."""
    readings = []
    for key, write in (("conversation_append_ratio", _append), ("conversation_save_ratio", _Saving())):
        folder = bench.folder / key
        own_bytes = await _converse(folder, bench.plan.turns, write)
        note = f"{bench.plan.turns:,} turns, {own_bytes / 1e6:.1f} MB"
        told = key if bench.plan.turns >= _TARGET_TURNS else "conversation_short_ratio"
        readings.append(Reading(told, _taken_bytes(folder / "a") / own_bytes, note=note))
    return readings


async def _append(agent: Agent, messages: list[JSON]) -> None:
    await agent.append(*(ops.append("/messages", message) for message in messages), cause="turn")


class _Saving:
    """Holds the state, as a program does, and saves all of it."""

    def __init__(self) -> None:
        self._messages: list[JSON] = []

    async def __call__(self, agent: Agent, messages: list[JSON]) -> None:
        self._messages += messages
        await agent.save({"messages": self._messages}, cause="turn")


async def _converse(folder: Path, turns: int, write: Turn) -> int:
    """Its own bytes. The node has stopped when this returns."""
    size_bytes = 0
    async with Cluster(
        folder, node_ids=("a",), contexts=False, flags=("--journal-segment-bytes", str(_SEGMENT_BYTES))
    ) as cluster:
        await cluster.wait_for_leader()
        async with cluster.connect("bench") as client:
            agent = client.agent("talker")
            async for number, messages in _turns(turns):
                await write(agent, messages)
                await agent.checkpoint(f"turn-{number}", step=number)
                size_bytes += len(orjson.dumps(messages))
        await cluster.stop("a")
    return size_bytes


async def _turns(count: int) -> AsyncIterator[tuple[int, list[JSON]]]:
    rng = random.Random(11)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(_WORDS)]
    for number in range(count):
        yield (
            number,
            [
                {
                    "role": role,
                    "id": f"m-{number}-{role}",
                    "content": " ".join(rng.choices(words, k=rng.randint(*lengths))),
                }
                for role, lengths in (("user", _USER_WORDS), ("assistant", _ASSISTANT_WORDS))
            ],
        )


def _taken_bytes(folder: Path) -> int:
    return sum(path.stat().st_blocks * _BLOCK_BYTES for path in folder.rglob("*") if path.is_file())
