"""The same cluster with one fix taken out: the simulation must see what the fix is against."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from pysyncobj.node import Node

from tallystick.peer.v1.peer_pb2 import RaftMessage
from tallystick_node.consensus import codec
from tallystick_node.consensus.kernel import Kernel
from tallystick_node.consensus.outbox import Outbox
from tallystick_node.consensus.raft_log import RaftLog
from tallystick_node.consensus.replica import Replica
from tallystick_node.consensus.settings import Tuning
from tests.sim.faults import FALTERING
from tests.sim.node import TUNING, SimNode
from tests.sim.simulation import Simulation

UNCOMPACTED: Final = replace(TUNING, journal_tail_entries=1 << 30)
"""A broken log soon needs entries that were compacted away; that would end the run before the loss."""


class HastyLog(RaftLog):
    """Without fix 1: what pysyncobj deletes is gone, and what it adds replaces the tail, conflict or not."""

    def _is_known(self, index: int, term: int) -> bool:
        return False

    def add(self, command: bytes, index: int, term: int) -> None:
        self.committed_index = 0  # pysyncobj would not notice either
        super().add(command, index, term)

    def settle(self) -> None:
        """Nothing comes back."""
        self._last = min(self._last, self._journal.last_index)


class HastyKernel(Kernel):
    """On a `HastyLog`; whatever else is ours is in place."""

    def __init__(
        self,
        node_id: str,
        raft_log: RaftLog,
        durable_index: Callable[[], int],
        *,
        tuning: Tuning,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        hasty = HastyLog(raft_log._journal, raft_log.committed_index, raft_log.members)
        super().__init__(node_id, hasty, durable_index, tuning=tuning, clock=clock, rng=rng)

    def _after_entry(self) -> None:
        self._SyncObj__connectedNodes |= self._held
        self._held.clear()


class _GarrulousOutbox(Outbox):
    """Sends every message."""

    def _drop_superseded(self, peer_id: str, message: RaftMessage) -> None:
        """Nothing is dropped."""


class BareKernel(HastyKernel):
    """Without fix 1, and sending as pysyncobj does: all it has after each answer that makes it rewind."""

    def __init__(
        self,
        node_id: str,
        raft_log: RaftLog,
        durable_index: Callable[[], int],
        *,
        tuning: Tuning,
        clock: Callable[[], float],
        rng: random.Random,
    ) -> None:
        super().__init__(node_id, raft_log, durable_index, tuning=tuning, clock=clock, rng=rng)
        self._outbox.__class__ = _GarrulousOutbox

    def sent_entries(self, node: Node, message: RaftMessage) -> None:
        """No window."""

    def first_of_term(self, index: int) -> int:
        """No short cut."""
        return index

    def _handle(self, peer: Node, message: RaftMessage) -> None:
        self._SyncObj__onMessageReceived(peer, codec.decode(message))
        if message.HasField("append_entries"):
            self._last_leader_contact_s = self._clock()


class HastyReplica(Replica[int]):
    """Runs a `HastyKernel`."""

    _make_kernel = HastyKernel


class BareReplica(Replica[int]):
    """Runs a `BareKernel`."""

    _make_kernel = BareKernel


class HastyNode(SimNode):
    """Runs a `HastyReplica`."""

    replica_class = HastyReplica
    tuning = UNCOMPACTED


class BareNode(SimNode):
    """Runs a `BareReplica`."""

    replica_class = BareReplica
    tuning = UNCOMPACTED


class FalteringSimulation(Simulation):
    """Nothing is broken; leaders falter all the time, under load."""

    fault_kinds = FALTERING
    proposals_per_s = 400.0
    recovers = False


class HastySimulation(FalteringSimulation):
    """Only fix 1 is out."""

    node_class = HastyNode
    broken_name = "hasty"


class BareSimulation(FalteringSimulation):
    """Fix 1 and our flow control are out."""

    node_class = BareNode
    broken_name = "bare"


BROKEN: Final = {kind.broken_name: kind for kind in (HastySimulation, BareSimulation)}
"""The broken clusters by name."""
