"""Compares this node's documents with each peer's, now and then, and asks for what differs.

Rules of this file:
- A node asks for what it lacks, and the other does the same: together they become equal.
- A document that is being edited differs for as long as its edits are on their way. So one is asked for if it differs
  twice in a row; at once after a link has come up, if it is not here at all, or if much differs.
- A peer that does not answer is asked again the next time. Nothing here ends a stream.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Final, Protocol

from tallystick.errors import TallystickError
from tallystick_node.contexts.comparing import Compare, find_differences
from tallystick_node.contexts.ids import ContextId
from tallystick_node.peers.contexts.limits import COMPARE_EVERY_S, COMPARED_DOCUMENTS

_log: Final = logging.getLogger(__name__)


class Asked(Protocol):
    """The stream of a peer, on which this node asks for what it lacks."""

    def ask(self, document: ContextId) -> None:
        """A diff is wanted."""
        ...


class AntiEntropy:
    """See the module; with one peer.

    Attributes:
        rounds: how often both answered.
        asked: documents that were asked for.

    Args:
        ours, theirs: ask this node and the peer.
        stream: the peer's stream to this node; None: there is none.
        epoch_of: the epoch of a document as it is decided here; 0: there is no such document.
    """

    def __init__(
        self,
        ours: Compare,
        theirs: Compare,
        stream: Callable[[], Asked | None],
        epoch_of: Callable[[bytes], int],
        rng: random.Random,
    ) -> None:
        self._ours = ours
        self._theirs = theirs
        self._stream = stream
        self._epoch_of = epoch_of
        self._rng = rng
        self._differed: frozenset[ContextId] | None = None
        self._last: Asked | None = None
        self.rounds = 0
        self.asked = 0

    async def run(self) -> None:
        """Compares until cancelled."""
        while True:
            await asyncio.sleep(COMPARE_EVERY_S * self._rng.uniform(0.75, 1.25))
            try:
                await self.compare()
            except TallystickError as error:
                self._differed = None
                _log.debug("could not compare", extra={"event": "compare_failed", "why": str(error)})

    async def compare(self) -> int:
        """One comparison; how many documents were asked for.

        Raises:
            TallystickError: one of the two did not answer.
        """
        stream = self._stream()
        if stream is None or stream is not self._last:
            self._differed = None
        self._last = stream
        if stream is None:
            return 0
        found = await find_differences(self._ours, self._theirs, COMPARED_DOCUMENTS, self._rng)
        self.rounds += 1
        differing = frozenset(difference.document for difference in found if difference.theirs)
        absent = {difference.document for difference in found if not difference.ours}
        before, self._differed = self._differed, differing
        if before is None or len(found) >= COMPARED_DOCUMENTS:
            before = differing
        wanted = [document for document in sorted(differing) if document in before or document in absent]
        for document in wanted:
            if self._epoch_of(document.guid) == document.epoch:
                stream.ask(document)
                self.asked += 1
        return len(wanted)
