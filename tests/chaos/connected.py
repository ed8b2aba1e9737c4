"""Whether a majority is connected: up, not frozen, each reaching each and reached by clients. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import combinations, permutations

from tallystick.testing.local_links import CLIENTS


@dataclass(slots=True)
class Trouble:
    """What is wrong at the moment.

    Attributes:
        silent: nodes that are down or frozen.
        cuts: wires that are cut, by who speaks and who is spoken to; `CLIENTS` is all clients.
    """

    silent: set[str] = field(default_factory=set)
    cuts: set[tuple[str, str]] = field(default_factory=set)

    def has_majority(self, nodes: Sequence[str]) -> bool:
        """Whether a majority of these nodes is connected."""
        able = [node for node in nodes if node not in self.silent]
        return any(self._connected((CLIENTS, *group)) for group in combinations(able, len(nodes) // 2 + 1))

    def partition(self, groups: Sequence[Collection[str]], nodes: Sequence[str]) -> None:
        """Cuts the wires between nodes of different groups; those named nowhere are a group together."""
        group_of = {node: number for number, group in enumerate(groups) for node in group}
        self.cuts |= {(a, b) for a, b in permutations(nodes, 2) if group_of.get(a) != group_of.get(b)}

    def _connected(self, places: Sequence[str]) -> bool:
        return not any(pair in self.cuts for pair in permutations(places, 2))
