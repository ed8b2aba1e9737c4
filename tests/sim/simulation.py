"""A seed's life: random faults on a cluster under load, and what must hold whatever happens.

Rules of this file: everything comes from the seed. `Simulation(seed).run()` gives the same trace each time.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from tallystick_node.consensus.machine import CommittedEntry

from tests.sim.node import SimNode
from tests.sim.world import Network, World


FAULTS = ("crash", "crash leader", "crash all", "cut", "one way", "isolate", "flap", "flap", "delay", "slow disk", "heal", "heal")
"""What a seed draws from; twice means twice as often."""


class CommittedEntryLost(AssertionError):
    """Two nodes applied different entries at one index, or an acknowledged proposal is gone."""


@dataclass
class History:
    """What clients were told and what nodes applied."""

    acknowledged: set[bytes] = field(default_factory=set)
    commands: dict[bytes, bytes] = field(default_factory=dict)
    decided: dict[int, CommittedEntry] = field(default_factory=dict)
    trace: list[str] = field(default_factory=list)

    def applied(self, node: str, entry: CommittedEntry) -> None:
        """A node applied an entry: every other one must apply the same at this index."""
        self.trace.append(f"{node} {entry.index} {entry.term} {len(entry.commands)}")
        known = self.decided.setdefault(entry.index, entry)
        if known != entry:
            raise CommittedEntryLost(f"index {entry.index}: {known} was decided, {node} applies {entry}")


class Simulation:
    """Three or five nodes, a client at each, and faults for `seconds` of virtual time."""

    node_class: type[SimNode] = SimNode

    def __init__(self, seed: int, nodes: int = 3) -> None:
        self.world = World(seed)
        self.network = Network(self.world)
        self.history = History()
        self.names = [chr(ord("a") + place) for place in range(nodes)]
        self.nodes = {
            name: self.node_class(
                name, self.names, self.world, self.network, self.history.applied, self.history.acknowledged.add
            )
            for name in self.names
        }
        self._proposed = 0

    def run(self, seconds: float = 10.0) -> str:
        """Runs the seed; returns the hash of its trace.

        Raises:
            CommittedEntryLost: a safety property does not hold.
        """
        for node in self.nodes.values():
            node.start()
        end_s = self.world.now_s + seconds
        self._load(end_s)
        self._faults(end_s)
        self.world.run_until(end_s)
        self._quiet()
        self._check()
        return hashlib.sha256("\n".join(self.history.trace).encode()).hexdigest()

    def _load(self, end_s: float) -> None:
        def propose() -> None:
            if self.world.now_s > end_s:
                return
            self._proposed += 1
            proposal_id = self._proposed.to_bytes(16, "big")
            self.history.commands[proposal_id] = proposal_id[-4:] * self.world.rng.randint(1, 8)
            node = self.nodes[self.world.rng.choice(self.names)]
            node.propose(proposal_id, self.history.commands[proposal_id])
            self.world.after(self.world.rng.expovariate(120), propose)

        self.world.after(0.3, propose)

    def _faults(self, end_s: float) -> None:
        def fault() -> None:
            if self.world.now_s > end_s:
                return
            kind = self.world.rng.choice(FAULTS)
            self.history.trace.append(kind)
            getattr(self, "_" + kind.replace(" ", "_"))()
            self.world.after(self.world.rng.uniform(0.05, 0.6), fault)

        self.world.after(0.5, fault)

    def _crash(self, name: str | None = None) -> None:
        node = self.nodes[name or self.world.rng.choice(self.names)]
        if node.is_up:
            node.crash()
            self.world.after(self.world.rng.uniform(0.01, 0.8), node.start)

    def _crash_leader(self) -> None:
        for name, node in self.nodes.items():
            if node.is_up and node.replica.kernel.is_leader:
                self._crash(name)

    def _flap(self) -> None:
        """A link that breaks and comes back, several times: messages are lost, answers come late."""
        one, other = self.world.rng.sample(self.names, 2)
        for _ in range(self.world.rng.randint(1, 8)):
            cut_after_s = self.world.rng.uniform(0.0, 0.3)
            self.world.after(cut_after_s, lambda: self.network.cut(one, other))
            self.world.after(cut_after_s + self.world.rng.uniform(0.001, 0.03), lambda: self.network.restore(one, other))

    def _crash_all(self) -> None:
        if self.world.rng.random() < 0.3:
            for name in self.names:
                self._crash(name)

    def _cut(self) -> None:
        one, other = self.world.rng.sample(self.names, 2)
        self.network.cut(one, other)
        self.network.cut(other, one)

    def _one_way(self) -> None:
        self.network.cut(*self.world.rng.sample(self.names, 2))

    def _isolate(self) -> None:
        one = self.world.rng.choice(self.names)
        for other in self.names:
            if other != one:
                self.network.cut(one, other)
                self.network.cut(other, one)

    def _delay(self) -> None:
        slowest_s = self.world.rng.choice((0.002, 0.02, 0.1))
        self.network.delay_s = (0.0002, slowest_s)

    def _slow_disk(self) -> None:
        node = self.nodes[self.world.rng.choice(self.names)]
        node.sync_s = (0.0001, self.world.rng.choice((0.001, 0.01, 0.2)))

    def _heal(self) -> None:
        self.network.heal()
        self.network.delay_s = (0.0002, 0.002)

    def _quiet(self) -> None:
        """Heals everything and lets the cluster come to rest."""
        self._heal()
        self.world.run_until(self.world.now_s + 1.0)
        for node in self.nodes.values():
            node.sync_s = (0.0001, 0.001)
            if not node.is_up:
                node.start()
        self._heal()
        probe = b"probe".ljust(16, b".")
        self.history.commands[probe] = b"probe"
        for _ in range(20):
            self.nodes[self.names[0]].propose(probe, b"probe")
            self.world.run_until(self.world.now_s + 1.0)
            if probe in self.history.acknowledged:
                break
        for _ in range(20):
            if len({node.machine.applied_index for node in self.nodes.values()}) == 1:
                break
            self.world.run_until(self.world.now_s + 1.0)

    def _check(self) -> None:
        if b"probe".ljust(16, b".") not in self.history.acknowledged:
            raise CommittedEntryLost("the healed cluster decides nothing")
        indexes = {name: node.machine.applied_index for name, node in self.nodes.items()}
        if len(set(indexes.values())) != 1:
            raise CommittedEntryLost(f"the healed nodes are not equal: {indexes}")
        for name, node in self.nodes.items():
            present = {command for entry in node.machine.entries for command in entry.commands}
            for proposal_id in self.history.acknowledged:
                if self.history.commands[proposal_id] not in present:
                    raise CommittedEntryLost(f"{name} lacks the acknowledged proposal {proposal_id.hex()}")
