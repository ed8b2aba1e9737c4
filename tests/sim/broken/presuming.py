"""Fault 2: who hears that it needs a snapshot takes what it has itself for decided."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Final

from pysyncobj.node import Node

from tallystick.peer.v1.peer_pb2 import RaftMessage
from tallystick_node.consensus import codec
from tallystick_node.consensus.kernel import Kernel
from tallystick_node.consensus.outbox import Outbox
from tallystick_node.consensus.replica import Replica
from tallystick_node.storage.journal import Journal
from tests.sim.broken.variant import LOSS, Variant
from tests.sim.node import SimNode
from tests.sim.running import TUNING
from tests.sim.simulation import Simulation

SHORT: Final = replace(TUNING, journal_tail_entries=4, journal_kept_bytes=0)
"""Slow members are waited for by nobody."""


class _TellingOutbox(Outbox):
    """A message about a snapshot says what is decided."""

    def send(self, node: Node, message: codec.Message) -> None:
        super().send(node, message)
        if message["type"] == "append_entries" and "prevLogIdx" not in message:
            self.messages[-1][1].append_entries.commit_index = message["commit_index"]


class PresumingKernel(Kernel):
    """Believes that it has what is decided."""

    def _handle(self, peer: Node, message: RaftMessage) -> None:
        body = message.append_entries
        if body.needs_snapshot:
            self._SyncObj__onMessageReceived(peer, {**codec.decode(message), "commit_index": body.commit_index})
        super()._handle(peer, message)


class PresumingReplica(Replica[int]):
    """Runs a `PresumingKernel`."""

    _make_kernel = PresumingKernel


class ShortNode(SimNode):
    """Needs a copy whenever it was away."""

    tuning = SHORT


class PresumingNode(ShortNode):
    """Runs a `PresumingReplica`."""

    replica_class = PresumingReplica

    def _make_replica(self, journal: Journal) -> Replica[int]:
        replica = super()._make_replica(journal)
        replica.kernel._outbox.__class__ = _TellingOutbox
        return replica


class Lagging(Simulation):
    """Nothing is broken; leaders are cut off with what nobody else has, and return when the journals begin later."""

    node_class: ClassVar[type[SimNode]] = ShortNode
    fault_kinds = ("falter", "heal")
    fault_gap_s = (0.4, 0.8)
    proposals_per_s = 200.0
    flag = "--fixed presuming"


class PresumingSimulation(Lagging):
    """Fix 2 is out."""

    node_class = PresumingNode
    flag = "--broken presuming"


PRESUMING: Final = Variant("presuming", 2, PresumingSimulation, Lagging, LOSS, 4.0, (0,))
