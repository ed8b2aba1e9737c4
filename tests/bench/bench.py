"""What every measure has at hand: the cluster, a client, how long to measure, and what CPU time was used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tallystick import Client, Mutation, NodeStatus, ops
from tallystick._convert import mutation_message
from tests.bench.processes import CpuMeter
from tests.bench.raw import Echo
from tests.cluster.harness import Cluster

MUTATION_BYTES: Final = 256


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        rounds: how often each measure is repeated.
        latency_s, rate_s: how long one takes.
        agents: how many are stored.
        history: mutations of the long log, as far as they fit into `history_s`.
        large_history: likewise, of the agent with a long log and a large state.
        steps: completed steps of the agent that is resumed.
        turns: of the conversation whose size on disk is taken.
        kills: how often the leader is killed.
    """

    rounds: int
    latency_s: float
    rate_s: float
    agents: int
    history: int
    history_s: float
    kills: int
    steps: int
    turns: int
    large_history: int


FULL: Final = Plan(
    rounds=5,
    latency_s=0.8,
    rate_s=1.6,
    agents=100_000,
    history=1_000_000,
    history_s=40.0,
    kills=10,
    steps=10_000,
    turns=2_000,
    large_history=100_000,
)
QUICK: Final = Plan(
    rounds=2,
    latency_s=0.3,
    rate_s=0.6,
    agents=3_000,
    history=100_000,
    history_s=10.0,
    kills=2,
    steps=1_000,
    turns=500,
    large_history=5_000,
)


@dataclass(slots=True)
class Bench:
    """A cluster that is measured."""

    cluster: Cluster
    client: Client
    echo: Echo
    folder: Path
    plan: Plan
    leader: str

    def cpu(self) -> CpuMeter:
        """CPU time from now on."""
        pids = {node_id: self.cluster.nodes[node_id].pid for node_id in self.cluster.node_ids}
        leader_pid = pids.pop(self.leader)
        return CpuMeter(leader_pid, pids.values())

    async def leader_status(self) -> NodeStatus:
        """What the leader says of itself."""
        return await self.client.status(self.cluster.endpoint(self.leader))


def mutation() -> Mutation:
    """A mutation of `MUTATION_BYTES` on the wire that leaves a state of that size."""
    return Mutation.of(ops.set("/value", _VALUE))


def _value() -> str:
    empty = Mutation.of(ops.set("/value", ""))
    # Lengths beyond 127 take a byte more: one for the value, one for the operation around it.
    return "v" * (MUTATION_BYTES - mutation_message(empty).ByteSize() - 2)


_VALUE: Final = _value()
assert mutation_message(mutation()).ByteSize() == MUTATION_BYTES
