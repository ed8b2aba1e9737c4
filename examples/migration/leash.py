"""Standard input as a leash: a line lets the agent go on, its end ends the agent.

Whoever starts agents holds the other end, so no agent outlives its supervisor, however that one dies. The lines are how
a demonstration stops an agent in the very middle of a batch, without a race: the agent says on standard output that it
holds there, and goes on when it is told.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Final

SUPERVISOR_GONE: Final = 4
"""Exit code: standard input ended."""


class Leash:
    """Counts the lines that came and were not waited for yet."""

    def __init__(self) -> None:
        self._lines = asyncio.Semaphore(0)

    async def hold(self, where: str) -> None:
        """Says where it holds, and waits for a line."""
        print(where, flush=True)
        await self._lines.acquire()

    async def follow(self) -> None:
        """Reads lines, for as long as the process lives."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while await reader.readline():
            self._lines.release()
        os._exit(SUPERVISOR_GONE)  # at once, as by kill -9: the log knows how to go on
