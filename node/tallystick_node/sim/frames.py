"""What a connection carries: gRPC's calls, as far as the client, the peers' links and the services use them.

open    call id, method, metadata, seconds left or None, 0       client to server
data    call id, message, size                                   both ways
half    call id, 0                                               client to server: no more requests
end     call id, status code, details, trailing metadata, 0      server to client
cancel  call id, 0                                               client to server
room    call id, bytes taken, 0                                  both ways: flow control
goaway  0                                                        server to client: no new calls
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

OPEN: Final = "open"
DATA: Final = "data"
HALF: Final = "half"
END: Final = "end"
CANCEL: Final = "cancel"
ROOM: Final = "room"
GOAWAY: Final = "goaway"

WINDOW_BYTES: Final = 64 * 1024
"""A stream has no more than this, or one message, on its way in one direction."""


class Intake:
    """Messages of a stream that came and were not read. One reader at a time."""

    def __init__(self) -> None:
        self._messages: deque[bytes] = deque()
        self._reader: asyncio.Future[None] | None = None
        self.is_closed = False
        self._taken_bytes = 0

    def put(self, message: bytes) -> None:
        """One came."""
        self._messages.append(message)
        self._wake()

    def close(self) -> None:
        """None will come."""
        self.is_closed = True
        self._wake()

    async def take(self) -> bytes | None:
        """The next one; None: there will be none."""
        while not self._messages:
            if self.is_closed:
                return None
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        message = self._messages.popleft()
        self._taken_bytes += len(message)
        return message

    def room_made(self) -> int:
        """What was taken and the sender must be told of; 0: it need not know yet."""
        if self._taken_bytes < WINDOW_BYTES // 2:
            return 0
        taken, self._taken_bytes = self._taken_bytes, 0
        return taken

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


class Window:
    """How much of a stream is on its way and not taken. One writer at a time."""

    def __init__(self) -> None:
        self._bytes = 0
        self._writer: asyncio.Future[None] | None = None
        self.is_closed = False

    async def wait(self) -> bool:
        """Returns once there is room; False: the stream is over."""
        while self._bytes >= WINDOW_BYTES and not self.is_closed:
            self._writer = asyncio.get_running_loop().create_future()
            await self._writer
        return not self.is_closed

    def sent(self, size_bytes: int) -> None:
        """This much was put on its way."""
        self._bytes += size_bytes

    def made_room(self, size_bytes: int) -> None:
        """This much was taken."""
        self._bytes = max(0, self._bytes - size_bytes)
        self._wake()

    def close(self) -> None:
        """The stream is over."""
        self.is_closed = True
        self._wake()

    def _wake(self) -> None:
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)
