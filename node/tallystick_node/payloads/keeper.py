"""Has payloads that nothing refers to collected, where this node leads.

What goes is decided in the log, from references and times that all replicas have: what is proposed here only says when,
and up to which time. A proposal that comes late, or from one that leads no more, takes nothing that is referred to.

Rules of this file:
- Nothing goes that was put, or lost its last reference, less than the grace time ago: who puts a payload has that long
  to refer to it.
- A look proposes so many collections at most; what is left comes with the next.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from tallystick.errors import TallystickError
from tallystick_node.core.limits import COLLECTED_AT_ONCE
from tallystick_node.core.payload_records import CollectPayloads
from tallystick_node.storage.payload_reads import PayloadReads
from tallystick_node.wire.commands import encode_command

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 30.0
"""How often it looks; with a shorter grace time, four times within that."""

COLLECTIONS: Final = 20
"""Proposed with one look at most."""

PROPOSE_TIMEOUT_S: Final = 5.0
"""How long a collection may take to be decided."""

NAMESPACES_PAGE: Final = 100
"""Namespaces looked at before others have a turn."""

Propose: TypeAlias = Callable[[bytes, float], Awaitable[object]]
"""Has an encoded command decided, within so many seconds; raises TallystickError where it is not."""


class PayloadKeeper:
    """See the module.

    Args:
        is_leading: whether this node leads, as far as it knows.
        unix_ms: stamps what is proposed.
        grace_s: how long what nothing refers to stays.
    """

    def __init__(
        self,
        reads: PayloadReads,
        propose: Propose,
        is_leading: Callable[[], bool],
        unix_ms: Callable[[], int],
        grace_s: float,
    ) -> None:
        self._reads = reads
        self._propose = propose
        self._is_leading = is_leading
        self._unix_ms = unix_ms
        self._grace_s = grace_s

    async def run(self) -> None:
        """Looks until it is cancelled."""
        while True:
            await asyncio.sleep(min(LOOK_EVERY_S, self._grace_s / 4))
            await self.look()

    async def look(self) -> None:
        """Has what may go collected, if this node leads."""
        left, after = COLLECTIONS, ""
        while left > 0 and self._is_leading():
            page = self._reads.usages(after, NAMESPACES_PAGE)
            for usage in page.items:
                left -= await self._collect(usage.namespace, left)
            if not page.more:
                return
            after = page.items[-1].namespace
            await asyncio.sleep(0)

    async def _collect(self, namespace: str, at_most: int) -> int:
        """How many collections were proposed."""
        before_unix_ms = max(0, self._unix_ms() - int(self._grace_s * 1000))
        for count in range(at_most):
            if not self._is_leading() or not self._reads.is_collectable(namespace, before_unix_ms):
                return count
            command = CollectPayloads(self._unix_ms(), namespace, before_unix_ms, COLLECTED_AT_ONCE)
            try:
                await self._propose(encode_command(command), PROPOSE_TIMEOUT_S)
            except TallystickError as error:
                log.info(
                    "payloads were not collected yet",
                    extra={"event": "payloads_not_collected", "namespace": namespace, "why": str(error)},
                )
                return at_most
        return at_most
