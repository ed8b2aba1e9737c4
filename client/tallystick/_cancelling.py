"""What gRPC swallows: a task that is cancelled while its call ends by itself goes on, with the status of the call.

Whoever may call again asks here after each call that failed; else a timeout around the whole, or a cancellation, would
be ignored until the call's own deadline.

Rules of this file:
- Only what came since the call began counts: who cleans up after a cancellation may still call, and call again.
"""

from __future__ import annotations

import asyncio


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
