"""Tells the hub what was decided of documents, and compares all of them with the worker's where something was missed.

Rules of this file:
- What is decided is told at once, in order (`context_decided`). At a start, after a snapshot, and when more was decided
  than the hub holds chores for, all is looked at.
- Nothing is forgotten that may only be unknown yet: a document of the worker is, if its end was decided.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from typing import Final

from tallystick.errors import Conflict, NotFound, Reason, TallystickError, Unavailable
from tallystick.worker.v1 import worker_pb2
from tallystick_node.context_store.decided import DecidedContexts
from tallystick_node.context_store.merged.limits import LOOK_PAGE, RECORDS_CACHED, RETRY_EVERY_S
from tallystick_node.contexts.hub.hub import Hub
from tallystick_node.contexts.ids import ContextId
from tallystick_node.core.contexts import FIRST_EPOCH
from tallystick_node.core.outcomes import ContextChange, ContextDecided, ContextRecord

log = logging.getLogger(__name__)

SPARE_WRITERS: Final = 16
"""Writer ids that a node takes at once, for what it carries over into new epochs."""
ALLOCATE_S: Final = 5.0
"""How long that may take."""


class Following:
    """See the module: a `ContextListener`."""

    def __init__(self, decided: DecidedContexts, hub: Hub) -> None:
        self._decided = decided
        self._hub = hub
        self._records: OrderedDict[bytes, ContextRecord] = OrderedDict()
        self._spares: deque[int] = deque()
        self._waiting: dict[bytes, list[asyncio.Future[None]]] = {}

    # What is decided (`ContextListener`).

    def context_decided(self, event: ContextDecided) -> None:
        """See `ContextListener`."""
        self._records.pop(event.guid, None)
        match event.change:
            case ContextChange.CREATED | ContextChange.EPOCH_STARTED:
                # Events are heard once all of their entries are applied: a later one may have ended this epoch.
                record = self.record(event.guid)
                if record is not None and record.epoch == event.epoch:
                    self.begin(record)
            case ContextChange.DELETED:
                self._hub.deleted(event.guid)
            case ContextChange.SEALED | ContextChange.UNSEALED | ContextChange.VERSION_SAVED:
                pass
        for future in self._waiting.pop(event.guid, ()):
            if not future.done():
                future.set_result(None)

    def contexts_replaced(self) -> None:
        """See `ContextListener`."""
        self._records.clear()
        self._hub.chores.needs_look = True
        for waiting in self._waiting.values():
            for future in waiting:
                if not future.done():
                    future.set_result(None)
        self._waiting.clear()

    def record(self, guid: bytes) -> ContextRecord | None:
        """A document as it is decided, as far as this node has applied the log."""
        record = self._records.get(guid)
        if record is None:
            record = self._decided.info_by_guid(guid)
            if record is not None:
                self._records[guid] = record
                if len(self._records) > RECORDS_CACHED:
                    self._records.popitem(last=False)
        return record

    async def changed(self, guid: bytes) -> None:
        """Returns when something was decided of a document. The caller bounds it."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(guid, [])
        waiting.append(future)
        try:
            await future
        finally:
            if not future.done() or future.cancelled():
                waiting.remove(future)
                if not waiting:
                    self._waiting.pop(guid, None)

    def admit(self, document: ContextId, origin: worker_pb2.Origin.ValueType) -> None:
        """Whether this may be merged now, as far as it depends on what was decided.

        Raises:
            NotFound: the document was deleted, or is not known here yet.
            Conflict: EPOCH_CONFLICT, it is in a newer epoch.
            Unavailable: CONTEXT_SEALED, for edits of clients; BEHIND, the epoch is not known here yet.
        """
        record = self.record(document.guid)
        if record is None:
            raise NotFound("the context does not exist", reason=Reason.CONTEXT_NOT_FOUND)
        if record.epoch != document.epoch:
            message = f"context {record.name!r} is in epoch {record.epoch}, not in {document.epoch}"
            if record.epoch < document.epoch:
                raise Unavailable(message, reason=Reason.BEHIND)
            raise Conflict(message, reason=Reason.EPOCH_CONFLICT, metadata={"epoch": str(record.epoch)})
        if record.is_sealed and origin != worker_pb2.ORIGIN_PEER:
            raise Unavailable(f"context {record.name!r} is between two epochs", reason=Reason.CONTEXT_SEALED)

    def begin(self, record: ContextRecord) -> None:
        """The worker does not know a document as it was decided: it is told.

        Nothing is told of an epoch that is over by now: the next event, or the next look, tells of the one after it.
        """
        document = ContextId(record.guid, record.epoch)
        base = self._decided.base_of(record.guid, record.epoch)
        if base is None:
            return
        if record.epoch > FIRST_EPOCH:
            self._start_epoch(record, document, base)
        else:
            self._hub.created(document, base)

    def begin_if_unknown(self, guid: bytes) -> None:
        """As `begin`, unless that is under way or the document is gone."""
        record = self.record(guid)
        if record is not None and self._hub.chores.is_settled(guid):
            self.begin(record)

    def _start_epoch(self, record: ContextRecord, document: ContextId, base: bytes) -> None:
        async def fresh_writer() -> int:
            return await self._fresh_writer(record.namespace)

        self._hub.epoch_started(document, base, fresh_writer, record.schema)

    async def _fresh_writer(self, namespace: str) -> int:
        if not self._spares:
            given = await self._decided.allocate_writers(
                namespace, SPARE_WRITERS, actor=f"node:{self._hub.node_id}", timeout_s=ALLOCATE_S
            )
            self._spares.extend(range(given.first, given.first + given.count))
        return self._spares.popleft()

    # Looking at all.

    async def run(self) -> None:
        """Looks when it has to, until it is cancelled."""
        while True:
            await asyncio.sleep(RETRY_EVERY_S)
            if not (self._hub.chores.needs_look and self._hub.is_up):
                continue
            self._hub.chores.needs_look = False
            try:
                await self.look()
            except TallystickError as error:
                self._hub.chores.needs_look = True
                log.info("contexts not compared", extra={"event": "contexts_not_compared", "why": str(error)})

    async def look(self) -> None:
        """Compares all documents of the worker with the decided ones, both in the order of their guids.

        Raises:
            Unavailable: the worker does not answer.
        """
        after = b""
        while True:
            listed, until = await self._listed(after)
            for guid, epoch in listed.items():
                record = self.record(guid)
                if record is None:  # perhaps not decided yet, here: a node that starts has its log to apply still
                    if self._decided.was_deleted(guid):
                        self._hub.deleted(guid)
                elif epoch < record.epoch:
                    self.begin(record)
            await self._look_for_missing(listed, after, until)
            if until is None:
                return
            after = until

    async def _listed(self, after: bytes) -> tuple[dict[bytes, int], bytes | None]:
        """A page of what the worker has, and the last guid of it; None: there is no more."""
        asked = worker_pb2.ListDocuments(after_guid=after, limit=LOOK_PAGE)
        response = await self._hub.ask(b"", worker_pb2.Request(list_documents=asked))
        listed = {each.guid: each.epoch for each in response.documents.ids}
        return listed, max(listed, default=None)

    async def _look_for_missing(self, listed: dict[bytes, int], after: bytes, until: bytes | None) -> None:
        """Begins the decided documents between two guids that the worker does not have."""
        while True:
            page = self._decided.all_documents(after)
            for record in page.items:
                if until is not None and record.guid > until:
                    return
                if record.guid not in listed and self._decided.base(record.guid):
                    self.begin(record)
            if not page.more:
                return
            after = page.items[-1].guid
            await asyncio.sleep(0)
