"""Whether this node has what another node had: what a cursor asks for. `peers` knows, by what it has acknowledged."""

from __future__ import annotations

import asyncio
from typing import Protocol

from tallystick_node.contexts.ids import ContextId


class Coverage(Protocol):
    """What this node holds of other nodes' update logs."""

    def holds(self, node_id: str, document: ContextId, number: int, log: bytes = b"", /) -> bool:
        """Whether that node's log of this name is here, on disk, up to `number`, as far as is known."""
        ...

    async def catch_up(self, node_id: str, document: ContextId, number: int, log: bytes = b"", /) -> None:
        """Returns once it is; asks that node for it now. The caller bounds it with a timeout."""
        ...


class NoCoverage:
    """`Coverage` of a node without peers: nothing is known of others, and nothing will come."""

    def holds(self, node_id: str, document: ContextId, number: int, log: bytes = b"") -> bool:
        """See `Coverage`."""
        del node_id, document, number, log
        return False

    async def catch_up(self, node_id: str, document: ContextId, number: int, log: bytes = b"") -> None:
        """See `Coverage`."""
        del node_id, document, number, log
        await asyncio.get_running_loop().create_future()
