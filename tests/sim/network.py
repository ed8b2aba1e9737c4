"""The simulated network: ordered links, one a direction.

Rules of this file:
- A link that breaks loses what is on it, and its sender is told.
- `straggle` and `repeat` are worse than what the transport allows: it is one ordered stream, and Raft needs less.
- What arrives is a copy, as over a wire.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tallystick.peer.v1.peer_pb2 import RaftMessage
from tests.sim.world import World

_UP: Final = True
_DOWN: Final = False

QUICK_S: Final = (0.0002, 0.002)
"""How long a message takes where nothing is wrong."""
CALM_DELAY_S: Final = 0.02
"""A link that takes longer than this is not well."""


@dataclass
class _Link:
    """One direction between two nodes.

    Attributes:
        delay_s: its own delay, instead of the network's.
        straggles_until_s, late_s: until then, what is sent arrives up to so much later, in any order.
        repeats_until_s: until then, what is sent arrives twice.
        epoch, life: what is on its way is lost when one changes; what straggles, only with `life`.
        ill_s: when it was last not well.
    """

    rng: random.Random
    is_cut: bool = False
    epoch: int = 0
    life: int = 0
    free_at_s: float = 0.0
    delay_s: tuple[float, float] | None = None
    straggles_until_s: float = 0.0
    late_s: float = 0.0
    repeats_until_s: float = 0.0
    ill_s: float = 0.0


class Network:
    """See the module.

    Attributes:
        longest_s: no message was ever on its way for longer.
        is_calm: nothing is cut any more, whatever a scheme that began earlier still wants.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._deliver: dict[str, Callable[[str, RaftMessage], None]] = {}
        self._tell: dict[str, Callable[[str, bool], None]] = {}
        self._links: dict[tuple[str, str], _Link] = {}
        self._delay_s = QUICK_S
        self.longest_s = QUICK_S[1]
        self.is_calm = False

    # What nodes do.

    def attach(self, node: str, deliver: Callable[[str, RaftMessage], None], tell: Callable[[str, bool], None]) -> None:
        """A node came up: it is told of its links, and the others of theirs to it. What is cut stays cut."""
        self._deliver[node], self._tell[node] = deliver, tell
        for other in self._deliver:
            if other != node:
                self._announce(node, other)
                self._announce(other, node)

    def detach(self, node: str) -> None:
        """A node is down: its links are gone."""
        del self._deliver[node], self._tell[node]
        for other in list(self._deliver):
            self._break(other, node)
            self._break(node, other)

    def send(self, source: str, target: str, message: RaftMessage) -> None:
        """Puts a message on a link."""
        link = self._link(source, target)
        if link.is_cut or target not in self._deliver:
            return
        data = message.SerializeToString()
        self._put(link, source, target, data)
        if link.repeats_until_s > self._world.now_s and not message.HasField("forward"):
            self._put(link, source, target, data)

    def forget(self, node: str) -> None:
        """Nothing that is on its way from a node, or to it, arrives any more."""
        for (source, target), link in self._links.items():
            if node in (source, target):
                link.epoch += 1
                link.life += 1

    # What goes wrong.

    def cut(self, source: str, target: str) -> None:
        """Cuts one direction."""
        if self.is_calm:
            return
        self._link(source, target).is_cut = True
        self._break(source, target)

    def restore(self, source: str, target: str) -> None:
        """Ends a cut."""
        link = self._link(source, target)
        if link.is_cut:
            link.is_cut = False
            link.ill_s = max(link.ill_s, self._world.now_s)
            self._announce(source, target)

    def straggle(self, source: str, target: str, for_s: float, late_s: float) -> None:
        """What is sent for a while arrives up to so much later, in any order, behind what is sent after it.

        It is as if it had been on a connection that was given up."""
        link = self._link(source, target)
        link.straggles_until_s, link.late_s = self._world.now_s + for_s, late_s
        link.ill_s = link.straggles_until_s
        self.longest_s = max(self.longest_s, late_s)

    def repeat(self, source: str, target: str, for_s: float) -> None:
        """What is sent arrives twice for a while: worse than the transport allows too. Not so what a follower hands on
        for its callers: that is told apart above consensus, by its idempotency key."""
        self._link(source, target).repeats_until_s = self._world.now_s + for_s

    def slow(self, source: str, target: str, longest_s: float) -> None:
        """One direction is slow."""
        self._link(source, target).delay_s = (longest_s / 2, longest_s)
        self.longest_s = max(self.longest_s, longest_s)

    def slow_all(self, longest_s: float) -> None:
        """All links take up to so long, but for those that are slow on their own."""
        self._mark_ill()
        self._delay_s = (QUICK_S[0], longest_s)
        self.longest_s = max(self.longest_s, longest_s)

    def join(self) -> None:
        """Ends every cut."""
        for source, target in sorted(self._links):
            self.restore(source, target)

    def heal(self) -> None:
        """Everything that goes wrong here ends."""
        self._mark_ill()
        self._delay_s = QUICK_S
        for link in self._links.values():
            link.delay_s = None
        self.join()

    def is_joined(self, source: str, target: str) -> bool:
        """Whether something can be sent."""
        return not self._link(source, target).is_cut and source in self._tell and target in self._deliver

    def ill_s(self, source: str, target: str) -> float:
        """When a link was last not well; now, if it is not."""
        link = self._link(source, target)
        if link.is_cut or self._range(link)[1] > CALM_DELAY_S:
            link.ill_s = max(link.ill_s, self._world.now_s)
        return link.ill_s

    # Inside.

    def _link(self, source: str, target: str) -> _Link:
        link = self._links.get((source, target))
        if link is None:
            link = self._links[source, target] = _Link(self._world.rng_for("link", source, target))
        return link

    def _range(self, link: _Link) -> tuple[float, float]:
        return link.delay_s or self._delay_s

    def _mark_ill(self) -> None:
        for source, target in self._links:
            self.ill_s(source, target)

    def _put(self, link: _Link, source: str, target: str, data: bytes) -> None:
        if self._world.now_s < link.straggles_until_s:
            life = link.life

            def straggle() -> None:
                if link.life == life:
                    self._arrive(source, target, data)

            self._world.after(link.rng.uniform(0.0, link.late_s), straggle)
            return
        epoch = link.epoch
        at_s = max(self._world.now_s + link.rng.uniform(*self._range(link)), link.free_at_s)
        link.free_at_s = at_s

        def arrive() -> None:
            if link.epoch == epoch:
                self._arrive(source, target, data)

        self._world.after(at_s - self._world.now_s, arrive)

    def _arrive(self, source: str, target: str, data: bytes) -> None:
        if target in self._deliver:
            self._deliver[target](source, RaftMessage.FromString(data))

    def _break(self, source: str, target: str) -> None:
        link = self._link(source, target)
        link.epoch += 1
        link.free_at_s = 0.0
        link.ill_s = max(link.ill_s, self._world.now_s)
        if source in self._tell:
            self._tell[source](target, _DOWN)

    def _announce(self, source: str, target: str) -> None:
        if not self._link(source, target).is_cut and source in self._tell and target in self._deliver:
            self._tell[source](target, _UP)
