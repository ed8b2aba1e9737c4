"""What the tests of the feed share: a history in memory, events, readers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from tallystick_node.core.commands import Target
from tallystick_node.core.outcomes import (
    AgentDeleted,
    CheckpointTaken,
    ContextChange,
    ContextDecided,
    Event,
    MutationDecided,
    WritersAllocated,
)
from tallystick_node.feed.batch import Batch, Filter
from tallystick_node.feed.feed import Feed

DEADLINE_S = 20.0


def mutation(position: int, namespace: str = "n", agent: str = "a", size_bytes: int = 10) -> MutationDecided:
    """A mutation at a position."""
    return MutationDecided(position, Target(namespace, agent), position, 0, "", bytes(32), bytes(size_bytes))


def checkpoint(position: int, namespace: str = "n", agent: str = "a") -> CheckpointTaken:
    """A checkpoint at a position."""
    return CheckpointTaken(position, Target(namespace, agent), 1, 0, "", b"", "c", 1, b"{}", b"[]", bytes(32))


def deletion(position: int, namespace: str = "n", agent: str = "a") -> AgentDeleted:
    """A deletion at a position."""
    return AgentDeleted(position, Target(namespace, agent), 1, 0, "")


def context(position: int, namespace: str = "n", name: str = "a") -> ContextDecided:
    """A context that was created, at a position."""
    return ContextDecided(position, ContextChange.CREATED, namespace, name, bytes(16), 1, 0, "", b"")


def writers(position: int, namespace: str = "n") -> WritersAllocated:
    """Writer ids, handed out at a position."""
    return WritersAllocated(position, namespace, 2**32, 1, 0, "a")


@dataclass
class MemoryHistory:
    """A history in memory. What is `hidden` went with a deleted agent."""

    all_events: list[Event] = field(default_factory=list)
    hidden: set[int] = field(default_factory=set)
    pages: int = 0
    gone: int = 0

    @property
    def position(self) -> int:
        return len(self.all_events)

    def events(self, after_position: int, limit: int, max_bytes: int = 1024 * 1024) -> Sequence[Event]:
        self.pages += 1
        page: list[Event] = []
        size_bytes = 0
        for event in self.all_events[after_position:]:
            if event.position in self.hidden:
                continue
            size_bytes += len(event.raw) if isinstance(event, MutationDecided) else 0
            if page and (size_bytes > max_bytes or len(page) >= limit):
                break
            page.append(event)
        return page

    def newest_gone(self, namespace: str, agent: str | None, prefix: str | None) -> int:
        return self.gone

    def append(self, *events: Event) -> None:
        assert [event.position for event in events] == [self.position + 1 + n for n in range(len(events))]
        self.all_events += events


def apply(history: MemoryHistory, feed: Feed, *events: Event) -> None:
    """Store events and publish them."""
    history.append(*events)
    feed.publish(events, history.position)


async def next_batch(watch: AsyncGenerator[Batch, None]) -> Batch:
    """The next batch, or a failed test."""
    return await asyncio.wait_for(anext(watch), DEADLINE_S)


async def read_until(feed: Feed, wanted: Filter, after: int, cursor: int) -> list[int]:
    """Positions of the events of a watch, from one cursor to another."""
    positions: list[int] = []
    async with asyncio.timeout(DEADLINE_S), aclosing(feed.watch(wanted, after)) as watch:
        async for batch in watch:
            positions += [event.position for event in batch.events]
            if batch.cursor >= cursor:
                break
    return positions
