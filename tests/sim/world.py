"""The virtual world: one clock, one queue of what happens next, and the network between the nodes."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Final

from tallystick.peer.v1.peer_pb2 import RaftMessage

_STEP_S: Final = 1e-6
"""The clock moves by this with every look at it, as a real one does: some loops of pysyncobj end by it."""

_UP: Final = True
_DOWN: Final = False


class World:
    """Virtual time. Everything that happens is an event: a function to call at a time."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self._now_s = 1000.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

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


class Network:
    """Ordered links, one a direction. A cut link loses what is on it and what is sent; its sender is told."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._deliver: dict[str, Callable[[str, RaftMessage], None]] = {}
        self._tell: dict[str, Callable[[str, bool], None]] = {}
        self._cut: set[tuple[str, str]] = set()
        self._epoch: dict[tuple[str, str], int] = {}
        self._free_at_s: dict[tuple[str, str], float] = {}
        self.delay_s = (0.0002, 0.002)

    def attach(self, node: str, deliver: Callable[[str, RaftMessage], None], tell: Callable[[str, bool], None]) -> None:
        """A node came up: it is told of its links, and the others of theirs to it."""
        for other in self._deliver:
            self.restore(node, other)
            self.restore(other, node)
        self._deliver[node], self._tell[node] = deliver, tell
        for other in self._deliver:
            if other != node:
                self._announce(node, other)
                self._announce(other, node)

    def detach(self, node: str) -> None:
        """A node is down: its links are gone."""
        del self._deliver[node], self._tell[node]
        for other in list(self._deliver):
            self._break((other, node))
            self._break((node, other))

    def cut(self, source: str, target: str) -> None:
        """Cuts one direction."""
        self._cut.add((source, target))
        self._break((source, target))

    def restore(self, source: str, target: str) -> None:
        """Ends a cut."""
        if (source, target) in self._cut:
            self._cut.discard((source, target))
            self._announce(source, target)

    def heal(self) -> None:
        """Ends every cut."""
        for source, target in sorted(self._cut):
            self.restore(source, target)

    def send(self, source: str, target: str, message: RaftMessage) -> None:
        """Puts a message on a link."""
        link = (source, target)
        if link in self._cut or target not in self._deliver:
            return
        epoch = self._epoch.get(link, 0)
        data = message.SerializeToString()  # what arrives is a copy, as over a wire
        at_s = max(self._world.now_s + self._world.rng.uniform(*self.delay_s), self._free_at_s.get(link, 0.0))
        self._free_at_s[link] = at_s

        def arrive() -> None:
            if self._epoch.get(link, 0) == epoch and target in self._deliver:
                self._deliver[target](source, RaftMessage.FromString(data))

        self._world.after(at_s - self._world.now_s, arrive)

    def _break(self, link: tuple[str, str]) -> None:
        self._epoch[link] = self._epoch.get(link, 0) + 1
        if link[0] in self._tell:
            self._tell[link[0]](link[1], _DOWN)

    def _announce(self, source: str, target: str) -> None:
        if (source, target) not in self._cut and source in self._tell and target in self._deliver:
            self._tell[source](target, _UP)
