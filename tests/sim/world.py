"""The virtual world: one clock, one queue of what happens next, and randomness from one seed."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Final

_STEP_S: Final = 1e-6
"""The clock moves by this with every look at it, as a real one does: some loops of pysyncobj end by it."""


class World:
    """Virtual time. Everything that happens is an event: a function to call at a time."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._now_s = 1000.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def rng_for(self, *whose: str) -> random.Random:
        """A source of randomness of its own: what one part draws does not change what another does, so a script with
        one fault less is otherwise much the same run."""
        return random.Random(" ".join((str(self._seed), *whose)))

    def clock(self) -> float:
        """The virtual time."""
        self._now_s += _STEP_S
        return self._now_s

    def after(self, delay_s: float, event: Callable[[], None]) -> None:
        """Lets something happen later."""
        self._count += 1
        heapq.heappush(self._events, (self._now_s + delay_s, self._count, event))

    def run_until(self, end_s: float) -> None:
        """Lets time pass."""
        while self._events and self._events[0][0] <= end_s:
            time_s, _, event = heapq.heappop(self._events)
            self._now_s = max(self._now_s, time_s)
            event()
        self._now_s = max(self._now_s, end_s)

    @property
    def now_s(self) -> float:
        """The virtual time, looked at from outside of it."""
        return self._now_s
