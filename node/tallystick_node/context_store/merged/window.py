"""The updates of one stream that wait to be merged: bounded, so that a client cannot send faster than is merged."""

from __future__ import annotations

import asyncio
from collections import deque

from tallystick.v1 import context_pb2
from tallystick_node.context_store.merged.limits import WINDOW_BYTES, WINDOW_UPDATES


class Window:
    """Filled by who reads the stream, emptied by who merges; `end` from either side."""

    def __init__(self) -> None:
        self._updates: deque[context_pb2.SyncUpdate] = deque()
        self._size_bytes = 0
        self._changed = asyncio.Event()
        self._ended = False

    async def put(self, update: context_pb2.SyncUpdate) -> None:
        """Adds an update once there is room."""
        while len(self._updates) >= WINDOW_UPDATES or (self._updates and self._size_bytes >= WINDOW_BYTES):
            self._changed.clear()
            await self._changed.wait()
        self._updates.append(update)
        self._size_bytes += len(update.update)
        self._changed.set()

    def end(self) -> None:
        """No more will be added."""
        self._ended = True
        self._changed.set()

    async def take(self) -> list[context_pb2.SyncUpdate]:
        """All that wait, at least one; nothing: the end."""
        while not self._updates and not self._ended:
            self._changed.clear()
            await self._changed.wait()
        taken = list(self._updates)
        self._updates.clear()
        self._size_bytes = 0
        self._changed.set()
        return taken
