"""A seed's life: random faults on a cluster under load, and what must hold whatever happens.

Rules of this file: everything comes from the seed. `Simulation(seed).run()` gives the same trace each time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

from tests.sim.faults import KINDS, Faults
from tests.sim.history import History, Stuck
from tests.sim.node import SimNode
from tests.sim.world import Network, World


class Simulation:
    """Three or five nodes, a client at each, and faults for some virtual time."""

    node_class: ClassVar[type[SimNode]] = SimNode
    fault_kinds: ClassVar[Sequence[str]] = KINDS
    proposals_per_s: ClassVar[float] = 120.0
    """Of all clients together."""
    recovers: ClassVar[bool] = True
    """Whether it is healed and compared at the end; off, only what goes wrong meanwhile is seen."""
    broken_name: ClassVar[str] = ""
    """What `python -m tests.sim --broken` calls it; empty where nothing is broken."""

    def __init__(self, seed: int, nodes: int = 3) -> None:
        self.seed = seed
        self.world = World(seed)
        self.network = Network(self.world)
        self.history = History()
        self.names = [chr(ord("a") + place) for place in range(nodes)]
        self.nodes = {
            name: self.node_class(name, self.names, self.world, self.network, self.history) for name in self.names
        }
        self.faults = Faults(self.world, self.network, self.nodes, self.fault_kinds)
        self._proposed = 0

    def run(self, seconds: float = 10.0) -> str:
        """Runs the seed; returns the hash of its trace.

        Raises:
            PromiseBroken: a safety property does not hold.
            Stuck: the healed cluster does not get on.
        """
        with self._replayable(seconds):
            for node in self.nodes.values():
                node.start()
            end_s = self.world.now_s + seconds
            self._load(end_s)
            self._strike(end_s)
            self.world.run_until(end_s)
            if self.recovers:
                self._recover()
                self._check()
        return hashlib.sha256("\n".join(self.history.trace).encode()).hexdigest()

    @property
    def replay_command(self) -> str:
        """What runs this seed again."""
        broken = f" --broken {self.broken_name}" if self.broken_name else ""
        return f"python -m tests.sim {self.seed} --nodes {len(self.names)}{broken}"

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
                self._propose(self.names[self.world.rng.randrange(len(self.names))])
                self.world.after(self.world.rng.expovariate(self.proposals_per_s), propose)

        self.world.after(0.3, propose)

    def _propose(self, name: str) -> bytes:
        self._proposed += 1
        proposal_id = self._proposed.to_bytes(16, "big")
        self.history.proposed(proposal_id, proposal_id[-4:] * self.world.rng.randint(1, 8))
        node = self.nodes[name]
        node.propose(proposal_id)
        if self.world.rng.random() < 0.3:  # an impatient caller
            self.world.after(self.world.rng.uniform(0.0, 1.0), lambda: node.give_up(proposal_id))
        return proposal_id

    def _strike(self, end_s: float) -> None:
        def strike() -> None:
            if self.world.now_s < end_s:
                self.history.trace.append(self.faults.strike())
                self.world.after(self.world.rng.uniform(0.05, 0.6), strike)

        self.world.after(0.5, strike)

    def _recover(self) -> None:
        """Heals everything and lets the cluster come to rest."""
        self.world.run_until(self.world.now_s + 1.0)  # what was begun may still strike
        for node in self.nodes.values():
            node.sync_s = (0.0001, 0.001)
            if not node.is_up:
                node.start()
        self.faults.heal()
        for _ in range(10):
            probe = self._propose(self.names[0])
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
        return {node.machine.applied_index for node in self.nodes.values()}

    def _check(self) -> None:
        for name, node in self.nodes.items():
            self.history.check_acknowledged(name, node.machine.entries)
