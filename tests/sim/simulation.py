"""A seed's life: random faults on a cluster under load, and what must hold whatever happens.

Rules of this file: everything comes from the seed. `Simulation(seed).run()` gives the same trace each time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import ClassVar

from tests.sim.faults import KINDS, LONGEST_S, Faults
from tests.sim.history import History, Stuck
from tests.sim.leadership import Leadership
from tests.sim.network import Network
from tests.sim.node import SimNode
from tests.sim.script import Fault, Script, draw
from tests.sim.world import World


class Simulation:
    """Three or five nodes, a client at each, and faults for some virtual time."""

    node_class: ClassVar[type[SimNode]] = SimNode
    fault_kinds: ClassVar[Sequence[str]] = KINDS
    fault_gap_s: ClassVar[tuple[float, float]] = (0.05, 0.6)
    victims: ClassVar[int | None] = None
    """So many nodes are struck; none: all are."""
    proposals_per_s: ClassVar[float] = 120.0
    """Of all clients together."""
    recovers: ClassVar[bool] = True
    """Whether it is healed and compared at the end; off, only what goes wrong meanwhile is seen."""
    flag: ClassVar[str] = ""
    """What `python -m tests.sim` is told to run this kind of simulation."""

    def __init__(self, seed: int, nodes: int = 3, script: Script | None = None) -> None:
        self.seed = seed
        self.world = World(seed)
        self.network = Network(self.world)
        self.names = [chr(ord("a") + place) for place in range(nodes)]
        self._build()
        for node in self.nodes.values():
            node.peers = self.nodes
        self.script = script
        self._rng = self.world.rng_for("clients")
        self._proposed = 0

    def _build(self) -> None:
        self.history = History()
        self.nodes: Mapping[str, SimNode] = {
            name: self.node_class(name, self.names, self.world, self.network, self.history) for name in self.names
        }
        self.faults = Faults(self.world, self.network, self.nodes)
        self.leadership = Leadership(self.world, self.network, self.nodes)

    def run(self, seconds: float = 10.0) -> str:
        """Runs the seed, with its own script if none was given; returns the hash of its trace.

        Raises:
            PromiseBroken: a safety property does not hold.
            Stuck: the healed cluster does not get on.
        """
        if self.script is None:
            self.script = self.draw_script(seconds)
        with self._replayable(seconds):
            for node in self.nodes.values():
                node.start()
            end_s = self.world.now_s + seconds
            self.leadership.watch()
            self._load(end_s)
            self._strike(self.script)
            self.world.run_until(end_s)
            if self.recovers:
                self._recover()
                self._check()
        return hashlib.sha256("\n".join(self.history.trace).encode()).hexdigest()

    def draw_script(self, seconds: float) -> Script:
        """The seed's own faults."""
        rng = self.world.rng_for("faults")
        victims = self.names if self.victims is None else rng.sample(self.names, self.victims)
        return draw(rng, self.names, self.fault_kinds, seconds, victims=victims, gap_s=self.fault_gap_s)

    @property
    def replay_command(self) -> str:
        """What runs this seed again."""
        flag = f" {self.flag}" if self.flag else ""
        return f"python -m tests.sim {self.seed} --nodes {self._size}{flag}"

    @property
    def _size(self) -> int:
        """Nodes that the cluster begins with."""
        return len(self.names)

    @contextmanager
    def _replayable(self, seconds: float) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            error.add_note(f"replay with: {self.replay_command} --seconds {seconds:g}")
            raise

    def _load(self, end_s: float) -> None:
        def propose() -> None:
            if self.world.now_s < end_s:
                self._propose(self._rng.choice(self.names))
                self.world.after(self._rng.expovariate(self.proposals_per_s), propose)

        self.world.after(0.3, propose)

    def _propose(self, name: str) -> bytes:
        self._proposed += 1
        proposal_id = self._proposed.to_bytes(16, "big")
        self.history.proposed(proposal_id, self._command(proposal_id))
        node = self.nodes[name]
        node.propose(proposal_id)
        if self._rng.random() < 0.3:  # an impatient caller
            self.world.after(self._rng.uniform(0.0, 1.0), lambda: node.give_up(proposal_id))
        return proposal_id

    def _command(self, proposal_id: bytes) -> bytes:
        return proposal_id[-4:] * self._rng.randint(1, 8)

    def _strike(self, script: Script) -> None:
        def strike(fault: Fault) -> None:
            self.history.trace.append(str(fault))
            self.faults.strike(fault)

        for fault in script:
            self.world.after(fault.at_s, partial(strike, fault))

    def _recover(self) -> None:
        """Heals everything and lets the cluster come to rest."""
        self.world.run_until(self.world.now_s + LONGEST_S + 0.2)  # what was begun may still strike
        self.network.is_calm = True
        for node in self.nodes.values():
            node.recover()
        self.faults.heal()
        for _ in range(10):
            probe = self._propose(self._survivors()[0])
            self.world.run_until(self.world.now_s + 1.0)
            if probe in self.history.acknowledged:
                break
        else:
            raise Stuck("the healed cluster decides nothing")
        for _ in range(10):
            if len(self._applied_indexes()) == 1:
                return
            self.world.run_until(self.world.now_s + 1.0)
        raise Stuck(f"the healed nodes are not equal: {sorted(self._applied_indexes())}")

    def _applied_indexes(self) -> set[int]:
        return {self.nodes[name].machine.applied_index for name in self._survivors()}

    def _survivors(self) -> list[str]:
        """Who must have everything in the end."""
        return [name for name, node in self.nodes.items() if not node.is_damaged]

    def _check(self) -> None:
        for name in self._survivors():
            self.history.check_acknowledged(name, self.nodes[name].machine.entries)
