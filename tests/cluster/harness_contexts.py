"""Raw gRPC of contexts against a node: a Sync stream as it is on the wire, and replicas that edit with pycrdt alone.

async with plan(cluster.endpoint("a")) as ann, ann.stream() as stream:
    await stream.until_acked(stream.send(ann.replica.set("k", 1)))
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final, Self, TypeAlias

import grpc
from pycrdt import Doc, Map

from tallystick.testing.local_wait import eventually
from tallystick.v1 import context_pb2, context_pb2_grpc
from tests.cluster.harness import Cluster
from tests.cluster.harness_grpc import raw_channel

WAIT_S: Final = 60.0
LOCAL, QUORUM = context_pb2.ACK_LEVEL_LOCAL, context_pb2.ACK_LEVEL_QUORUM

_Call: TypeAlias = "grpc.aio.StreamStreamCall[context_pb2.SyncRequest, context_pb2.SyncResponse]"


class Replica:
    """A replica of one incarnation of a client: each edit gives its update."""

    def __init__(self, writer: int) -> None:
        self.writer = writer
        self.incarnation = os.urandom(16)
        self.doc: Doc[Map[object]] = Doc(client_id=writer)
        self._map = self.doc.get("m", type=Map)

    def set(self, key: str, value: object) -> bytes:
        """Sets a key; the update."""
        before = self.doc.get_state()
        self._map[key] = value
        return self.doc.get_update(before)

    def delete(self, key: str) -> bytes:
        """Deletes a key; the update."""
        before = self.doc.get_state()
        del self._map[key]
        return self.doc.get_update(before)

    def content(self) -> dict[str, object]:
        """What it holds."""
        return dict(self._map.to_py() or {})


class Stream:
    """A Sync stream of a replica, which merges what it is sent. Use it as a context."""

    def __init__(self, caller: Caller, replica: Replica) -> None:
        self._caller = caller
        self._acked: dict[context_pb2.AckLevel.ValueType, context_pb2.SyncAck] = {}
        self.replica = replica
        self.seen: list[context_pb2.SyncResponse] = []
        self.opened = context_pb2.SyncOpened()
        self._call: _Call | None = None
        self._number = 0
        self._part = b""
        self._sending: asyncio.Queue[context_pb2.SyncRequest] = asyncio.Queue()

    async def __aenter__(self) -> Self:
        opening = context_pb2.SyncOpen(
            context=self._caller.context,
            actor=self._caller.actor,
            incarnation=self.replica.incarnation,
            state_vector=self.replica.doc.get_state(),
        )
        self._sending.put_nowait(context_pb2.SyncRequest(open=opening))
        self._call = self._caller.stub.Sync(self._requests())
        self.opened = (await self.until("opened")).opened
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._call is not None:
            self._call.cancel()

    def send(self, update: bytes, writer: int | None = None, cause: str = "", epoch: int = 0) -> int:
        """Sends an update; its number."""
        self._number += 1
        writer = self.replica.writer if writer is None else writer
        message = context_pb2.SyncUpdate(number=self._number, writer=writer, update=update, cause=cause, epoch=epoch)
        self._sending.put_nowait(context_pb2.SyncRequest(update=message))
        return self._number

    async def next(self) -> context_pb2.SyncResponse:
        """The next response; what it brings is merged into the replica. Raises as gRPC does."""
        assert self._call is not None
        async with asyncio.timeout(WAIT_S):
            response = await anext(aiter(self._call))
        self.seen.append(response)
        match response.WhichOneof("body"):
            case "part":
                self._part += response.part.data
                if response.part.is_last:
                    self.replica.doc.apply_update(self._part)
                    self._part = b""
            case "ack":
                self._acked[response.ack.level] = response.ack
            case "pushed":
                self.replica.doc.apply_update(response.pushed.update)
        return response

    async def until(
        self, body: str, wanted: Callable[[context_pb2.SyncResponse], bool] = lambda _: True
    ) -> context_pb2.SyncResponse:
        """The next response of a kind that is wanted."""
        while True:
            response = await self.next()
            if response.WhichOneof("body") == body and wanted(response):
                return response

    async def until_acked(self, number: int, level: context_pb2.AckLevel.ValueType = LOCAL) -> context_pb2.SyncAck:
        """The first ack from now on that covers an update, or the newest one if that does."""
        while level not in self._acked or self._acked[level].number < number:
            await self.next()
        return self._acked[level]

    async def until_holds(self, key: str, value: object) -> None:
        """Returns once the replica holds this."""
        while self.replica.content().get(key) != value:
            await self.next()

    async def _requests(self) -> AsyncIterator[context_pb2.SyncRequest]:
        while True:
            yield await self._sending.get()


class Caller:
    """Calls of one actor at one node, about one context."""

    def __init__(
        self, stub: context_pb2_grpc.ContextServiceAsyncStub, name: str, actor: str, first_writer: int
    ) -> None:
        self.stub = stub
        self.context = context_pb2.ContextRef(namespace="demo", name=name)
        self.actor = actor
        self._next_writer = first_writer

    def replica(self) -> Replica:
        """An empty one, under a writer id of its own."""
        self._next_writer += 1
        return Replica(self._next_writer - 1)

    def stream(self, replica: Replica | None = None) -> Stream:
        """To be entered."""
        return Stream(self, replica or self.replica())

    async def content(self, after: context_pb2.Cursor | None = None) -> dict[str, object]:
        """What the node has, at least this, as JSON says it."""
        request = context_pb2.PullRequest(context=self.context, as_json=True, after=after)
        text = b"".join([part.data async for part in self.stub.Pull(request, timeout=WAIT_S)])
        roots = json.loads(text)
        assert isinstance(roots, dict)
        return dict(roots.get("m", {}))


@asynccontextmanager
async def calling(cluster: Cluster, node_id: str, name: str = "plan", actor: str = "ann") -> AsyncIterator[Caller]:
    """A caller of a node, and a context, created if it is not there; 64 writer ids are the caller's."""
    async with raw_channel(cluster.endpoint(node_id)) as channel:
        stub: context_pb2_grpc.ContextServiceAsyncStub = context_pb2_grpc.ContextServiceStub(channel)
        guid = hashlib.sha256(name.encode()).digest()[:16]
        ref = context_pb2.ContextRef(namespace="demo", name=name)
        created = context_pb2.CreateContextRequest(context=ref, guid=guid, actor="ann")
        await stub.CreateContext(created, timeout=WAIT_S, wait_for_ready=True)
        asked = context_pb2.AllocateWritersRequest(namespace="demo", actor=actor, count=64)
        given = await stub.AllocateWriters(asked, timeout=WAIT_S)
        yield Caller(stub, name, actor, given.first)


async def worker_pid(cluster: Cluster, node_id: str, *, other_than: int = 0) -> int:
    """The process of the worker that a node has now, by its log."""

    async def look() -> int | None:
        started = re.findall(r'"event": ?"worker_started".*?"pid": ?(\d+)', cluster.nodes[node_id].log_text())
        return int(started[-1]) if started and int(started[-1]) != other_than else None

    return await eventually(look, within_s=WAIT_S, what="a worker is started")


async def kill_worker(cluster: Cluster, node_id: str) -> int:
    """SIGKILL to the worker of a node; which it was."""
    pid = await worker_pid(cluster, node_id)
    os.kill(pid, signal.SIGKILL)
    return pid
