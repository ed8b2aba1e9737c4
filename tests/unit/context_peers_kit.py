"""What the tests of the exchange between nodes share: documents that are simple, real servers and real streams.

A document here is, for each writer, a list of words, and a set of words that were deleted. An update is JSON: words
from a clock on, and deletions. It fits or lacks as a Yjs update does; state vectors and digests are of the same kind.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import random
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc

from tallystick.errors import Invalid, NotFound, Reason, TallystickError, Unavailable
from tallystick.peer.v1 import peer_pb2
from tallystick.v1 import context_pb2
from tallystick.worker.v1 import worker_pb2
from tallystick_node.contexts.hub.hub import LocalEdit
from tallystick_node.contexts.ids import ContextId
from tallystick_node.host import RealHost
from tallystick_node.peers.contexts.exchange import ContextExchange
from tallystick_node.peers.contexts.link import Around
from tallystick_node.peers.options import SERVER_OPTIONS
from tallystick_node.peers.servicer import PeerServicer
from tallystick_node.peers.tls import PeerCredentials
from tests.unit.peers_kit import DEADLINE_S, Recorder, local

GUID = bytes(range(16))
DOCUMENT = ContextId(GUID, 1)
PART = 64
"""Diffs come in parts of so many bytes."""


def update(writer: int, clock: int, *words: str, deletes: Iterable[str] = ()) -> bytes:
    """An update of one writer."""
    return json.dumps({"w": [[writer, clock, list(words)]], "d": sorted(deletes)}).encode()


@dataclass
class Doc:
    """A document, and how many updates merged into it."""

    words: dict[int, list[str]] = field(default_factory=dict)
    deletes: set[str] = field(default_factory=set)
    number: int = 0

    def state_vector(self) -> bytes:
        return json.dumps({str(writer): len(words) for writer, words in sorted(self.words.items())}).encode()

    def digest(self) -> bytes:
        said = json.dumps([sorted(self.words.items()), sorted(self.deletes)])
        return hashlib.sha256(said.encode()).digest()[:16]


@dataclass
class FakeDocuments:
    """The hub and its worker, in one: `Documents` and `Here`."""

    docs: dict[ContextId, Doc] = field(default_factory=dict)
    epochs: dict[bytes, int] = field(default_factory=lambda: {GUID: 1})
    acks: list[tuple[str, ContextId, int]] = field(default_factory=list)
    wholes: list[int] = field(default_factory=list)
    """How much of the log each of these acks stands for."""
    presences: dict[int, context_pb2.PresenceState] = field(default_factory=dict)
    error: TallystickError | None = None
    refused: int = 0
    """How often it was asked while there was an error."""
    damaged: set[bytes] = field(default_factory=set)
    origins: list[int] = field(default_factory=list)
    edits: list[context_pb2.Edit] = field(default_factory=list)
    told: Callable[[LocalEdit], None] = lambda _edit: None
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    stages: dict[int, bytes] = field(default_factory=dict)
    sent: dict[int, bytes] = field(default_factory=dict)
    bytes_compared: int = 0
    begun: list[bytes] = field(default_factory=list)

    def edit(self, data: bytes, document: ContextId = DOCUMENT) -> int:
        """A client of this node's edits."""
        merged = self._merge(document, data)
        assert merged.is_novel
        self.told(LocalEdit(document, merged.number, data, context_pb2.Edit(actor="x")))
        return merged.number

    def offer(self, document: ContextId = DOCUMENT) -> None:
        """A client of this node's has sent what was known here."""
        self.told(LocalEdit(document, self.doc(document).number, b"", context_pb2.Edit()))

    def doc(self, document: ContextId = DOCUMENT) -> Doc:
        return self.docs.setdefault(document, Doc())

    def epoch_of(self, guid: bytes) -> int:
        return self.epochs.get(guid, 0)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits until it holds, looking whenever something changed."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    # Documents

    async def ask(self, guid: bytes, request: worker_pb2.Request) -> worker_pb2.Response:
        self._refuse()
        match request.WhichOneof("body"):
            case "describe":
                return self._describe(ContextId.of(request.describe.id))
            case "diff":
                return self._diff(ContextId.of(request.diff.id), request.diff.state_vector)
            case "part":
                data = self.sent[request.part.handle][request.part.offset :][:PART]
                return worker_pb2.Response(data=worker_pb2.Data(data=data))
            case "stage":
                self.stages[request.stage.handle] = self.stages.get(request.stage.handle, b"") + request.stage.data
                return worker_pb2.Response()
            case "forget":
                self.docs = {key: doc for key, doc in self.docs.items() if key.guid != request.forget.guid}
                self.damaged.discard(request.forget.guid)
                return worker_pb2.Response()
            case "ranges":
                reply = compare(self.digests(), request.ranges.compare)
                self.bytes_compared += reply.ByteSize()
                return worker_pb2.Response(ranges=reply)
        raise NotImplementedError(guid)

    def digests(self) -> dict[ContextId, bytes]:
        return {document: doc.digest() for document, doc in self.docs.items() if doc.number}

    async def merge(self, document: ContextId, merge: worker_pb2.Merge) -> worker_pb2.Merged:
        await asyncio.sleep(0)
        self._refuse()
        if document.guid in self.damaged:
            raise Unavailable("damaged", reason=Reason.CONTEXT_DAMAGED)
        self.origins.append(merge.origin)
        self.edits += [merge.edit, *merge.edits]
        data = self.stages.pop(merge.staged) if merge.HasField("staged") else merge.update
        merged = self._merge(document, data)
        self.changed.set()
        return merged

    def note_ack(self, peer_id: str, document: ContextId, number: int, whole: int) -> None:
        self.acks.append((peer_id, document, number))
        self.wholes.append(whole)
        self.changed.set()

    # Here

    def set(self, guid: bytes, states: Iterable[context_pb2.PresenceState], *, is_local: bool) -> None:
        assert guid
        assert not is_local
        self.presences.update((state.writer, state) for state in states)
        self.changed.set()

    def local_states(self) -> Sequence[tuple[bytes, Sequence[context_pb2.PresenceState]]]:
        return []

    def _refuse(self) -> None:
        if self.error is not None:
            self.refused += 1
            self.changed.set()
            raise self.error

    def _merge(self, document: ContextId, data: bytes) -> worker_pb2.Merged:
        try:
            said = json.loads(data)
        except ValueError as error:
            raise Invalid("damaged", reason=Reason.MALFORMED_UPDATE) from error
        doc = self.doc(document)
        if any(clock > len(doc.words.get(writer, [])) for writer, clock, _ in said["w"]):
            return worker_pb2.Merged(lacks_state_vector=doc.state_vector())
        is_novel = not doc.deletes.issuperset(said["d"])
        doc.deletes.update(said["d"])
        for writer, clock, words in said["w"]:
            held = doc.words.setdefault(writer, [])
            if clock + len(words) > len(held):
                held[clock:] = words
                is_novel = True
        doc.number += is_novel
        return worker_pb2.Merged(is_novel=is_novel, number=doc.number, state_vector=doc.state_vector())

    def _describe(self, document: ContextId) -> worker_pb2.Response:
        if document.guid in self.damaged:
            raise Unavailable("damaged", reason=Reason.CONTEXT_DAMAGED)
        if document not in self.docs:
            raise NotFound("unknown", reason=Reason.CONTEXT_NOT_FOUND)
        cursor = context_pb2.Cursor(state_vector=self.doc(document).state_vector())
        return worker_pb2.Response(described=worker_pb2.Described(cursor=cursor))

    def _diff(self, document: ContextId, state_vector: bytes) -> worker_pb2.Response:
        doc = self.doc(document)
        has = json.loads(state_vector or b"{}")
        words = [
            [writer, has.get(str(writer), 0), words[has.get(str(writer), 0) :]] for writer, words in doc.words.items()
        ]
        data = json.dumps({"w": [part for part in words if part[2]], "d": sorted(doc.deletes)}).encode()
        handle = len(self.sent) + 1 if len(data) > PART else 0
        self.sent[handle] = data
        return worker_pb2.Response(
            data=worker_pb2.Data(
                data=data[:PART],
                size_bytes=len(data),
                handle=handle,
                cursor=context_pb2.Cursor(number=doc.number),
                edits=[context_pb2.Edit(actor="diffed")],
            )
        )


def compare(digests: dict[ContextId, bytes], request: peer_pb2.CompareContextsRequest) -> peer_pb2.CompareContextsReply:
    """What a worker answers that holds these."""
    reply = peer_pb2.CompareContextsReply()
    nibbles = {document: _nibbles(document.guid) for document in digests}
    for prefix in request.prefixes:
        inside = [document for document in digests if nibbles[document].startswith(prefix)]
        if request.list:
            for document in sorted(inside):
                reply.documents.add(id=document.to_proto(), digest=digests[document])
            continue
        parts: dict[bytes, list[bytes]] = {}
        for document in inside:
            parts.setdefault(nibbles[document][: len(prefix) + 1], []).append(digests[document])
        for part, held in sorted(parts.items()):
            digest = 0
            for one in held:
                digest ^= int.from_bytes(one, "big")
            reply.ranges.add(prefix=part, digest=digest.to_bytes(16, "big"), documents=len(held))
    return reply


@functools.lru_cache(32_768)
def _nibbles(guid: bytes) -> bytes:
    return bytes(int(digit, 16) for digit in hashlib.sha256(guid).hexdigest()[:3])


@dataclass
class ExchangeNode:
    """A node: fake documents, a real exchange."""

    node_id: str
    documents: FakeDocuments
    exchange: ContextExchange
    servicer: PeerServicer
    endpoint: str

    def is_like(self, *others: ExchangeNode) -> bool:
        """Whether they hold the same."""
        return all(self.documents.digests() == other.documents.digests() for other in others)


@asynccontextmanager
async def exchanging(
    node_id: str,
    documents: FakeDocuments | None = None,
    *,
    port: int = 0,
    incarnation: int = 1,
    credentials: PeerCredentials | None = None,
) -> AsyncIterator[ExchangeNode]:
    """A node that serves, and that exchanges with whom `exchange.update` names."""
    documents = documents or FakeDocuments()
    node = local(node_id, incarnation)
    servicer = PeerServicer(node, ("a", "b", "c"), Recorder(), require_certificate=credentials is not None)
    around = Around(
        node, documents, documents, documents.epoch_of, lambda _guid: 0, lambda: 0, documents.begun.append, RealHost()
    )
    exchange = ContextExchange(around, servicer, credentials)
    documents.told = exchange.push
    server = grpc.aio.server(options=SERVER_OPTIONS)
    servicer.add_to(server)
    exchange.add_to(server)
    address = f"127.0.0.1:{port}"
    bound = server.add_secure_port(address, credentials.server) if credentials else server.add_insecure_port(address)
    await server.start()
    running = asyncio.create_task(exchange.run())
    try:
        yield ExchangeNode(node_id, documents, exchange, servicer, f"127.0.0.1:{bound}")
    finally:
        running.cancel()
        await asyncio.wait({running})
        exchange.close()
        servicer.close()
        await server.stop(0)


def seeded() -> random.Random:
    """The same for each run."""
    return random.Random(7)
