"""What gRPC swallows: a task that is cancelled while its call ends by itself goes on, with the status of the call.

Whoever calls again and again asks here after each call that failed, or nothing would end it: a node that stops while a
peer is down would wait for ever.
"""

from __future__ import annotations

import asyncio


def raise_if_cancelled() -> None:
    """Ends the task that runs, if it was told to end.

    Raises:
        asyncio.CancelledError: it was.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
