"""AppendStream: gathers what waits on a stream into groups, so that order costs no round trip a request.

A group is decided as one, and the next one is proposed only when it is: whatever is lost on the way, no request of a
stream is decided before an earlier one of it. While a group is decided the next one gathers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from tallystick.v1 import state_pb2
from tallystick_node.core import limits

WINDOW_REQUESTS: Final = 64
"""Requests of one stream that wait here; further ones wait in the client's flow control."""

GROUP_BYTES: Final = limits.COMMAND_BYTES // 2
"""A group takes no further request beyond this: with the last one it mostly still fits into one command."""


async def groups(
    requests: AsyncIterator[state_pb2.AppendRequest],
) -> AsyncGenerator[list[state_pb2.AppendRequest], None]:
    """What has come since the last group, each time at least one request."""
    waiting: asyncio.Queue[state_pb2.AppendRequest | None] = asyncio.Queue(WINDOW_REQUESTS)
    reading = asyncio.create_task(_read(requests, waiting))
    try:
        ended = False
        while not ended:
            group, ended = await _take(waiting)
            if group:
                yield group
        await reading
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def _read(
    requests: AsyncIterator[state_pb2.AppendRequest], waiting: asyncio.Queue[state_pb2.AppendRequest | None]
) -> None:
    try:
        async for request in requests:
            await waiting.put(request)
    finally:
        if not _is_cancelled():
            await waiting.put(None)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _take(
    waiting: asyncio.Queue[state_pb2.AppendRequest | None],
) -> tuple[list[state_pb2.AppendRequest], bool]:
    """A group, and whether the stream ended with it."""
    first = await waiting.get()
    if first is None:
        return [], True
    group, size_bytes = [first], first.ByteSize()
    while size_bytes < GROUP_BYTES and not waiting.empty():
        request = waiting.get_nowait()
        if request is None:
            return group, True
        group.append(request)
        size_bytes += request.ByteSize()
    return group, False
