"""Writers that keep on writing through faults, and remember what they were told.

Rules of this file:
- A write is counted by its answer: acknowledged, or undecided (it may have happened). Anything else fails the test.
- Writers pause between writes: at full speed they would take the processor from the nodes whose start a test waits for.
- Each writer has an agent of its own, and each write is an increment and a numbered note, so that a lost or a doubled
  effect shows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from tallystick import Client, Consistency, Unavailable, Undecided, ops
from tests.cluster.harness_wait import eventually

PAUSE_S: Final = 0.01


@dataclass(slots=True)
class Writer:
    """One writer and its account.

    Attributes:
        acknowledged: numbers of the writes that were answered, by the seq that the answer gave.
        undecided: numbers of the writes whose outcome was never told.
        unavailable: how many attempts were told that they did nothing.
    """

    client: Client
    agent: str
    acknowledged: dict[int, int] = field(default_factory=dict)
    undecided: set[int] = field(default_factory=set)
    unavailable: int = 0

    async def write_until(self, stop: asyncio.Event) -> None:
        """Writes until told to stop."""
        number = 0
        while not stop.is_set():
            await self.write(number)
            number += 1
            await asyncio.sleep(PAUSE_S)

    async def write(self, number: int) -> None:
        """One write, with the client's own retries and keys."""
        try:
            appended = await self.client.agent(self.agent).append(
                ops.increment("/count"), ops.append("/numbers", number), cause=f"write:{number}"
            )
        except Undecided:
            self.undecided.add(number)
        except Unavailable:
            self.unavailable += 1
        else:
            assert appended.seq not in self.acknowledged, f"two writes were told that they are seq {appended.seq}"
            self.acknowledged[appended.seq] = number

    async def check(self, reader: Client, consistency: Consistency = Consistency.LINEARIZABLE) -> None:
        """What was acknowledged is in the log once, where the answer said; nothing else is but what was undecided."""
        agent = reader.agent(self.agent)
        logged = {
            mutation.seq: int(mutation.cause.removeprefix("write:"))
            async for mutation in agent.log(consistency=consistency)
        }
        numbers = list(logged.values())
        assert sorted(set(numbers)) == sorted(numbers), f"{self.agent}: written twice"
        assert list(logged) == list(range(1, len(logged) + 1)), f"{self.agent}: the log has gaps"
        for seq, number in self.acknowledged.items():
            assert logged.get(seq) == number, (
                f"{self.agent}: write {number} was acknowledged as seq {seq} and is not there"
            )
        assert set(numbers) - set(self.acknowledged.values()) <= self.undecided
        snap = await agent.read(consistency=consistency)
        assert snap.state == {"count": len(numbers), "numbers": numbers}


@asynccontextmanager
async def writing(clients: Sequence[Client]) -> AsyncIterator[list[Writer]]:
    """Writers that write while the body runs; they have all ended after it."""
    writers = [Writer(client, f"writer-{place}") for place, client in enumerate(clients)]
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for writer in writers:
            tasks.create_task(writer.write_until(stop))
        try:
            yield writers
        finally:
            stop.set()


async def progress(writers: Sequence[Writer], *, acks: int = 5, within_s: float = 20.0) -> None:
    """Waits until each writer has so many more acknowledgements."""
    before = [len(writer.acknowledged) for writer in writers]

    async def look() -> bool:
        return all(len(writer.acknowledged) >= count + acks for writer, count in zip(writers, before, strict=True))

    await eventually(look, within_s=within_s, what=f"{acks} more acknowledgements for each writer")
