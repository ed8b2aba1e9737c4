"""What is merged into a document, to those who have it open here.

Rules of this file:
- A subscription gives what was merged after it began, in the order of the update log, but what its owner merged itself.
- Nothing is left out unnoticed: where something had to be (too much waited, an answer of the worker was lost), the
  queue is dropped and `Lagging` stands in its place. Its owner then sends what a state vector lacks.
- A subscription ends by an error, which stays: each further look raises it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final, NamedTuple, Self, TypeAlias

from tallystick.errors import TallystickError
from tallystick.v1 import context_pb2
from tallystick_node.contexts.ids import ContextId
from tallystick_node.contexts.limits import SUBSCRIBER_BYTES

_OVERHEAD_BYTES: Final = 256
"""Of one update in a queue: none is free."""


class Pushed(NamedTuple):
    """An update that was merged, and the document after it."""

    number: int
    update: bytes
    edit: context_pb2.Edit
    state_vector: bytes
    log: bytes = b""


class Lagging(NamedTuple):
    """Something is left out here: send what the replica's state vector lacks."""


class Moved(NamedTuple):
    """The document is in this epoch now. What follows is of the new one. Of this node's update log there, all that was
    carried over is up to this number."""

    document: ContextId
    number: int
    log: bytes = b""


Item: TypeAlias = Pushed | Lagging | Moved


class Subscription:
    """One subscriber of one document; made by `Audience.subscribe`, ended by `close`.

    Args:
        on_item: called whenever there is something new to take; must not block.
    """

    def __init__(
        self,
        document: ContextId,
        on_close: Callable[[Subscription], None],
        on_item: Callable[[], None] | None = None,
    ) -> None:
        self.document = document
        self._on_close = on_close
        self._on_item = on_item
        self._items: deque[Item] = deque()
        self._size_bytes = 0
        self._error: TallystickError | None = None
        self._waiting: asyncio.Future[None] | None = None

    def __aiter__(self) -> AsyncIterator[Item]:
        return self

    async def __anext__(self) -> Item:
        """The next item; waits for it. Raises what ended the subscription."""
        while (item := self.take()) is None:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        return item

    def take(self) -> Item | None:
        """The next item, if there is one now.

        Raises:
            NotFound: the document was deleted.
            Unavailable: STOPPING, the node stops.
        """
        if not self._items:
            if self._error is not None:
                raise self._error
            return None
        item = self._items.popleft()
        if isinstance(item, Pushed):
            self._size_bytes -= len(item.update) + _OVERHEAD_BYTES
        return item

    def drain(self) -> None:
        """Drops what waits: its owner looks at the document itself. Raises as `take`."""
        while self.take() is not None:
            pass

    def close(self) -> None:
        """Wants nothing any more."""
        self._items.clear()
        self._on_close(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What the hub does with it.

    def push(self, pushed: Pushed) -> None:
        """Puts an update behind what waits."""
        size_bytes = len(pushed.update) + _OVERHEAD_BYTES
        if self._size_bytes + size_bytes > SUBSCRIBER_BYTES:
            self.lag()
            return
        if self._items and isinstance(self._items[-1], Lagging):
            return  # the diff that is to come has it
        self._items.append(pushed)
        self._size_bytes += size_bytes
        self._wake()

    def lag(self) -> None:
        """Something is left out from here on, until a diff is taken."""
        moved = [item for item in self._items if isinstance(item, Moved)][-1:]
        self._items = deque([*moved, Lagging()])
        self._size_bytes = 0
        self._wake()

    def move(self, document: ContextId, number: int, log: bytes = b"") -> None:
        """The document is in another epoch: what waits of the old one is in the new one's content."""
        self.document = document
        self._items = deque([Moved(document, number, log)])
        self._size_bytes = 0
        self._wake()

    def end(self, error: TallystickError) -> None:
        """Nothing more comes; what waits may still be taken."""
        self._error = self._error or error
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)
        if self._on_item is not None:
            self._on_item()
