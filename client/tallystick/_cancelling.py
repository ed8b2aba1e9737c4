"""Cancellations, where they are swallowed and where they must wait.

gRPC swallows some: a task that is cancelled while its call ends by itself goes on, with the status of the call.

Whoever may call again asks here after each call that failed; else a timeout around the whole, or a cancellation, would
be ignored until the call's own deadline.

Rules of this file:
- Only what came since the call began counts: who cleans up after a cancellation may still call, and call again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


def cancellations() -> int:
    """How often the running task was told to end so far; for `raise_if_cancelled`."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def raise_if_cancelled(since: int) -> None:
    """Ends the task that runs, if it was told to end since then.

    Example:
        before = cancellations()
        try:
            return await call
        except grpc.aio.AioRpcError:
            raise_if_cancelled(before)
            ...  # once more

    Args:
        since: what `cancellations` said before the call.

    Raises:
        asyncio.CancelledError: it was.
    """
    if cancellations() > since:
        raise asyncio.CancelledError from None


async def to_its_end(work: Coroutine[object, object, T]) -> T:
    """What the work returns; it is never cut. Who is cancelled meanwhile is told so once it has ended.

    For what is short and must not be left half done.

    Raises:
        asyncio.CancelledError: the caller was cancelled; the work is done.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait((task,))
        raise
