"""A seed's life where members change: three nodes and two spare ones, faults, changes and readers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from tallystick_node.consensus.members import Member, Members
from tests.sim import faults
from tests.sim.members.changes import KINDS, Changes, draw
from tests.sim.members.history import MembersHistory
from tests.sim.members.leadership import MembersLeadership
from tests.sim.members.node import MembersNode
from tests.sim.script import Script
from tests.sim.simulation import Simulation

FAULT_KINDS: Final = tuple(kind for kind in faults.KINDS if kind not in ("rot", "tear"))
"""A disk that refuses is a member for ever lost: how many there may be depends on who is a member. They are drawn in
the other simulations."""


class MembersSimulation(Simulation):
    """See the module."""

    node_class: ClassVar[type[MembersNode]] = MembersNode
    fault_kinds: ClassVar[Sequence[str]] = FAULT_KINDS
    fault_gap_s = (0.1, 1.2)
    change_kinds: ClassVar[Sequence[str]] = KINDS
    change_gap_s: ClassVar[tuple[float, float]] = (0.05, 0.4)
    reads_per_s: ClassVar[float] = 60.0
    spares: ClassVar[int] = 2
    flag = "--members"

    history: MembersHistory
    nodes: dict[str, MembersNode]

    def __init__(self, seed: int, nodes: int = 3, script: Script | None = None) -> None:
        self._first_count = nodes
        super().__init__(seed, nodes + self.spares, script)
        self._readers = self.world.rng_for("readers")

    @property
    def _first_names(self) -> list[str]:
        return self.names[: self._first_count]

    def _build(self) -> None:
        self.history = MembersHistory(first_members=Members.of(Member(name) for name in self._first_names))
        self.nodes = {
            name: self.node_class(name, self._first_names, self.world, self.network, self.history)
            for name in self.names
        }
        self.faults = Changes(self.world, self.network, self.nodes, self.history)
        self.leadership = MembersLeadership(self.world, self.network, self.nodes)

    def draw_script(self, seconds: float) -> Script:
        """The seed's own faults and changes."""
        rng = self.world.rng_for("members")
        changes = draw(rng, self.names, self.change_kinds, seconds, self.change_gap_s)
        return tuple(sorted((*super().draw_script(seconds), *changes)))

    @property
    def _size(self) -> int:
        return self._first_count

    def _load(self, end_s: float) -> None:
        super()._load(end_s)

        def read() -> None:
            if self.world.now_s < end_s:
                self._read(self._readers.choice(self.names))
                self.world.after(self._readers.expovariate(self.reads_per_s), read)

        self.world.after(0.3, read)

    def _read(self, name: str) -> None:
        node = self.nodes[name]
        node.read()
        if self._readers.random() < 0.1:  # an impatient reader
            self.world.after(self._readers.uniform(0.0, 1.0), node.end_read)

    def _survivors(self) -> list[str]:
        return list(self.history.members.node_ids)
