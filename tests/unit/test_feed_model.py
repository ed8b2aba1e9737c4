"""The feed against a model: random publishes, readers that are slow, fast, cut off and resumed."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing
from dataclasses import dataclass, field

import pytest

from tallystick_node.core.outcomes import Event
from tallystick_node.feed.batch import BATCH_BYTES, BATCH_EVENTS, Filter, counted_bytes
from tallystick_node.feed.feed import Feed
from tests.unit.feed_kit import DEADLINE_S, MemoryHistory, apply, checkpoint, context, deletion, mutation, writers

AGENTS = ("a", "ab", "b")
FILTERS = (Filter("n"), Filter("n", agent="a"), Filter("n", prefix="a"), Filter("m"), Filter("m", agent="none"))
EVENTS = 3000


@dataclass
class Reader:
    """Reads with its own habits, and begins anew at its cursor whenever it is cut off."""

    feed: Feed
    wanted: Filter
    choice: random.Random
    cursor: int = 0
    seen: list[Event] = field(default_factory=list)

    async def run(self) -> None:
        slowness = self.choice.choice([0, 0, 3, 30])
        while self.cursor < EVENTS:
            reading = asyncio.create_task(self._read(slowness))
            for _ in range(self.choice.randrange(1, 400)):
                if not reading.done():
                    await asyncio.sleep(0)
            if self.choice.random() < 0.5:
                reading.cancel()
            await asyncio.wait({reading})
            if not reading.cancelled():
                reading.result()

    async def _read(self, slowness: int) -> None:
        async with aclosing(self.feed.watch(self.wanted, self.cursor)) as watch:
            async for batch in watch:
                assert batch.cursor >= self.cursor
                assert len(batch.events) <= BATCH_EVENTS
                assert len(batch.events) == 1 or sum(map(counted_bytes, batch.events)) <= BATCH_BYTES
                # Both at once: what a client does when it stores the cursor with what it made of the events.
                self.seen += batch.events
                self.cursor = batch.cursor
                if self.cursor >= EVENTS:
                    return
                for _ in range(self.choice.randrange(slowness + 1)):
                    await asyncio.sleep(0)


def _random_event(choice: random.Random, position: int) -> Event:
    namespace, agent = choice.choice("nnnm"), choice.choice(AGENTS)
    kind = choice.random()
    if kind < 0.8:
        return mutation(position, namespace, agent, choice.choice([10, 10, 10, 300_000 if position % 50 == 0 else 10]))
    if kind < 0.9:
        return context(position, namespace, agent) if kind < 0.87 else writers(position, namespace)
    return checkpoint(position, namespace, agent) if kind < 0.97 else deletion(position, namespace, agent)


async def _publish(choice: random.Random, history: MemoryHistory, feed: Feed) -> None:
    while history.position < EVENTS:
        count = min(choice.choice([1, 1, 2, 10, 300]), EVENTS - history.position)
        events = [_random_event(choice, history.position + 1 + n) for n in range(count)]
        if choice.random() < 0.02:  # a snapshot was installed: what it holds is not told
            history.append(*events)
            feed.publish((), history.position)
        else:
            apply(history, feed, *events)
        assert feed._ring.head - feed._ring.floor <= 50
        for _ in range(choice.choice([0, 1, 5])):
            await asyncio.sleep(0)


@pytest.mark.parametrize("seed", range(12))
async def test_each_wanted_event_once_and_in_order(seed: int) -> None:
    choice = random.Random(seed)
    history = MemoryHistory([mutation(n) for n in range(1, choice.randrange(1, 400))])
    feed = Feed(history, ring_events=50, progress_s=0.002)
    readers = [Reader(feed, wanted, random.Random(f"{seed}/{n}")) for n, wanted in enumerate(FILTERS * 3)]
    async with asyncio.timeout(3 * DEADLINE_S), asyncio.TaskGroup() as group:
        group.create_task(_publish(choice, history, feed))
        for reader in readers:
            group.create_task(reader.run())
    for reader in readers:
        assert reader.seen == [event for event in history.all_events if reader.wanted.matches(event)]
    assert feed.subscribers == 0
    assert not (feed._waiters._by_agent or feed._waiters._by_namespace)
