"""Waiting for conditions, with deadlines: tests of a real cluster never sleep for a time and hope.

Example:
    async def is_read() -> bool:
        return (await agent.read()).state.get("page") == 20

    await eventually(is_read, within_s=10, what="page 20 is read")
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

POLL_S: Final = 0.03
"""Between two looks."""

T = TypeVar("T")


async def eventually(look: Callable[[], Awaitable[T | None]], *, within_s: float, what: str) -> T:
    """What `look` gives as soon as it is neither None nor False.

    Raises:
        AssertionError: it was not within the time.
    """
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + within_s
    while True:
        found = await look()
        if found is not None and found is not False:
            return found
        if loop.time() >= deadline_s:
            raise AssertionError(f"not within {within_s} s: {what}")
        await asyncio.sleep(POLL_S)
