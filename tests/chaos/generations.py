"""Keys in use for a while: a generation of agents is written to, retired, judged and forgotten, and another comes.

Rules of this file:
- A key has few enough operations for the checkers, and few undecided ones, for those make a search long.
- A generation is judged when its last operation has ended; so many at most are not judged yet, or the load waits.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from tallystick.testing import History

KEYS: Final = 3
KEY_OPERATIONS_MAX: Final = 700
"""Operations on a key when its generation is retired; those under way come on top."""
UNDECIDED_MAX: Final = 15
"""Undecided operations of a generation, likewise."""
OPEN_MAX: Final = 6
"""Generations that are not judged yet."""


class Generation:
    """Some agents, and what was done to them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.agents = tuple(f"{name}-{letter}" for letter in "abcdefghij"[:KEYS])
        self.history = History()
        self.highest_revision = 0
        self.undecided = 0
        self._operations: Counter[str] = Counter()
        self._in_flight = 0
        self._is_retired = False
        self._is_idle = asyncio.Event()

    @property
    def is_full(self) -> bool:
        """Whether it is time for another."""
        return self.undecided >= UNDECIDED_MAX or max(self._operations.values(), default=0) >= KEY_OPERATIONS_MAX

    def enter(self) -> None:
        """An operation begins."""
        self._in_flight += 1

    def leave(self, agent: str) -> None:
        """It has ended."""
        self._in_flight -= 1
        self._operations[agent] += 1
        self._look()

    async def retire(self) -> None:
        """No operation begins any more; waits for the last to end."""
        self._is_retired = True
        self._look()
        await self._is_idle.wait()

    def _look(self) -> None:
        if self._is_retired and not self._in_flight:
            self._is_idle.set()


class Generations:
    """One generation after the other.

    Args:
        judge: what to do with a finished one.
        tasks: where judging runs.
    """

    def __init__(self, name: str, judge: Callable[[Generation], Awaitable[None]], tasks: asyncio.TaskGroup) -> None:
        self.count = 0
        self._name = name
        self._judge = judge
        self._tasks = tasks
        self._open = 0
        self._freed = asyncio.Event()
        self._current = self._next()

    @property
    def open_count(self) -> int:
        """Generations that are not judged yet."""
        return self._open

    async def enter(self) -> Generation:
        """The one to use for the next operation; `leave` it afterwards."""
        while self._current.is_full:
            if self._open < OPEN_MAX:
                self.finish()
                self._current = self._next()
            else:
                self._freed.clear()
                await self._freed.wait()
        self._current.enter()
        return self._current

    def finish(self) -> None:
        """Retires the one in use."""
        self._tasks.create_task(self._end(self._current))

    async def _end(self, generation: Generation) -> None:
        await generation.retire()
        if len(generation.history):
            await self._judge(generation)
        self._open -= 1
        self._freed.set()

    def _next(self) -> Generation:
        self.count += 1
        self._open += 1
        return Generation(f"{self._name}-{self.count}")
