"""The merged half of a node, put together: documents, their hub, and the use cases on it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from tallystick_node.config import NodeConfig
from tallystick_node.context_store.decided import DecidedContexts
from tallystick_node.context_store.merged.contexts import MergedContexts
from tallystick_node.contexts.absent import NoDocuments
from tallystick_node.contexts.hub.hub import Hub
from tallystick_node.contexts.port import Documents
from tallystick_node.host import Host

DOCUMENTS_NAME: Final = "contexts"
"""The folder in the data folder that holds the documents."""


class Sharing:
    """See the module.

    Args:
        voters: the node ids of the voters of this moment.
    """

    def __init__(
        self, config: NodeConfig, host: Host, decided: DecidedContexts, voters: Callable[[], frozenset[str]]
    ) -> None:
        self._is_held = config.contexts
        self.documents: Documents = NoDocuments()
        if self._is_held:
            folder = config.data_folder / DOCUMENTS_NAME
            self.documents = host.open_documents(folder, has_peers=len(config.members) > 1)
        self.hub = Hub(self.documents, node_id=config.node_id, clock=host.clock, unix_ms=host.unix_ms, voters=voters)
        self.merged = MergedContexts(decided, self.hub)

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
        self.hub.end_subscriptions()

    async def _follow(self) -> None:
        if self._is_held:
            await self.merged.run()
        else:
            await asyncio.Event().wait()
