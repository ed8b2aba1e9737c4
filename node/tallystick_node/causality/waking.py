"""Waits until something may have changed of what was read.

Rules of this file:
- Woken once too often does no harm: who is woken looks at the things themselves. Woken too rarely would.
- What is decided is followed from where this node was when the waiting began.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Set as AbstractSet
from types import TracebackType
from typing import Self

from tallystick_node.core.outcomes import (
    AgentDeleted,
    BranchDeleted,
    BranchForked,
    ContextDecided,
    Event,
    MutationDecided,
)
from tallystick_node.feed.batch import Filter
from tallystick_node.feed.feed import Feed


class Waking:
    """See the module. Used as `async with`.

    Args:
        agents: names of those that count.
        contexts: names of those that count.
    """

    def __init__(self, feed: Feed, namespace: str, agents: AbstractSet[str], contexts: AbstractSet[str]) -> None:
        self._feed = feed
        self._namespace = namespace
        self._agents = agents
        self._contexts = contexts
        self._woken = asyncio.Event()
        self._following: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        # Begun here, at the position of this moment: what comes before the first look wakes.
        self._following = asyncio.create_task(self._follow(), name="follow changes")
        await asyncio.sleep(0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)

    def wake(self) -> None:
        """Something may have changed."""
        self._woken.set()

    def clear(self) -> None:
        """Whoever waits is about to look."""
        self._woken.clear()

    async def wait(self) -> None:
        """Until something may have changed.

        Raises:
            Overloaded, Unavailable, DatabaseDamaged: what is decided cannot be followed.
        """
        await self._woken.wait()
        if self._following is not None and self._following.done():
            self._following.result()

    async def _follow(self) -> None:
        try:
            async with contextlib.aclosing(self._feed.watch(Filter(self._namespace))) as batches:
                async for batch in batches:
                    if any(self._counts(event) for event in batch.events):
                        self.wake()
        finally:
            self.wake()

    def _counts(self, event: Event) -> bool:
        match event:
            case ContextDecided():
                return event.name in self._contexts
            case MutationDecided() | AgentDeleted() | BranchForked() | BranchDeleted():
                return event.target.agent in self._agents
            case _:
                return False
