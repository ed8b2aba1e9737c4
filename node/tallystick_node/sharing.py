"""The merged half of a node, put together: documents, their hub, the use cases on it, the exchange with other nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tallystick.v1 import cluster_pb2
from tallystick_node.config.values import NodeConfig
from tallystick_node.context_store.compacting import Compacting, SealWatch
from tallystick_node.context_store.decided import DecidedContexts
from tallystick_node.context_store.merged.contexts import MergedContexts
from tallystick_node.context_store.merged.following import Following
from tallystick_node.context_store.merged.observed import ObservedContexts
from tallystick_node.context_store.merged.questions import Questions
from tallystick_node.context_store.verifying import Verifying
from tallystick_node.contexts.absent import NoDocuments
from tallystick_node.contexts.hub.hub import Hub
from tallystick_node.contexts.ids import ContextId
from tallystick_node.contexts.port import Documents
from tallystick_node.core.outcomes import ContextChange, ContextDecided
from tallystick_node.host import Host
from tallystick_node.peers.contexts.exchange import ContextExchange
from tallystick_node.peers.contexts.link import Around
from tallystick_node.peers.identity import LocalNode
from tallystick_node.peers.servicer import PeerServicer
from tallystick_node.peers.tls import PeerCredentials

DOCUMENTS_NAME: Final = "contexts"
"""The folder in the data folder that holds the documents."""


@dataclass(frozen=True, slots=True)
class AmongNodes:
    """Where this node stands among the others.

    Attributes:
        peers: the incoming side of the links.
        credentials: None: without TLS.
        voters: the node ids of the voters of this moment.
        leads: whether this node leads at this moment.
    """

    local: LocalNode
    peers: PeerServicer
    credentials: PeerCredentials | None
    voters: Callable[[], frozenset[str]]
    leads: Callable[[], bool]


class Sharing:
    """See the module."""

    def __init__(self, config: NodeConfig, host: Host, decided: DecidedContexts, among: AmongNodes) -> None:
        self._is_held = config.contexts
        self.documents: Documents = NoDocuments()
        if self._is_held:
            folder = config.data_folder / DOCUMENTS_NAME
            self.documents = host.open_documents(folder, has_peers=len(config.members) > 1)
        node_id, voters = config.node_id, among.voters
        self.hub = Hub(self.documents, node_id=node_id, clock=host.clock, unix_ms=host.unix_ms, voters=voters)
        self.merged = MergedContexts(decided, self.hub)
        self.observed = ObservedContexts(decided, self.merged, self.hub)
        self.exchange = _make_exchange(self.hub, self.merged.following, self.documents, host, among)
        self.hub.coverage = self.exchange.coverage
        self.hub.on_local(self.exchange.push)
        self.hub.presence.on_local(self.exchange.tell)
        decided.listen(_Telling(self.exchange))
        self.verifying = Verifying(decided, self.exchange.compare, node_id=node_id, voters=voters)
        self.compacting = Compacting(decided, Questions(self.hub), self.exchange.compare, voters)
        self._seals = SealWatch(decided, node_id=node_id, leads=among.leads, clock=host.clock)

    def report(self) -> cluster_pb2.ContextsStatus | None:
        """How the documents do; None: this node holds none."""
        if not self._is_held:
            return None
        status, census = self.documents.status, self.hub.census
        return cluster_pb2.ContextsStatus(
            is_up=self.documents.is_up,
            documents=census.documents,
            loaded=census.loaded,
            subscribers=len(self.hub.audience),
            worker_restarts=status.restarts,
            set_aside=status.set_aside,
        )

    async def run(self) -> None:
        """Until it is cancelled; then what was asked of the documents is answered first.

        Raises:
            StorageError: the documents cannot be opened, and the node must not go on without them.
        """
        documents = asyncio.create_task(self.documents.run(), name="documents")
        following = asyncio.create_task(self._follow(), name="contexts")
        try:
            await asyncio.wait((documents, following), return_when=asyncio.FIRST_COMPLETED)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await self.hub.close()
            documents.cancel()
            await asyncio.gather(documents, return_exceptions=True)
        for task in (documents, following):
            if not task.cancelled():
                task.result()

    def stop_streams(self) -> None:
        """The node takes no more calls: open documents end with STOPPING."""
        self.hub.audience.stop()

    async def _follow(self) -> None:
        if self._is_held:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.merged.run(), name="merged contexts")
                tasks.create_task(self.exchange.run(), name="exchange")
                tasks.create_task(self._seals.run(), name="seals")
        else:
            await asyncio.Event().wait()


class _Telling:
    """A `ContextListener`: the exchange hears what became of documents."""

    def __init__(self, exchange: ContextExchange) -> None:
        self._exchange = exchange

    def context_decided(self, event: ContextDecided) -> None:
        """See `ContextListener`."""
        match event.change:
            case ContextChange.DELETED:
                self._exchange.forget(event.guid)
            case ContextChange.EPOCH_STARTED:
                self._exchange.forget(event.guid)
                self._exchange.decided(ContextId(event.guid, event.epoch))
            case ContextChange.CREATED:
                self._exchange.decided(ContextId(event.guid, event.epoch))
            case ContextChange.SEALED | ContextChange.UNSEALED | ContextChange.VERSION_SAVED:
                pass

    def contexts_replaced(self) -> None:
        """See `ContextListener`: what is gone by that is not offered again."""


def _make_exchange(
    hub: Hub, following: Following, documents: Documents, host: Host, among: AmongNodes
) -> ContextExchange:
    def epoch_of(guid: bytes) -> int:
        record = following.record(guid)
        return record.epoch if record is not None else 0

    def seal_of(guid: bytes) -> int:
        record = following.record(guid)
        return record.seal if record is not None else 0

    def worker_of() -> int:
        return documents.status.restarts

    around = Around(among.local, hub, hub.presence, epoch_of, seal_of, worker_of, following.begin_if_unknown, host)
    return ContextExchange(around, among.peers, among.credentials)
