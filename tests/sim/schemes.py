"""Faults that take several steps: what shows a certain weakness, and hardly comes about by chance.

Rules of this file: a scheme finds out itself who leads; all that it draws comes from the variant in its line.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from tests.sim.network import Network
from tests.sim.node import SimNode
from tests.sim.running import QUICK_SYNC_S
from tests.sim.world import World

_LOOK_EVERY_S: Final = 0.0001


@dataclass(frozen=True, slots=True)
class Schemes:
    """See the module. Times are seconds from the scheme's beginning."""

    world: World
    network: Network
    nodes: Mapping[str, SimNode]

    def falter(self, leave_s: str, variant: str) -> None:
        """A leader whose messages reach one follower now and then, and half of them not at all; then it is gone.

        Its messages are resent in part: where pysyncobj deletes what was acknowledged.
        """
        rng = random.Random(variant)
        roles = self._roles(rng)
        if roles is None:
            return
        leader, others = roles
        for other in rng.sample(others, len(others) // 2):
            self.network.cut(leader, other)
        reached = rng.choice(others)
        for _ in range(rng.randint(1, 8)):
            cut_s = rng.uniform(0.0, 0.3)
            self.world.after(cut_s, lambda: self.network.cut(leader, reached))
            self.world.after(cut_s + rng.uniform(0.001, 0.03), lambda: self.network.restore(leader, reached))
        self.world.after(float(leave_s), lambda: self._leave_alone(leader))

    def rewind(self, cut_s: str, variant: str) -> None:
        """A leader decides with one follower, which then hears again, late, what it was sent first; then the leader is
        gone.

        Whoever deletes what comes behind an old message has lost what it acknowledged, and nobody sends it again.
        """
        rng = random.Random(variant)
        roles = self._roles(rng)
        if roles is None:
            return
        leader, (follower, *others) = roles
        for other in others[len(others) // 2 :]:
            self.network.cut(leader, other)
        self.network.straggle(leader, follower, 0.05, float(cut_s) + 0.2)
        self.world.after(float(cut_s), lambda: self.network.cut(leader, follower))
        self.world.after(float(cut_s) + rng.uniform(0.1, 0.3), lambda: self._leave_alone(leader))

    def outage(self, down_s: str, variant: str) -> None:
        """The disks of all but the leader are slow; then the power goes everywhere, and the leader returns last.

        What was acknowledged before it was synced is gone on a majority.
        """
        rng = random.Random(variant)
        roles = self._roles(rng)
        if roles is None:
            return
        leader, others = roles
        for other in others:
            self.nodes[other].slow_disk(0.4)

        def crash() -> None:
            for name, node in self.nodes.items():
                if node.is_up:
                    node.crash()
                    node.slow_disk(QUICK_SYNC_S[1])
                    self.world.after(float(down_s) if name == leader else rng.uniform(0.01, 0.1), node.start)

        self.world.after(rng.uniform(0.05, 0.2), crash)

    def relapse(self, down_s: str, variant: str) -> None:
        """A leader loses what one follower has acknowledged, leads again, and hears these acknowledgements only now.

        Its disk is slow, so that the power takes what the follower has; the follower is cut off, so that it is elected
        by the others; as soon as it is it reaches nobody, and would decide alone if it believed what it hears.
        """
        rng = random.Random(variant)
        roles = self._roles(rng)
        if roles is None:
            return
        leader, (follower, *others) = roles
        node = self.nodes[leader]
        crash_s = rng.uniform(0.03, 0.15)
        node.slow_disk(1.0)
        for other in others:
            self.network.cut(leader, other)
        self.network.straggle(follower, leader, crash_s, crash_s + 0.8)

        def crash() -> None:
            if node.is_up:
                node.crash()
                node.slow_disk(QUICK_SYNC_S[1])
                self.world.after(float(down_s), node.start)
            self._leave_alone(follower)
            self._when_it_leads(leader, self.world.now_s + 1.0, fail)

        def fail() -> None:
            for other in others:
                self.network.cut(leader, other)
            self.world.after(rng.uniform(0.2, 0.4), lambda: self._leave_alone(leader))

        self.world.after(crash_s, crash)

    def _when_it_leads(self, name: str, end_s: float, event: Callable[[], None]) -> None:
        """Lets something happen as soon as this node leads, if it does before the end."""
        node = self.nodes[name]
        if node.is_up and node.replica.kernel.is_leader:
            event()
        elif self.world.now_s < end_s:
            self.world.after(_LOOK_EVERY_S, lambda: self._when_it_leads(name, end_s, event))

    def _roles(self, rng: random.Random) -> tuple[str, list[str]] | None:
        """Who leads, and the others in any order."""
        leaders = [name for name, node in self.nodes.items() if node.is_up and node.replica.kernel.is_leader]
        if not leaders:
            return None
        others = [name for name in self.nodes if name != leaders[0]]
        rng.shuffle(others)
        return leaders[0], others

    def _leave_alone(self, name: str) -> None:
        """All are joined, but for one node that is alone."""
        self.network.join()
        for other in self.nodes:
            if other != name:
                self.network.cut(name, other)
                self.network.cut(other, name)
