"""What the tests of the hub and of the merged use cases share: documents in memory, replicas, streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

from pycrdt import Doc, Map

from tallystick.errors import Conflict, Reason, TallystickError, Unavailable
from tallystick.v1 import common_pb2, context_pb2
from tallystick.worker.v1 import worker_pb2
from tallystick_node.access import ReadFrom
from tallystick_node.context_store.decided import ContextListener, DecidedContexts
from tallystick_node.context_store.merged.contexts import Caller, MergedContexts
from tallystick_node.contexts.hub.hub import Hub
from tallystick_node.contexts.ids import ContextId
from tallystick_node.contexts.port import OnEarly, PortStatus
from tallystick_node.contexts.updates.admission import Origin, admit
from tallystick_node.contexts.updates.state_vectors import decode
from tallystick_node.core.contexts import not_found
from tallystick_node.core.outcomes import ContextChange, ContextDecided, ContextRecord, WritersGiven
from tallystick_node.storage.context_reads import Owner
from tallystick_node.storage.pages import Page

DEADLINE_S = 20.0
GUID = bytes(range(16))
DOCUMENT = ContextId(GUID, 1)
WRITER = 2**32
"""The first writer id of the actor "ann"; every further one is hers too, up to 1000."""
INCARNATION = b"i" * 16
WORKER_DOWN = Unavailable("the worker died", reason=Reason.WORKER_DOWN)

_ORIGINS = {
    worker_pb2.ORIGIN_CLIENT: Origin.CLIENT,
    worker_pb2.ORIGIN_WEB: Origin.WEB,
    worker_pb2.ORIGIN_PEER: Origin.PEER,
    worker_pb2.ORIGIN_SEED: Origin.SEED,
}


class Replica:
    """A replica of a client: each edit gives its update."""

    def __init__(self, writer: int = WRITER) -> None:
        self.writer = writer
        self.doc: Doc[Map[object]] = Doc(client_id=writer)
        self._map = self.doc.get("m", type=Map)

    def set(self, key: str, value: object) -> bytes:
        """Sets a key; the update."""
        before = self.doc.get_state()
        self._map[key] = value
        return self.doc.get_update(before)

    def apply(self, update: bytes) -> None:
        self.doc.apply_update(update)

    @property
    def state_vector(self) -> bytes:
        return self.doc.get_state()

    def content(self) -> dict[str, object]:
        """What it holds."""
        return dict(self._map.to_py() or {})


@dataclass
class MemoryDocument:
    """A document as a worker has it."""

    epoch: int
    doc: Doc[Map[object]] = field(default_factory=Doc)
    number: int = 0


def copy_of(document: MemoryDocument) -> MemoryDocument:
    copy = MemoryDocument(document.epoch, number=document.number)
    copy.doc.apply_update(document.doc.get_update())
    return copy


class MemoryPort:
    """`Documents` in memory, with updates admitted as a worker admits them.

    Attributes:
        asked: all that was asked.
        error: raised in place of every answer.
        lose: the answers of so many merges to come are lost: they are merged, and the worker dies.
        hold: an answer waits for it.
        early: peers' merges are told early, and answered once `may_sync` is set.
        in_vain: in place of so many of these answers `why_in_vain` comes, and nothing was stored.
    """

    def __init__(self) -> None:
        self.documents: dict[bytes, MemoryDocument] = {}
        self.asked: list[worker_pb2.Request] = []
        self.was_asked = asyncio.Event()
        self.error: TallystickError | None = None
        self.lose = 0
        self.hold: asyncio.Event | None = None
        self.early = False
        self.in_vain = 0
        self.why_in_vain: TallystickError = WORKER_DOWN
        self.may_sync = asyncio.Event()
        self.part_bytes = 1 << 20
        self._parts: dict[int, bytes] = {}
        self._line = asyncio.Lock()

    is_up = True
    status = PortStatus()

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def ask(self, request: worker_pb2.Request, on_early: OnEarly | None = None) -> worker_pb2.Response:
        self.was_asked.set()
        if self.error is not None:
            raise self.error
        asked = worker_pb2.Request()
        asked.CopyFrom(request)
        self.asked.append(asked)
        async with self._line:
            await asyncio.sleep(0)
            if self.hold is not None:
                await self.hold.wait()
            if on_early is not None and asked.merge.origin == worker_pb2.ORIGIN_PEER and self.early:
                return await self._answer_early(asked, on_early)
            return self._answer(asked)

    async def _answer_early(self, request: worker_pb2.Request, on_early: OnEarly) -> worker_pb2.Response:
        kept = copy_of(self.documents[GUID])
        answer = self._answer(request)
        on_early(answer)
        await self.may_sync.wait()
        if self.in_vain:
            self.in_vain -= 1
            self.documents[GUID] = kept
            raise self.why_in_vain
        return answer

    def count(self, body: str) -> int:
        """How often something was asked."""
        return sum(request.WhichOneof("body") == body for request in self.asked)

    def content(self, guid: bytes = GUID) -> dict[str, object]:
        """What a document holds."""
        return dict(self.documents[guid].doc.get("m", type=Map).to_py() or {})

    def _answer(self, request: worker_pb2.Request) -> worker_pb2.Response:
        match request.WhichOneof("body"):
            case "merge":
                merged = self._merge(request.merge)
                if self.lose:
                    self.lose -= 1
                    raise WORKER_DOWN
                return worker_pb2.Response(merged=merged)
            case "describe":
                document = self._document(ContextId.of(request.describe.id))
                return worker_pb2.Response(described=worker_pb2.Described(cursor=self._cursor(document)))
            case "diff":
                document = self._document(ContextId.of(request.diff.id))
                return self._data(document.doc.get_update(request.diff.state_vector or None), document)
            case "part":
                rest = self._parts[request.part.handle][request.part.offset :]
                return worker_pb2.Response(data=worker_pb2.Data(data=rest[: self.part_bytes]))
            case "forget":
                self.documents.pop(request.forget.guid, None)
                return worker_pb2.Response(done=worker_pb2.Done())
            case "start_epoch":
                return self._start_epoch(request.start_epoch)
            case "list_documents":
                ids = [
                    ContextId(guid, document.epoch).to_proto()
                    for guid, document in sorted(self.documents.items())
                    if guid > request.list_documents.after_guid
                ]
                listed = worker_pb2.DocumentList(ids=ids[: request.list_documents.limit])
                return worker_pb2.Response(documents=listed)
        raise NotImplementedError(request)

    def _merge(self, merge: worker_pb2.Merge) -> worker_pb2.Merged:
        document = self._document(ContextId.of(merge.id))
        known = decode(document.doc.get_state())
        admitted = admit(merge.update, known, origin=_ORIGINS[merge.origin], writer=merge.edit.writer)
        if admitted.lacks:
            return worker_pb2.Merged(lacks_state_vector=document.doc.get_state(), number=document.number)
        if admitted.written:
            document.doc.apply_update(merge.update)
            document.number += 1
        return worker_pb2.Merged(
            is_novel=bool(admitted.written),
            number=document.number,
            state_vector=document.doc.get_state(),
            edit=merge.edit,
        )

    def _document(self, id: ContextId) -> MemoryDocument:  # noqa: A002
        document = self.documents.setdefault(id.guid, MemoryDocument(id.epoch))
        if document.epoch != id.epoch:
            raise Conflict("another epoch", reason=Reason.EPOCH_CONFLICT)
        return document

    def _start_epoch(self, start: worker_pb2.StartEpoch) -> worker_pb2.Response:
        document = self.documents[start.id.guid] = MemoryDocument(start.id.epoch, number=1)
        document.doc.apply_update(start.base)
        return worker_pb2.Response(done=worker_pb2.Done(changed=True))

    def _cursor(self, document: MemoryDocument) -> context_pb2.Cursor:
        return context_pb2.Cursor(
            guid=GUID, epoch=document.epoch, state_vector=document.doc.get_state(), number=document.number
        )

    def _data(self, data: bytes, document: MemoryDocument) -> worker_pb2.Response:
        handle = len(self._parts) + 1
        self._parts[handle] = data
        first = data[: self.part_bytes]
        answer = worker_pb2.Data(data=first, size_bytes=len(data), handle=handle, cursor=self._cursor(document))
        return worker_pb2.Response(data=answer)


class MemoryDecided:
    """What is decided, in memory: one context "plan" of "demo", unless told otherwise."""

    def __init__(self) -> None:
        self.records = {GUID: record()}
        self.bases: dict[bytes, bytes] = {}
        self.listeners: list[ContextListener] = []
        self.unknown_owners: set[int] = set()
        self.gone: set[bytes] = set()

    def listen(self, listener: ContextListener) -> None:
        self.listeners.append(listener)

    def decide(self, change: ContextChange, new: ContextRecord | None, guid: bytes = GUID, base: bytes = b"") -> None:
        """Applies a change, and tells of it."""
        old = self.records.pop(guid, None)
        if new is not None:
            self.records[guid] = new
            self.bases[guid] = base or self.bases.get(guid, b"")
        elif change is ContextChange.DELETED:
            self.gone.add(guid)
        named = new or old
        assert named is not None
        event = ContextDecided(9, change, named.namespace, named.name, guid, named.epoch, 0, "ann", b"")
        for listener in self.listeners:
            listener.context_decided(event)

    def info(self, namespace: str, name: str) -> ContextRecord:
        for found in self.records.values():
            if (found.namespace, found.name) == (namespace, name):
                return found
        raise not_found(namespace, name)

    async def describe(self, namespace: str, name: str, read_from: ReadFrom) -> ContextRecord:
        return self.info(namespace, name)

    def info_by_guid(self, guid: bytes) -> ContextRecord | None:
        return self.records.get(guid)

    def was_deleted(self, guid: bytes) -> bool:
        return guid in self.gone

    def base(self, guid: bytes) -> bytes:
        return self.bases.get(guid, b"")

    def base_of(self, guid: bytes, epoch: int) -> bytes | None:
        found = self.records.get(guid)
        return self.bases.get(guid, b"") if found is not None and found.epoch == epoch else None

    def known_owner(self, writer: int) -> Owner | None:
        if writer in self.unknown_owners:
            return None
        return Owner("demo", "ann") if WRITER <= writer < WRITER + 1000 else Owner("demo", "bob")

    async def owner_of(self, writer: int, timeout_s: float) -> Owner | None:
        return self.known_owner(writer)

    async def allocate_writers(self, namespace: str, count: int, *, actor: str, timeout_s: float) -> WritersGiven:
        return WritersGiven(1, WRITER + 5000, count)

    def all_documents(self, after_guid: bytes = b"") -> Page[ContextRecord]:
        return Page([self.records[guid] for guid in sorted(self.records) if guid > after_guid], more=False)


def record(guid: bytes = GUID, name: str = "plan", epoch: int = 1, seal: int = 0) -> ContextRecord:
    return ContextRecord(guid, "demo", name, epoch, seal, "ann", 0, 0, 1, b"", b"")


class Stage:
    """A hub on documents in memory, and the use cases on it."""

    def __init__(self, voters: tuple[str, ...] = ("a",)) -> None:
        self.port = MemoryPort()
        self.decided = MemoryDecided()
        self.voters = frozenset(voters)
        self.now_s = 100.0
        self.hub = Hub(self.port, node_id="a", clock=lambda: self.now_s, unix_ms=lambda: 5, voters=lambda: self.voters)
        self.merged = MergedContexts(cast("DecidedContexts", self.decided), self.hub)


@asynccontextmanager
async def stage(voters: tuple[str, ...] = ("a",)) -> AsyncIterator[Stage]:
    """The use cases, running."""
    made = Stage(voters)
    running = asyncio.create_task(made.merged.run())
    try:
        async with asyncio.timeout(DEADLINE_S):
            yield made
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await made.hub.close()


class Stream:
    """A Sync stream, as a client has it. Use it as a context."""

    def __init__(
        self,
        stage: Stage,
        *,
        actor: str = "ann",
        incarnation: bytes = INCARNATION,
        state_vector: bytes = b"",
        guid: bytes = b"",
        epoch: int = 0,
        after: context_pb2.Cursor | None = None,
        peer: str = "p",
        timeout_s: float = DEADLINE_S,
    ) -> None:
        ref = context_pb2.ContextRef(namespace="demo", name="plan")
        opening = context_pb2.SyncOpen(
            context=ref,
            actor=actor,
            incarnation=incarnation,
            state_vector=state_vector,
            guid=guid,
            epoch=epoch,
            after=after,
        )
        self._requests: asyncio.Queue[context_pb2.SyncRequest | None] = asyncio.Queue()
        self._responses = stage.merged.sync(
            opening, self._sent(), Caller(actor, peer, timeout_s), common_pb2.ResponseHeader, _info
        )
        self._number = 0
        self.seen: list[context_pb2.SyncResponse] = []

    async def __aenter__(self) -> Stream:
        await self.until("opened")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._responses.aclose()

    def send(self, update: bytes, writer: int = WRITER, epoch: int = 0) -> int:
        """Sends an update; its number."""
        self._number += 1
        message = context_pb2.SyncUpdate(number=self._number, writer=writer, update=update, epoch=epoch)
        self._requests.put_nowait(context_pb2.SyncRequest(update=message))
        return self._number

    def resync(self, state_vector: bytes) -> None:
        message = context_pb2.SyncResync(state_vector=state_vector)
        self._requests.put_nowait(context_pb2.SyncRequest(resync=message))

    def end(self) -> None:
        self._requests.put_nowait(None)

    async def next(self) -> context_pb2.SyncResponse:
        """The next response."""
        response = await anext(self._responses)
        self.seen.append(response)
        return response

    async def until(
        self, body: str, wanted: Callable[[context_pb2.SyncResponse], bool] = lambda _: True
    ) -> context_pb2.SyncResponse:
        """The next response of a kind that is wanted; those before it are in `seen`."""
        while True:
            response = await self.next()
            if response.WhichOneof("body") == body and wanted(response):
                return response

    async def until_acked(
        self, number: int, level: context_pb2.AckLevel.ValueType = context_pb2.ACK_LEVEL_LOCAL
    ) -> context_pb2.SyncAck:
        found = await self.until("ack", lambda response: response.ack.number >= number and response.ack.level == level)
        return found.ack

    async def _sent(self) -> AsyncIterator[context_pb2.SyncRequest]:
        while (request := await self._requests.get()) is not None:
            yield request


def _info(of: ContextRecord) -> context_pb2.ContextInfo:
    return context_pb2.ContextInfo(guid=of.guid, epoch=of.epoch)
