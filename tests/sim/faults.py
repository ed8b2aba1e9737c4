"""What can go wrong: each fault is a method, drawn at random over a simulation's life."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from tests.sim.node import SimNode
from tests.sim.world import Network, World

KINDS: Final = (
    "crash",
    "crash_leader",
    "crash_all",
    "cut",
    "one_way",
    "isolate",
    "flap",
    "flap",
    "falter",
    "falter",
    "delay",
    "slow_disk",
    "heal",
    "heal",
)
"""What a seed draws from; twice means twice as often."""

FALTERING: Final = ("falter", "falter", "falter", "crash_leader", "delay", "heal")
"""What shows a leader that has to rewind and then goes: where pysyncobj alone loses entries."""


class Faults:
    """The faults of one simulation, all from its world's randomness."""

    def __init__(
        self, world: World, network: Network, nodes: Mapping[str, SimNode], kinds: Sequence[str] = KINDS
    ) -> None:
        self._world = world
        self._rng = world.rng
        self._network = network
        self._nodes = nodes
        self._names = list(nodes)
        self._kinds = kinds

    def strike(self) -> str:
        """Lets something go wrong; returns what."""
        kind = self._rng.choice(self._kinds)
        strike = {
            "crash": self.crash,
            "crash_leader": self.crash_leader,
            "crash_all": self.crash_all,
            "cut": self.cut,
            "one_way": self.one_way,
            "isolate": self.isolate,
            "flap": self.flap,
            "falter": self.falter,
            "delay": self.delay,
            "slow_disk": self.slow_disk,
            "heal": self.heal,
        }[kind]
        strike()
        return kind

    def crash(self) -> None:
        """A node loses its power for a while."""
        self._crash(self._rng.choice(self._names))

    def crash_leader(self) -> None:
        """Every node that believes it leads does."""
        for name in self._leaders():
            self._crash(name)

    def crash_all(self) -> None:
        """The house goes dark; not as often as the rest."""
        if self._rng.random() < 0.3:
            for name in self._names:
                self._crash(name)

    def cut(self) -> None:
        """Two nodes do not hear each other."""
        one, other = self._rng.sample(self._names, 2)
        self._cut_both(one, other)

    def one_way(self) -> None:
        """One node does not hear another."""
        self._network.cut(*self._rng.sample(self._names, 2))

    def isolate(self) -> None:
        """A node is alone."""
        self._isolate(self._rng.choice(self._names))

    def flap(self) -> None:
        """A link that breaks and comes back, several times: messages are lost, answers come late."""
        self._flap(*self._rng.sample(self._names, 2))

    def falter(self) -> None:
        """A leader whose messages reach one follower now and then, and half of them not at all; then it is gone."""
        leaders = self._leaders()
        if not leaders:
            return
        leader = leaders[0]
        others = [name for name in self._names if name != leader]
        for other in self._rng.sample(others, len(others) // 2):
            self._network.cut(leader, other)
        self._flap(leader, self._rng.choice(others))

        def leave() -> None:
            self._network.heal()
            self._isolate(leader)

        self._world.after(self._rng.uniform(0.05, 0.35), leave)

    def delay(self) -> None:
        """The network is slow, or quick again."""
        self._network.delay_s = (0.0002, self._rng.choice((0.002, 0.02, 0.1)))

    def slow_disk(self) -> None:
        """A node's disk is slow, or quick again."""
        self._nodes[self._rng.choice(self._names)].sync_s = (0.0001, self._rng.choice((0.001, 0.01, 0.2)))

    def heal(self) -> None:
        """The network is well."""
        self._network.heal()
        self._network.delay_s = (0.0002, 0.002)

    def _leaders(self) -> list[str]:
        return [name for name, node in self._nodes.items() if node.is_up and node.replica.kernel.is_leader]

    def _crash(self, name: str) -> None:
        node = self._nodes[name]
        if node.is_up:
            node.crash()
            self._world.after(self._rng.uniform(0.01, 0.8), node.start)

    def _cut_both(self, one: str, other: str) -> None:
        self._network.cut(one, other)
        self._network.cut(other, one)

    def _isolate(self, name: str) -> None:
        for other in self._names:
            if other != name:
                self._cut_both(name, other)

    def _flap(self, one: str, other: str) -> None:
        for _ in range(self._rng.randint(1, 8)):
            cut_after_s = self._rng.uniform(0.0, 0.3)
            self._world.after(cut_after_s, lambda: self._network.cut(one, other))
            healed_after_s = cut_after_s + self._rng.uniform(0.001, 0.03)
            self._world.after(healed_after_s, lambda: self._network.restore(one, other))
