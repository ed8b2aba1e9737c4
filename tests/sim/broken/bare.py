"""Fault 1, and sending as pysyncobj does: all it has after each answer that makes it rewind."""

from __future__ import annotations

from typing import Final

from pysyncobj.node import Node

from tallystick.peer.v1.peer_pb2 import RaftMessage
from tallystick_node.consensus import codec
from tallystick_node.consensus.outbox import Outbox
from tallystick_node.consensus.replica import Replica
from tallystick_node.storage.journal import Journal
from tests.sim.broken.hasty import HastyKernel, Rewinding
from tests.sim.broken.variant import LOSS, UNCOMPACTED, Variant
from tests.sim.node import SimNode


class _GarrulousOutbox(Outbox):
    """Sends every message."""

    def _drop_superseded(self, peer_id: str, message: RaftMessage) -> None:
        """Nothing is dropped."""


class BareKernel(HastyKernel):
    """Without fix 1 and our flow control."""

    def sent_entries(self, node: Node, message: RaftMessage) -> None:
        """No window."""

    def first_of_term(self, index: int) -> int:
        """No short cut."""
        return index

    def _handle(self, peer: Node, message: RaftMessage) -> None:
        self._SyncObj__onMessageReceived(peer, codec.decode(message))
        if message.HasField("append_entries"):
            self._last_leader_contact_s = self._clock()


class BareReplica(Replica[int]):
    """Runs a `BareKernel`."""

    _make_kernel = BareKernel


class BareNode(SimNode):
    """Runs a `BareReplica`."""

    replica_class = BareReplica
    tuning = UNCOMPACTED

    def _make_replica(self, journal: Journal) -> Replica[int]:
        replica = super()._make_replica(journal)
        replica.kernel._outbox.__class__ = _GarrulousOutbox
        return replica


class BareSimulation(Rewinding):
    """Fix 1 and our flow control are out."""

    node_class = BareNode
    flag = "--broken bare"


BARE: Final = Variant("bare", 1, BareSimulation, Rewinding, LOSS, 4.0, (0,))
