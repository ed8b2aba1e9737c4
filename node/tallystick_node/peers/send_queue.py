"""What waits to be sent to one peer: bounded, and emptied in frames.

Rules of this file:
- Order is kept. Nothing is left out of the middle: when there is no room, the whole queue breaks.
- While closed, a message is dropped: it could not arrive before the link is up again, and Raft sends anew.

Why a full queue breaks the link instead of dropping one message: the peer has not taken 16 MiB, so what stands in
line is old. Raft copes with a gap, but has to find it out, and the peer would first get all that is stale. A reset
throws the backlog away at once and tells consensus, so that the leader starts over from what the peer says it has.
"""

from __future__ import annotations

import asyncio
from collections import deque

from tallystick_node.peers.frames import ENVELOPE_BYTES, join_messages
from tallystick_node.peers.limits import JOIN_BYTES, QUEUE_BYTES, QUEUE_MESSAGES


class SendQueue:
    """The outgoing messages of one peer."""

    def __init__(self, max_bytes: int = QUEUE_BYTES, max_messages: int = QUEUE_MESSAGES) -> None:
        self._max_bytes = max_bytes
        self._max_messages = max_messages
        self._messages: deque[bytes] = deque()
        self._size_bytes = 0
        self._open = False
        self._filled = asyncio.Event()
        self._broken = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Whether messages are taken."""
        return self._open

    def open(self) -> None:
        """Begin a new link; nothing is in line, for a closed queue is empty."""
        self._broken.clear()
        self._open = True

    def close(self) -> None:
        """Drop what is in line and what comes from now on."""
        self._messages.clear()
        self._size_bytes = 0
        self._filled.clear()
        self._open = False

    def put(self, message: bytes) -> bool:
        """Add a serialized message; false if it was dropped."""
        if not self._open:
            return False
        if len(self._messages) >= self._max_messages or self._size_bytes + len(message) > self._max_bytes:
            self.close()
            self._broken.set()
            return False
        self._messages.append(message)
        self._size_bytes += len(message)
        self._filled.set()
        return True

    async def wait_broken(self) -> None:
        """Return once the queue has overflowed."""
        await self._broken.wait()

    async def take_frame(self) -> tuple[bytes, int]:
        """Wait for messages and take what goes into one frame: the serialized frame and how many it holds."""
        while not self._messages:  # it may have been closed between being filled and our turn
            await self._filled.wait()
        taken = [self._messages.popleft()]
        self._size_bytes -= len(taken[0])
        room_bytes = JOIN_BYTES - len(taken[0]) - ENVELOPE_BYTES
        while self._messages and len(self._messages[0]) + ENVELOPE_BYTES <= room_bytes:
            message = self._messages.popleft()
            taken.append(message)
            self._size_bytes -= len(message)
            room_bytes -= len(message) + ENVELOPE_BYTES
        if not self._messages:
            self._filled.clear()
        return join_messages(taken), len(taken)
