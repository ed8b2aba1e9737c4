"""Whoever comes back deposes no leader that works (fault 12 of pysyncobj), watched over a simulation's life.

What is asserted, exactly. A leader is *established* in its term when, for the time of two elections and of the longest
delay and pause that there was so far,
- it and enough others to be a majority with it were not ill: up, not paused, their disks quick and not full;
- the links between it and each of these, both ways, were not ill: not cut, not broken, not slow;
- and no node has a newer term, those that are down included.
From then on, as long as a majority of the same nodes and links stays well, it leads, in this term. Each part is needed:
a node that was granted its election before may come with a newer term, and a leader that is not heard may be replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tests.sim.faults import LONGEST_S
from tests.sim.history import PromiseBroken
from tests.sim.network import Network
from tests.sim.node import SimNode
from tests.sim.world import World

LOOK_EVERY_S: Final = 0.01


class LeaderDeposed(PromiseBroken):
    """A leader that worked was replaced."""


@dataclass(frozen=True, slots=True)
class _Established:
    leader: str
    term: int
    followers: frozenset[str]
    since_s: float


class Leadership:
    """Looks at the nodes now and then; see the module.

    Attributes:
        established_count: how many leaders were established, so that a test can tell that there was something to see.
    """

    def __init__(self, world: World, network: Network, nodes: Mapping[str, SimNode]) -> None:
        self._world = world
        self._network = network
        self._nodes = nodes
        self._established: _Established | None = None
        self.established_count = 0

    def watch(self) -> None:
        """Looks from now on."""
        self._look()
        self._world.after(LOOK_EVERY_S, self.watch)

    def _look(self) -> None:
        well_since_s = {name: self._well_since_s(node) for name, node in self._nodes.items()}
        known = self._established
        if known is None:
            self._establish(well_since_s)
            return
        well = self._well_followers(known.leader, well_since_s, known.since_s) & known.followers
        if not self._is_majority(known.leader, well) or well_since_s[known.leader] > known.since_s:
            self._established = None
            return
        kernel = self._nodes[known.leader].replica.kernel
        if not kernel.is_leader or kernel.term != known.term:
            what = f"in term {kernel.term} it follows {kernel.leader_id}"
            raise LeaderDeposed(f"{known.leader} led in term {known.term} and reached {sorted(well)}; {what}")

    def _establish(self, well_since_s: Mapping[str, float]) -> None:
        calm_s = 2 * SimNode.tuning.election_max_s + self._network.longest_s + LONGEST_S
        since_s = self._world.now_s - calm_s
        newest_term = max(self._term(node) for node in self._nodes.values())
        for name, node in self._nodes.items():
            if not node.is_up or not node.replica.kernel.is_leader or well_since_s[name] > since_s:
                continue
            followers = self._well_followers(name, well_since_s, since_s)
            if self._is_majority(name, followers) and node.replica.kernel.term == newest_term:
                self._established = _Established(name, newest_term, followers, since_s)
                self.established_count += 1

    def _well_followers(self, leader: str, well_since_s: Mapping[str, float], since_s: float) -> frozenset[str]:
        return frozenset(
            name
            for name in self._nodes
            if name != leader
            and well_since_s[name] <= since_s
            and self._network.ill_s(leader, name) <= since_s
            and self._network.ill_s(name, leader) <= since_s
        )

    def _well_since_s(self, node: SimNode) -> float:
        if node.is_ill:
            node.strike()
        return node.ill_s

    def _is_majority(self, leader: str, followers: frozenset[str]) -> bool:
        return 2 * (len(followers) + 1) > len(self._nodes)

    def _term(self, node: SimNode) -> int:
        return node.replica.kernel.term if node.is_up else node.known_term
