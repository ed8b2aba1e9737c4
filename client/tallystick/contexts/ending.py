"""The end of a task that another one began."""

from __future__ import annotations

import asyncio


async def end(task: asyncio.Task[None]) -> None:
    """Cancels a task, and returns once it has ended; raises what it failed with.

    Not `suppress(CancelledError)` around `await task`: that takes the cancellation of who waits for the task's.
    """
    task.cancel()
    await asyncio.wait((task,))
    if not task.cancelled():
        task.result()
