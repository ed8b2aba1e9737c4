"""Linearizable reads, many to a round.

A reader must see everything that was acknowledged before its read began. So it waits for a confirmation that was asked
for after that moment. Who comes while one is under way cannot share it (something may have been acknowledged since it
began); all of those share the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tallystick.errors import Reason, TallystickError, Unavailable


class Barrier:
    """See the module.

    Args:
        confirm: returns once this node has applied all that was acknowledged before the call (`Runner.confirm_read`).
    """

    def __init__(self, confirm: Callable[[], Awaitable[object]]) -> None:
        self._confirm = confirm
        self._next: asyncio.Future[None] | None = None
        self._running: asyncio.Task[None] | None = None

    async def wait(self) -> None:
        """Returns once this node has applied all that was acknowledged anywhere before the call.

        Raises:
            Unavailable: no leader confirmed it in time, or this node is stopping.
        """
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        shared = self._next
        if self._running is None:
            self._start()
        await asyncio.shield(shared)

    def _start(self) -> None:
        shared, self._next = self._next, None
        if shared is not None:
            self._running = asyncio.create_task(self._run(shared))

    async def _run(self, shared: asyncio.Future[None]) -> None:
        try:
            await self._confirm()
        except TallystickError as error:
            shared.set_exception(error)
            shared.exception()  # seen: those who wait raise it, and there may be none left
        else:
            shared.set_result(None)
        finally:
            if not shared.done():
                shared.set_exception(Unavailable("this node is stopping", reason=Reason.STOPPING))
                shared.exception()
            self._running = None
            self._start()
