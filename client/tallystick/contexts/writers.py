"""Writer ids nobody had before: asked for in blocks, handed out once each.

Rules of this file:
- Every incarnation of a replica writes under an id of its own; so does every document that takes its place.
- An id that was handed out is never handed out again, whatever became of it: there are enough.
"""

from __future__ import annotations

import asyncio
from collections import deque

from tallystick._calls import Calls
from tallystick._methods import allocate_writers_method
from tallystick.contexts.limits import WRITERS_ASKED
from tallystick.v1 import context_pb2


class Writers:
    """The writer ids of one client."""

    def __init__(self, calls: Calls, *, namespace: str, actor: str) -> None:
        self._calls = calls
        self._namespace, self._actor = namespace, actor
        self._free: deque[int] = deque()
        self._asking = asyncio.Lock()

    async def take(self, *, timeout_s: float | None = None) -> int:
        """An id that is the caller's alone.

        Raises:
            Unavailable: no majority answers.
            Undecided: none answered in time.
        """
        async with self._asking:
            if not self._free:
                await self._ask(timeout_s)
            return self._free.popleft()

    def drop(self) -> None:
        """Those at hand may have been handed out: this process may be an old copy of one that went on."""
        self._free.clear()

    async def _ask(self, timeout_s: float | None) -> None:
        request = context_pb2.AllocateWritersRequest(namespace=self._namespace, actor=self._actor, count=WRITERS_ASKED)
        answer = await self._calls.write(allocate_writers_method, request, key="", timeout_s=timeout_s)
        self._calls.session.saw(answer.header.revision)
        self._free.extend(range(answer.first, answer.first + answer.count))
