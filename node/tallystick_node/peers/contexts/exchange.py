"""All that a node exchanges with others of its documents: the streams to each member, theirs, and the comparing.

Rules of this file:
- A member has one outbox, which outlives its streams: what was not acknowledged is offered to the next one.
- Each member has a connection of its own for edits, apart from Raft's.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Mapping, Sequence
from typing import Final

import grpc

from tallystick.errors import Reason, Unavailable
from tallystick.peer.v1 import peer_pb2
from tallystick.v1 import context_pb2
from tallystick.worker.v1 import worker_pb2
from tallystick_node.contexts.comparing import Compare
from tallystick_node.contexts.hub.hub import LocalEdit
from tallystick_node.contexts.ids import ContextId
from tallystick_node.peers.channel import open_channel
from tallystick_node.peers.contexts.anti_entropy import AntiEntropy
from tallystick_node.peers.contexts.comparer import Comparer
from tallystick_node.peers.contexts.coverage import Coverage
from tallystick_node.peers.contexts.link import Around, ContextLink
from tallystick_node.peers.contexts.outbox import Outbox
from tallystick_node.peers.contexts.receiver import ReceiverCounters, Taking
from tallystick_node.peers.contexts.servicer import ContextServicer
from tallystick_node.peers.servicer import PeerServicer
from tallystick_node.peers.tls import PeerCredentials


class _Peer:
    """What is held of one other member while it is one."""

    def __init__(self, endpoint: str, outbox: Outbox) -> None:
        self.endpoint = endpoint
        self.outbox = outbox
        self.link: ContextLink | None = None
        self.compare: Compare | None = None
        self.anti_entropy: AntiEntropy | None = None
        self.task: asyncio.Task[None] | None = None


class ContextExchange:
    """See the module. `run` holds the streams; `add_to` serves those of others.

    Attributes:
        coverage: how far the logs of others are here: for the hub.
        counters: of what other nodes sent.

    Args:
        around: this node, its documents, its host.
        peers: the incoming side of the links: admission and processes are shared.
        credentials: None: without TLS.
    """

    def __init__(self, around: Around, peers: PeerServicer, credentials: PeerCredentials | None) -> None:
        self._around = around
        self._credentials = credentials
        self._rng = random.Random(around.host.random_bytes(16))
        self._peers: dict[str, _Peer] = {}
        self._group: asyncio.TaskGroup | None = None
        self._worker = around.worker_of()
        self.coverage: Final = Coverage(self._ask, around.worker_of)
        handles = itertools.count(self._rng.getrandbits(62) + 1)
        taking = Taking(
            around.documents,
            around.here,
            around.epoch_of,
            self.coverage,
            next_handle=lambda: next(handles),
            begin=around.begin,
            on_lost=self.forget,
        )
        self.counters: Final[ReceiverCounters] = taking.counters
        self._servicer = ContextServicer(around.local, peers.admission, peers.processes, taking, self.compare_own)

    @property
    def connected(self) -> frozenset[str]:
        """The peers that have accepted our stream."""
        return frozenset(
            peer_id for peer_id, peer in self._peers.items() if peer.link is not None and peer.link.is_connected
        )

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve on this server, beside the links."""
        self._servicer.add_to(server)

    def close(self) -> None:
        """End the streams of others and take no more."""
        self._servicer.close()

    # What the hub tells.

    def push(self, local: LocalEdit) -> None:
        """An edit that this node took, or (without an update) a document whose ack is wanted: to every member."""
        push = peer_pb2.ContextPush(
            id=local.document.to_proto(), number=local.number, update=local.update, edit=local.edit, log=local.log
        )
        size_bytes = push.ByteSize()
        worker = self._around.worker_of()
        is_another = worker != self._worker
        self._worker = worker
        for peer in self._peers.values():
            if is_another:  # the last answers of the one before may have been lost
                peer.outbox.begin_anew()
            peer.outbox.push(push, size_bytes)

    def tell(self, guid: bytes, states: Sequence[context_pb2.PresenceState]) -> None:
        """Presence of this node's own clients: to every member that is connected."""
        for peer in self._peers.values():
            peer.outbox.tell(guid, states)

    def decided(self, document: ContextId) -> None:
        """This node's log has come to this epoch of a document."""
        self._servicer.decided(document)

    def forget(self, guid: bytes) -> None:
        """The document is gone, or was lost here, or is in a new epoch: what was known of it is of no use."""
        self.coverage.forget(guid)
        for peer in self._peers.values():
            peer.outbox.forget(guid)

    # Comparing.

    async def compare_own(self, request: peer_pb2.CompareContextsRequest) -> peer_pb2.CompareContextsReply:
        """This node's answer. Raises as `Port.ask`."""
        ranges = worker_pb2.Ranges(compare=request)
        seal = self._around.seal_of(request.guid) if request.guid else 0
        reply = (await self._around.documents.ask(request.guid, worker_pb2.Request(ranges=ranges))).ranges
        reply.seal = seal  # of before: what is compared has all that was merged until then
        return reply

    async def compare(self, node_id: str, request: peer_pb2.CompareContextsRequest) -> peer_pb2.CompareContextsReply:
        """The answer of any member, this node too.

        Raises:
            Unavailable: UNREACHABLE, there is none.
        """
        if node_id == self._around.local.node_id:
            return await self.compare_own(request)
        peer = self._peers.get(node_id)
        if peer is None or peer.compare is None:
            raise Unavailable(f"node {node_id} is no member that is known here", reason=Reason.UNREACHABLE)
        return await peer.compare(request)

    # Members.

    def update(self, members: Mapping[str, str]) -> None:
        """These are the members from now on, by their peer endpoints; this node's own is passed over."""
        wanted = {peer_id: endpoint for peer_id, endpoint in members.items() if peer_id != self._around.local.node_id}
        self._servicer.update()
        ended = {peer_id: peer for peer_id, peer in self._peers.items() if wanted.get(peer_id) != peer.endpoint}
        for peer_id, peer in ended.items():
            del self._peers[peer_id]
            if peer.task is not None:
                peer.task.cancel()
        for peer_id, endpoint in wanted.items():
            if peer_id not in self._peers:
                before = ended.get(peer_id)
                self._peers[peer_id] = _Peer(endpoint, before.outbox if before else Outbox())
                self._begin(peer_id, self._peers[peer_id], before.task if before else None)

    async def run(self) -> None:
        """Hold all streams until cancelled."""
        try:
            async with asyncio.TaskGroup() as self._group:
                for peer_id, peer in self._peers.items():
                    self._begin(peer_id, peer)
                await asyncio.get_running_loop().create_future()  # members come and go until we are cancelled
        finally:
            self._group = None

    def _begin(self, peer_id: str, peer: _Peer, before: asyncio.Task[None] | None = None) -> None:
        if self._group is not None:  # else `run` will
            holding = self._hold(peer_id, peer, before)
            peer.task = self._group.create_task(holding, name=f"context link to {peer_id}")

    async def _hold(self, peer_id: str, peer: _Peer, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait({before})  # it closes the outbox
        channel = open_channel(self._around.host, peer_id, peer.endpoint, self._credentials)
        peer.link = ContextLink(self._around, peer_id, peer.outbox)
        peer.compare = Comparer(self._around.local, peer_id, channel)
        peer.anti_entropy = AntiEntropy(
            self.compare_own,
            peer.compare,
            lambda: self._servicer.stream_of(peer_id),
            self._around.epoch_of,
            random.Random(self._rng.random()),
        )
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(peer.link.run(channel))
                group.create_task(peer.anti_entropy.run())
        finally:
            peer.compare = None
            await channel.close(None)

    def _ask(self, peer_id: str, document: ContextId) -> bool:
        stream = self._servicer.stream_of(peer_id)
        if stream is not None:
            stream.ask(document)
        return stream is not None
