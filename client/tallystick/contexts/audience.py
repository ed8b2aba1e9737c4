"""Who is told of changes: callbacks at once, iterators through a bounded queue each."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import TypeAlias

from tallystick.contexts.changes import Change, Lagged
from tallystick.contexts.limits import CHANGES_QUEUED
from tallystick.errors import TallystickError

Told: TypeAlias = Change | Lagged


class Queue:
    """The changes that one iterator has not taken yet."""

    def __init__(self) -> None:
        self._items: deque[Change] = deque()
        self._missed = 0
        self._more = asyncio.Event()
        self.error: TallystickError | None = None

    def put(self, changes: Sequence[Change]) -> None:
        """Adds some; the oldest make room, and are counted."""
        self._items.extend(changes)
        while len(self._items) > CHANGES_QUEUED:
            self._items.popleft()
            self._missed += 1
        self._more.set()

    def end(self, error: TallystickError) -> None:
        """No more will come."""
        self.error = error
        self._more.set()

    async def take(self) -> Told:
        """The next one.

        Raises:
            TallystickError: the context has ended.
        """
        while not self._items:
            if self.error is not None:
                raise self.error
            self._more.clear()
            await self._more.wait()
        if self._missed:
            missed, self._missed = self._missed, 0
            return Lagged(missed)
        return self._items.popleft()


class Audience:
    """All who watch one context."""

    def __init__(self) -> None:
        self._callbacks: list[Callable[[Sequence[Change]], None]] = []
        self._queues: list[Queue] = []

    def add(self, callback: Callable[[Sequence[Change]], None]) -> Callable[[], None]:
        """Calls it with what each edit changes; what is returned ends that."""
        self._callbacks.append(callback)

        def remove() -> None:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

        return remove

    async def iterate(self, queue: Queue) -> AsyncGenerator[Told, None]:
        """What comes into the queue, until the iteration is closed."""
        try:
            while True:
                yield await queue.take()
        finally:
            self._queues.remove(queue)

    def open_queue(self) -> Queue:
        """A queue for `iterate`."""
        queue = Queue()
        self._queues.append(queue)
        return queue

    def tell(self, changes: Sequence[Change]) -> None:
        """Tells all."""
        for queue in self._queues:
            queue.put(changes)
        for callback in tuple(self._callbacks):
            callback(changes)

    def end(self, error: TallystickError) -> None:
        """Ends every iteration, once what waits is taken."""
        for queue in self._queues:
            queue.end(error)
