"""What a stream has to say of its client's updates: which were refused, how far they are on disk.

Rules of this file:
- A refusal is said before an ack that covers it: an ack covers all before it but what was refused.
- Acks are cumulative: of each level only the newest waits here. Refusals are bounded by `until_room`.
"""

from __future__ import annotations

import asyncio
from collections import deque

from tallystick.errors import TallystickError
from tallystick.v1 import context_pb2, state_pb2
from tallystick_node.context_store.merged.limits import WINDOW_UPDATES


class Outbox:
    """See the module.

    Attributes:
        wake: set whenever there is something to look at, here or beside it.
        failure: what ends the stream.
        has_ended: no more updates will come, and all are settled.
    """

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self.failure: BaseException | None = None
        self.has_ended = False
        self._refused: deque[context_pb2.SyncRefused] = deque()
        self._acks: dict[context_pb2.AckLevel.ValueType, context_pb2.SyncAck] = {}
        self._room = asyncio.Event()

    def ack(self, number: int, level: context_pb2.AckLevel.ValueType, cursor: context_pb2.Cursor) -> None:
        """The client's update `number`, and all before it, have reached a level."""
        self._acks[level] = context_pb2.SyncAck(number=number, level=level, cursor=cursor)
        self.wake.set()

    def refuse(self, number: int, error: TallystickError) -> None:
        """This one update is not taken."""
        described = state_pb2.Error(reason=error.reason, message=error.message, metadata=error.metadata)
        self._refused.append(context_pb2.SyncRefused(number=number, error=described))
        self.wake.set()

    def fail(self, error: BaseException) -> None:
        """Ends the stream, once what waits has been said."""
        self.failure = self.failure or error
        self.wake.set()

    def end(self) -> None:
        """See `has_ended`."""
        self.has_ended = True
        self.wake.set()

    async def until_room(self) -> None:
        """Returns once the client has taken most refusals."""
        while len(self._refused) >= WINDOW_UPDATES:
            self._room.clear()
            await self._room.wait()

    def take(self) -> list[context_pb2.SyncResponse]:
        """What is to be said now."""
        refused = [context_pb2.SyncResponse(refused=refused) for refused in self._refused]
        acks = [context_pb2.SyncResponse(ack=self._acks[level]) for level in sorted(self._acks)]
        self._refused.clear()
        self._acks.clear()
        self._room.set()
        return [*refused, *acks]
