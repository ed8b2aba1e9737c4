"""Begins a new epoch of a document: it is rebuilt without its past.

    seal (decided) -> all voters have applied it and hold the same -> rebuild -> start the epoch (decided)
                                                                          \\-> or undo the seal (decided)

Rules of this file:
- While it is sealed no node takes an edit of it, but from other nodes; so it becomes the same everywhere.
- Every voter must have said so. Where one does not answer at all nothing is sealed; one that does not in time: the seal
  is undone, and nothing has changed.
- A seal whose node is gone is undone by the leader (`SealWatch`), each by its own clock.
- What a node had beyond the base after all (a learner, one that comes back) it carries over itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from tallystick.errors import Conflict, QuotaExceeded, Reason, TallystickError, Unavailable
from tallystick.peer.v1 import peer_pb2
from tallystick_node.context_store.comparison import Comparison
from tallystick_node.context_store.decided import DecidedContexts
from tallystick_node.contexts.ids import ContextId
from tallystick_node.contexts.limits import BASE_BYTES
from tallystick_node.core.outcomes import ContextChange, ContextDecided, ContextRecord

log = logging.getLogger(__name__)

EQUAL_S: Final = 10.0
"""How long all voters may take to hold the same."""
SEALED_S: Final = 30.0
"""A seal that is older by the leader's clock is undone."""
_LOOK_EVERY_S: Final = 0.2
_WATCH_EVERY_S: Final = 3.0
_DECIDE_S: Final = 5.0
_ACTOR: Final = "node:"


class Documents(Protocol):
    """What of this node's documents is asked for."""

    async def size_bytes(self, document: ContextId) -> int:
        """How large it is, encoded. Raises as `Port.ask`."""
        ...

    def rebuilt(self, document: ContextId) -> AsyncGenerator[bytes, None]:
        """Its content as a fresh update of writer 1, in parts. Raises as `Port.ask`; close it."""
        ...


@dataclass(frozen=True, slots=True)
class Compacted:
    """A new epoch has begun."""

    record: ContextRecord
    bytes_before: int
    bytes_after: int


class Compacting:
    """See the module.

    Args:
        voters: those of this moment.
        equal_s: how long all voters may take to hold the same.
    """

    def __init__(
        self,
        decided: DecidedContexts,
        documents: Documents,
        compare: Comparison,
        voters: Callable[[], frozenset[str]],
        equal_s: float = EQUAL_S,
    ) -> None:
        self._decided = decided
        self._documents = documents
        self._compare = compare
        self._voters = voters
        self._equal_s = equal_s

    async def compact(self, record: ContextRecord, *, actor: str, timeout_s: float) -> Compacted:
        """Begins the next epoch of a document.

        Raises:
            QuotaExceeded: CONTEXT_QUOTA, its content is larger than an epoch may begin with.
            NotFound: it was deleted meanwhile.
            Unavailable: CONTEXT_SEALED, another does the same; BEHIND, a voter does not answer or does not come to hold
                the same; nobody decides.
            Undecided: ask again.
        """
        document = ContextId(record.guid, record.epoch)
        if record.is_sealed:
            raise Unavailable(f"context {record.name!r} is between two epochs", reason=Reason.CONTEXT_SEALED)
        for held in await self._held_by_all(record):
            if isinstance(held, str):
                raise Unavailable(f"not all voters answer for context {record.name!r}: {held}", reason=Reason.BEHIND)
        bytes_before = await self._documents.size_bytes(document)
        sealed = await self._decided.seal(record.guid, record.epoch, actor=actor, timeout_s=timeout_s)
        begun: ContextRecord | None = None
        try:
            await self._until_equal(sealed, min(self._equal_s, timeout_s))
            base = await self._rebuilt(document)
            begun = await self._decided.start_epoch(
                record.guid, record.epoch + 1, sealed.seal, base, actor=actor, timeout_s=timeout_s
            )
        finally:
            if begun is None:
                await asyncio.shield(undo_seal(self._decided, sealed, actor))
        extra = {"event": "context_epoch_started", "guid": record.guid.hex(), "epoch": begun.epoch}
        log.info("a context began a new epoch", extra=extra)
        bytes_after = len(base)
        with contextlib.suppress(TallystickError):  # it has begun all the same
            bytes_after = await self._documents.size_bytes(ContextId(record.guid, begun.epoch))
        return Compacted(begun, bytes_before, bytes_after)

    async def _until_equal(self, sealed: ContextRecord, within_s: float) -> None:
        """Returns once all voters have applied the seal and hold the same.

        Raises:
            Unavailable: BEHIND, not in time.
        """
        why = "nobody was asked"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while True:
                    why = await self._why_not_equal(sealed)
                    if not why:
                        return
                    await asyncio.sleep(_LOOK_EVERY_S)
        raise Unavailable(f"context {sealed.name!r} is not the same at all voters: {why}", reason=Reason.BEHIND)

    async def _why_not_equal(self, sealed: ContextRecord) -> str:
        asked = await self._held_by_all(sealed)
        for held in asked:
            if isinstance(held, str):
                return held
        return "" if len(set(asked)) == 1 else "they hold different content"

    async def _held_by_all(self, record: ContextRecord) -> list[str | tuple[tuple[int, bytes, bytes], ...]]:
        return await asyncio.gather(*(self._held_by(voter, record) for voter in sorted(self._voters())))

    async def _held_by(self, voter: str, sealed: ContextRecord) -> str | tuple[tuple[int, bytes, bytes], ...]:
        """What a voter holds of a document under its seal, or a sentence that says why that is not known."""
        try:
            reply = await self._compare(voter, peer_pb2.CompareContextsRequest(guid=sealed.guid))
        except TallystickError as error:
            return error.message
        if reply.seal != sealed.seal:
            return f"node {voter} has not applied the seal"
        return tuple((held.id.epoch, held.digest, held.content_digest) for held in reply.documents)

    async def _rebuilt(self, document: ContextId) -> bytes:
        pieces: list[bytes] = []
        size_bytes = 0
        async with contextlib.aclosing(self._documents.rebuilt(document)) as parts:
            async for part in parts:
                size_bytes += len(part)
                if size_bytes > BASE_BYTES:
                    message = f"the content has more than the {BASE_BYTES} bytes that an epoch may begin with"
                    metadata = {"limit": str(BASE_BYTES)}
                    raise QuotaExceeded(message, reason=Reason.CONTEXT_QUOTA, metadata=metadata)
                pieces.append(part)
        return b"".join(pieces)


async def undo_seal(decided: DecidedContexts, sealed: ContextRecord, actor: str) -> None:
    """The epoch goes on. Where nobody decides, the leader will do it; where another did, all is well."""
    try:
        await decided.start_epoch(sealed.guid, sealed.epoch + 1, sealed.seal, b"", actor=actor, timeout_s=_DECIDE_S)
    except Conflict:
        return  # it is undone already, or the epoch has begun after all
    except TallystickError as error:
        extra = {"event": "context_seal_stays", "guid": sealed.guid.hex(), "why": error.reason.value}
        log.warning("could not undo the seal of a context", extra=extra)


class SealWatch:
    """Undoes seals that nobody comes back to; on the leader. A `ContextListener`.

    Args:
        node_id: this node.
        leads: whether this node leads at the moment.
        clock: seconds that never go back.
    """

    def __init__(
        self, decided: DecidedContexts, *, node_id: str, leads: Callable[[], bool], clock: Callable[[], float]
    ) -> None:
        self._decided = decided
        self._actor = _ACTOR + node_id
        self._leads = leads
        self._clock = clock
        self._since_s: dict[bytes, tuple[int, float]] = {}
        self._needs_look = True
        decided.listen(self)

    def context_decided(self, event: ContextDecided) -> None:
        """See `ContextListener`."""
        match event.change:
            case ContextChange.SEALED:
                self._since_s[event.guid] = (event.position, self._clock())
            case ContextChange.UNSEALED | ContextChange.EPOCH_STARTED | ContextChange.DELETED:
                self._since_s.pop(event.guid, None)
            case ContextChange.CREATED | ContextChange.VERSION_SAVED:
                pass

    def contexts_replaced(self) -> None:
        """See `ContextListener`."""
        self._needs_look = True

    async def run(self) -> None:
        """Looks until it is cancelled."""
        while True:
            await asyncio.sleep(_WATCH_EVERY_S)
            if self._needs_look:
                await self._look()
            if self._leads():
                await self.undo_old()

    async def undo_old(self) -> None:
        """Undoes what is sealed for too long."""
        oldest_s = self._clock() - SEALED_S
        for guid in [guid for guid, (_, since_s) in self._since_s.items() if since_s < oldest_s]:
            record = self._decided.info_by_guid(guid)
            if record is None or not record.is_sealed:
                self._since_s.pop(guid, None)
            elif self._leads():
                await undo_seal(self._decided, record, self._actor)

    async def _look(self) -> None:
        """What is sealed at a start and after a snapshot."""
        self._needs_look = False
        after_guid = b""
        while True:
            page = self._decided.all_documents(after_guid)
            for record in page.items:
                if record.is_sealed:
                    self._since_s.setdefault(record.guid, (record.seal, self._clock()))
            if not page.more:
                return
            after_guid = page.items[-1].guid
            await asyncio.sleep(0)
