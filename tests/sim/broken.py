"""The kernel with one fix taken out at a time: the simulation must see what each is against."""

from __future__ import annotations

from tallystick.peer.v1.peer_pb2 import RaftMessage
from tallystick_node.consensus.kernel import Kernel
from tallystick_node.consensus.raft_log import RaftLog
from tallystick_node.consensus.replica import Replica

from tests.sim.node import SimNode
from tests.sim.simulation import Simulation


class HastyLog(RaftLog):
    """Without fix 1: what pysyncobj deletes is gone, and what it adds again replaces the tail."""

    def _is_known(self, index: int, term: int) -> bool:
        return False

    def add(self, command: bytes, index: int, term: int) -> None:
        self.committed_index = 0  # pysyncobj has no such guard either
        super().add(command, index, term)

    def settle(self) -> None:
        if self._last > self._journal.last_index:
            super().settle()


class HastyKernel(Kernel):
    """On a `HastyLog`."""

    def __init__(self, node_id, peer_ids, raft_log, *args, **kwargs):  # type: ignore[no-untyped-def]
        super().__init__(
            node_id, peer_ids, HastyLog(raft_log._journal, raft_log.committed_index), *args, **kwargs
        )

    def _after_entry(self) -> None:
        self._SyncObj__connectedNodes |= self._held
        self._held.clear()
