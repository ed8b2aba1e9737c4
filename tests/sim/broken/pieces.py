"""Fault 7: an entry of the batch size is cut in pieces, and for some sizes the one called the last is not the last."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import ClassVar, Final
from unittest import mock

import pysyncobj.syncobj as engine
from pysyncobj.node import Node

from tallystick.peer.v1.peer_pb2 import AppendEntries, LogEntry, RaftMessage
from tallystick_node.consensus import codec
from tallystick_node.consensus.kernel import Kernel
from tallystick_node.consensus.outbox import Outbox
from tallystick_node.consensus.raft_log import LogTuple
from tallystick_node.consensus.replica import Replica
from tallystick_node.storage.journal import Journal
from tests.sim.broken.variant import Variant
from tests.sim.history import Stuck
from tests.sim.node import SimNode
from tests.sim.running import TUNING
from tests.sim.simulation import Simulation

_PIECES: Final = ("start", "process", "finish")


class CutShort(Exception):
    """The pieces are not the whole entry."""


class _Pickle:
    """In the place of pickle: like it, longer than what it holds, and of no use if anything lacks."""

    _HEAD: Final = struct.Struct(">QQQ")

    @classmethod
    def dumps(cls, entry: LogTuple) -> bytes:
        return cls._HEAD.pack(entry[1], entry[2], len(entry[0])) + entry[0]

    @classmethod
    def loads(cls, data: bytes) -> LogTuple:
        index, term, size_bytes = cls._HEAD.unpack_from(data)
        if len(data) - cls._HEAD.size != size_bytes:
            raise CutShort
        return data[cls._HEAD.size :], index, term


class _PiecesOutbox(Outbox):
    """Carries pieces: each as an entry without an index."""

    def send(self, node: Node, message: codec.Message) -> None:
        if "transmission" not in message:
            super().send(node, message)
            return
        piece = LogEntry(term=_PIECES.index(message["transmission"]), data=message["data"])
        body = AppendEntries(
            prev_index=message["prevLogIdx"],
            prev_term=message["prevLogTerm"],
            commit_index=message["commit_index"],
            entries=[piece],
        )
        self.messages.append((node.id, RaftMessage(term=message["term"], append_entries=body)))


class PiecesKernel(Kernel):
    """Puts pieces together as pysyncobj does."""

    def _handle(self, peer: Node, message: RaftMessage) -> None:
        body = message.append_entries
        if not body.entries or body.entries[0].index:
            super()._handle(peer, message)
            return
        self._last_leader_contact_s = self._clock()
        piece = {"transmission": _PIECES[body.entries[0].term], "data": body.entries[0].data}
        whole = {**codec.decode(message), **piece}
        self._SyncObj__onMessageReceived(peer, whole)


class PiecesReplica(Replica[int]):
    """Runs a `PiecesKernel`."""

    _make_kernel = PiecesKernel


class LargeEntries(Simulation):
    """Nothing is broken; commands are of all sizes, and the batch is twice the largest entry."""

    class _Node(SimNode):
        tuning = replace(TUNING, append_batch_bytes=600)

    node_class: ClassVar[type[SimNode]] = _Node
    fault_kinds = ()
    flag = "--fixed pieces"

    def _command(self, proposal_id: bytes) -> bytes:
        return proposal_id[-4:] * self._rng.randint(1, 66)


class PiecesNode(SimNode):
    """Runs a `PiecesReplica`: entries are larger than its batch."""

    replica_class = PiecesReplica

    def _make_replica(self, journal: Journal) -> Replica[int]:
        replica = super()._make_replica(journal)
        replica.kernel._outbox.__class__ = _PiecesOutbox
        return replica

    def _step(self) -> None:
        try:
            super()._step()
        except CutShort:  # as anything unexpected: it stops, and is started again
            self.crash(loses_power=False)
            self._world.after(0.1, self.start)


class PiecesSimulation(LargeEntries):
    """Fix 7 is out."""

    node_class = PiecesNode
    flag = "--broken pieces"

    def run(self, seconds: float = 10.0) -> str:
        with mock.patch.object(engine, "pickle", _Pickle):
            return super().run(seconds)


PIECES: Final = Variant("pieces", 7, PiecesSimulation, LargeEntries, (Stuck,), 1.0, (0,))
