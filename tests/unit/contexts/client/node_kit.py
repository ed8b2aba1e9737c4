"""A node of one document, for the tests of the client: real gRPC on loopback, pycrdt behind it, and faults by script.

Rules of this file: a stream is answered in the order of what comes; what is to go wrong is said in attributes.
"""

# ruff: noqa: N802 - methods are named as in the .proto
from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc
import pycrdt

from tallystick import Client, Reason, connect
from tallystick.v1 import common_pb2, context_pb2, context_pb2_grpc, state_pb2
from tests.unit.client_kit import abort

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

    ServicerContext = grpc.aio.ServicerContext[context_pb2.SyncRequest, context_pb2.SyncResponse]

DEADLINE_S = 20.0


@dataclass
class Shared:
    """One document, as its nodes have it.

    Attributes:
        refuses: causes whose edits are refused, and why.
        acks: the levels that are acknowledged.
    """

    doc: pycrdt.Doc[pycrdt.Map[object]] = field(default_factory=lambda: pycrdt.Doc(client_id=7))
    guid: bytes = b"g" * 16
    epoch: int = 1
    number: int = 0
    next_writer: int = 2**32
    exists: bool = True
    refuses: dict[str, Reason] = field(default_factory=dict)
    refusal: Reason = Reason.MALFORMED_UPDATE
    refuses_if: Callable[[context_pb2.SyncUpdate], bool] | None = None
    acks: tuple[int, ...] = (context_pb2.ACK_LEVEL_LOCAL, context_pb2.ACK_LEVEL_QUORUM)
    streams: dict[asyncio.Queue[context_pb2.SyncResponse | None], None] = field(default_factory=dict)
    got: list[context_pb2.SyncUpdate] = field(default_factory=list)
    opened: list[context_pb2.SyncOpen] = field(default_factory=list)
    resyncs: int = 0
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    def cursor(self) -> context_pb2.Cursor:
        return context_pb2.Cursor(
            guid=self.guid,
            epoch=self.epoch,
            state_vector=self.doc.get_state(),
            node_id="n",
            number=self.number,
        )

    def info(self) -> context_pb2.ContextInfo:
        return context_pb2.ContextInfo(
            context=context_pb2.ContextRef(namespace="demo", name="plan"), guid=self.guid, epoch=self.epoch
        )

    def push(self, update: bytes, writer: int, clock: int, end_clock: int, *, actor: str = "other") -> None:
        """Somebody else's edit: merged here, and told to all streams."""
        self.doc.apply_update(update)
        self.number += 1
        edit = context_pb2.Edit(
            number=self.number, writer=writer, clock=clock, end_clock=end_clock, actor=actor, cause="elsewhere"
        )
        pushed = context_pb2.SyncPushed(update=update, edit=edit, cursor=self.cursor())
        for out in self.streams:
            out.put_nowait(context_pb2.SyncResponse(pushed=pushed))

    def start_epoch(self, tasks: dict[str, object]) -> None:
        """The next epoch begins with this; all streams are told."""
        self.doc, self.epoch = pycrdt.Doc(client_id=1), self.epoch + 1
        self.doc.get("tallystick", type=pycrdt.Map)["roots/tasks"] = "map"
        self.doc.get("tasks", type=pycrdt.Map).update(tasks)
        for out in self.streams:
            out.put_nowait(context_pb2.SyncResponse(moved=context_pb2.SyncMoved(info=self.info())))

    def ack(self, number: int) -> None:
        """Acknowledges on all streams, by hand."""
        ack = context_pb2.SyncAck(number=number, level=context_pb2.ACK_LEVEL_LOCAL, cursor=self.cursor())
        for out in self.streams:
            out.put_nowait(context_pb2.SyncResponse(ack=ack))

    def break_streams(self) -> None:
        """Every stream ends."""
        for out in self.streams:
            out.put_nowait(None)

    def content(self) -> dict[str, object]:
        """The root `tasks`, as JSON."""
        return dict(self.doc.get("tasks", type=pycrdt.Map).to_py() or {})

    async def until_got(self, count: int) -> None:
        """Waits for so many updates."""
        async with asyncio.timeout(DEADLINE_S):
            while len(self.got) < count:
                self.heard.clear()
                await self.heard.wait()


class Node(context_pb2_grpc.ContextServiceServicer):
    """See the module."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared

    async def AllocateWriters(
        self, request: context_pb2.AllocateWritersRequest, context: ServicerContext
    ) -> context_pb2.AllocateWritersResponse:
        first = self.shared.next_writer
        self.shared.next_writer += request.count
        return context_pb2.AllocateWritersResponse(header=_HEADER, first=first, count=request.count)

    async def CreateContext(
        self, request: context_pb2.CreateContextRequest, context: ServicerContext
    ) -> context_pb2.CreateContextResponse:
        self.shared.exists = True
        if request.seed:
            self.shared.doc.apply_update(request.seed)
        return context_pb2.CreateContextResponse(header=_HEADER, info=self.shared.info())

    async def DescribeContext(
        self, request: context_pb2.DescribeContextRequest, context: ServicerContext
    ) -> context_pb2.DescribeContextResponse:
        if not self.shared.exists:
            await abort(context, Reason.CONTEXT_NOT_FOUND)  # type: ignore[arg-type]
        return context_pb2.DescribeContextResponse(header=_HEADER, info=self.shared.info())

    async def Sync(
        self, requests: AsyncIterable[context_pb2.SyncRequest], context: ServicerContext
    ) -> AsyncIterator[context_pb2.SyncResponse]:
        shared, out = self.shared, asyncio.Queue[context_pb2.SyncResponse | None]()
        incoming = aiter(requests)
        opening = (await anext(incoming)).open
        shared.opened.append(opening)
        if not shared.exists:
            await abort(context, Reason.CONTEXT_NOT_FOUND)  # type: ignore[arg-type]
        yield context_pb2.SyncResponse(
            opened=context_pb2.SyncOpened(header=_HEADER, info=shared.info(), cursor=shared.cursor())
        )
        if opening.epoch and opening.epoch < shared.epoch:
            out.put_nowait(context_pb2.SyncResponse(moved=context_pb2.SyncMoved(info=shared.info())))
        else:
            out.put_nowait(_part(shared, opening.state_vector))
        shared.streams[out] = None
        reader = asyncio.create_task(self._read(incoming, out))
        try:
            while (response := await out.get()) is not None:
                yield response
        finally:
            reader.cancel()
            del shared.streams[out]

    async def _read(
        self, requests: AsyncIterator[context_pb2.SyncRequest], out: asyncio.Queue[context_pb2.SyncResponse | None]
    ) -> None:
        shared = self.shared
        refused_writers: dict[int, Reason] = {}
        async for request in requests:
            if request.WhichOneof("body") == "resync":
                shared.resyncs += 1
                out.put_nowait(_part(shared, request.resync.state_vector))
                continue
            update = request.update
            shared.got.append(update)
            shared.heard.set()
            reason = shared.refuses.get(update.cause)
            if shared.refuses_if is not None and shared.refuses_if(update):
                reason = shared.refusal
            reason = reason or refused_writers.get(update.writer)
            if reason is not None:
                refused_writers[update.writer] = reason  # as a node does: what follows cannot be merged without it
                error = state_pb2.Error(reason=reason, message=f"says {reason}")
                out.put_nowait(
                    context_pb2.SyncResponse(refused=context_pb2.SyncRefused(number=update.number, error=error))
                )
                continue
            if update.epoch == shared.epoch:
                shared.doc.apply_update(update.update)
            shared.number += 1
            for level in shared.acks:
                ack = context_pb2.SyncAck(number=update.number, cursor=shared.cursor())
                ack.level = level  # type: ignore[assignment]
                out.put_nowait(context_pb2.SyncResponse(ack=ack))


_HEADER = common_pb2.ResponseHeader(node_id="n", revision=common_pb2.Revision(group=1, position=1))


def _part(shared: Shared, state_vector: bytes) -> context_pb2.SyncResponse:
    data = shared.doc.get_update(state_vector or b"\x00")
    return context_pb2.SyncResponse(part=context_pb2.SyncPart(data=data, is_last=True, cursor=shared.cursor()))


@asynccontextmanager
async def served(shared: Shared, *, actor: str = "me") -> AsyncIterator[Client]:
    """A client of a node that serves this."""
    async with (
        serving(shared) as endpoint,
        connect(endpoint, namespace="demo", actor=actor, timeout_s=DEADLINE_S) as client,
    ):
        yield client


@asynccontextmanager
async def serving(shared: Shared) -> AsyncIterator[str]:
    """The endpoint of a node that serves this."""
    server = grpc.aio.server()
    context_pb2_grpc.add_ContextServiceServicer_to_server(Node(shared), server)  # type: ignore[abstract]  # the rest is not asked for
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)
