"""Replicas of a context over raw gRPC, one a node: what a node does is seen without the client library's help.

async with replica(cluster, "a", "plan") as at_a:
    number = await at_a.edit(lambda doc: doc.get("tasks", type=pycrdt.Map).update({"t1": "done"}))
    await at_a.acked(number, QUORUM)
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

import grpc
import pycrdt

from tallystick.testing.local_base import LocalProcesses
from tallystick.testing.local_wait import eventually
from tallystick.v1 import context_pb2, context_pb2_grpc
from tests.cluster.harness import Cluster
from tests.cluster.harness_grpc import raw_channel

LOCAL: Final = context_pb2.ACK_LEVEL_LOCAL
QUORUM: Final = context_pb2.ACK_LEVEL_QUORUM
DEADLINE_S: Final = 60.0
NAMESPACE: Final = "demo"

Document: TypeAlias = "pycrdt.Doc[Any]"  # its type argument says nothing of its roots


def ref(name: str) -> context_pb2.ContextRef:
    """A context of the namespace of the tests."""
    return context_pb2.ContextRef(namespace=NAMESPACE, name=name)


async def share(cluster: Cluster, *names: str) -> None:
    """Makes contexts, and waits until all nodes hold the same of all: their workers answer."""
    await create(cluster, await cluster.wait_for_leader(), *names)
    for node_id in cluster.node_ids:
        await all_equal(cluster, node_id)


@asynccontextmanager
async def contexts(cluster: LocalProcesses, node_id: str) -> AsyncIterator[context_pb2_grpc.ContextServiceAsyncStub]:
    """`ContextService` of one node."""
    async with raw_channel(cluster.endpoint(node_id)) as channel:
        yield context_pb2_grpc.ContextServiceStub(channel)


async def create(cluster: LocalProcesses, node_id: str, *names: str) -> None:
    """Makes contexts, each with a fresh guid."""
    async with contexts(cluster, node_id) as stub:
        for name in names:
            request = context_pb2.CreateContextRequest(context=ref(name), guid=os.urandom(16), actor="maker")
            await stub.CreateContext(request, timeout=DEADLINE_S)


async def content(cluster: LocalProcesses, node_id: str, name: str, after: context_pb2.Cursor | None = None) -> object:
    """A document as a node has it, as JSON."""
    async with contexts(cluster, node_id) as stub:
        call = stub.Pull(context_pb2.PullRequest(context=ref(name), as_json=True, after=after), timeout=DEADLINE_S)
        pieces = [part.data async for part in call]
    found: object = json.loads(b"".join(pieces))
    return found


async def verify(cluster: LocalProcesses, node_id: str, name: str = "", *, deep: bool = False) -> bool:
    """Whether the voters hold the same, as a node says."""
    async with contexts(cluster, node_id) as stub:
        request = context_pb2.VerifyContextsRequest(namespace=NAMESPACE if name else "", name=name, deep=deep)
        return (await stub.VerifyContexts(request, timeout=DEADLINE_S)).equal


async def all_equal(cluster: LocalProcesses, node_id: str) -> None:
    """Waits until all voters hold the same of all documents."""

    async def look() -> bool:
        return await verify(cluster, node_id)

    await eventually(look, within_s=DEADLINE_S, what="all nodes hold the same")


class Replica:
    """A document of this process, that one stream keeps in step with one node. Made by `replica`."""

    def __init__(self, writer: int, write: Callable[[context_pb2.SyncRequest], object]) -> None:
        self.doc: Document = pycrdt.Doc(client_id=writer)
        self.reached: dict[int, int] = {LOCAL: 0, QUORUM: 0}
        self.cursors: dict[int, context_pb2.Cursor] = {}
        self.refused: dict[int, str] = {}
        self._writer = writer
        self._write = write
        self._numbers = itertools.count(1)
        self._pieces: list[bytes] = []
        self._changed = asyncio.Event()

    def edit(self, change: Callable[[Document], object]) -> int:
        """Changes the document in one transaction and hands it in; the number of the update."""
        before = self.doc.get_state()
        updates: list[bytes] = []
        subscription = self.doc.observe(lambda event: updates.append(event.update))
        with self.doc.transaction():
            change(self.doc)
        self.doc.unobserve(subscription)
        assert updates, before
        number = next(self._numbers)
        update = context_pb2.SyncUpdate(number=number, writer=self._writer, update=updates[0], epoch=1)
        self._write(context_pb2.SyncRequest(update=update))
        return number

    async def acked(self, number: int, level: int) -> context_pb2.Cursor:
        """Waits for the ack of an update at a level; its cursor."""
        await self.until(lambda: self.reached[level] >= number)
        return self.cursors[level]

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits until it holds, looking whenever something came."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def take(self, response: context_pb2.SyncResponse) -> None:
        """What the node says."""
        match response.WhichOneof("body"):
            case "part":
                self._pieces.append(response.part.data)
                if response.part.is_last:
                    self.doc.apply_update(b"".join(self._pieces))
                    self._pieces.clear()
            case "pushed":
                self.doc.apply_update(response.pushed.update)
            case "ack":
                self.reached[response.ack.level] = response.ack.number
                self.cursors[response.ack.level] = response.ack.cursor
            case "refused":
                self.refused[response.refused.number] = response.refused.error.reason
        self._changed.set()


@asynccontextmanager
async def replica(cluster: LocalProcesses, node_id: str, name: str, actor: str = "agent") -> AsyncIterator[Replica]:
    """A replica of a context at a node, in step when this is entered."""
    requests: asyncio.Queue[context_pb2.SyncRequest] = asyncio.Queue()

    async def said() -> AsyncIterator[context_pb2.SyncRequest]:
        while True:
            yield await requests.get()

    async with contexts(cluster, node_id) as stub:
        asked = context_pb2.AllocateWritersRequest(namespace=NAMESPACE, actor=actor, count=1)
        given = await stub.AllocateWriters(asked, timeout=DEADLINE_S)
        opened = asyncio.Event()
        found = Replica(given.first, requests.put_nowait)
        opening = context_pb2.SyncOpen(context=ref(name), actor=actor, incarnation=os.urandom(16))
        requests.put_nowait(context_pb2.SyncRequest(open=opening))
        call = stub.Sync(said())

        async def hear() -> None:
            try:
                async for response in call:
                    found.take(response)
                    if response.WhichOneof("body") == "part" and response.part.is_last:
                        opened.set()
            except grpc.aio.AioRpcError as error:
                raise AssertionError(f"the stream at {node_id} ended: {error.details()}") from error

        hearing = asyncio.create_task(hear())
        waiting = asyncio.create_task(opened.wait())
        try:
            done, _ = await asyncio.wait((hearing, waiting), timeout=DEADLINE_S, return_when=asyncio.FIRST_COMPLETED)
            assert waiting in done, hearing.exception() if hearing in done else "the stream does not open"
            yield found
        finally:
            waiting.cancel()
            call.cancel()
            hearing.cancel()
            await asyncio.wait((hearing, waiting))
