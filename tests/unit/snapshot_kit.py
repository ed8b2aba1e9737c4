"""What the tests of snapshots on the wire share: a source of copies, a server that says what it is told to."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from tallystick.peer.v1.peer_pb2 import SnapshotEnd, SnapshotHead, SnapshotPart, SnapshotRequest
from tallystick_node.peers.options import FETCH_METHOD, PEER_SERVICE, SERVER_OPTIONS
from tallystick_node.peers.snapshot_client import Fetched, Patience, Progress, fetch_snapshot
from tallystick_node.peers.tls import PeerCredentials
from tests.unit.peers_kit import DEADLINE_S, local

INDEX, TERM = 70, 3
AMPLE = 1 << 30


@dataclass(frozen=True)
class Copy:
    path: Path
    index: int
    term: int
    size_bytes: int


@dataclass
class FolderSource:
    """Copies of `data` as files in a folder. With `held`, making one waits until `go`."""

    folder: Path
    data: bytes
    held: bool = False
    error: Exception | None = None
    asked: list[int] = field(default_factory=list)
    making: asyncio.Event = field(default_factory=asyncio.Event)
    go: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def open(self, reach_index: int) -> AsyncIterator[Copy]:
        self.asked.append(reach_index)
        path = self.folder / f"copy-{len(self.asked)}"
        path.write_bytes(self.data)
        try:
            self.making.set()
            if self.held:
                await self.go.wait()
            if self.error is not None:
                raise self.error
            yield Copy(path, INDEX, TERM, len(self.data))
        finally:
            path.unlink()

    async def until_clear(self) -> None:
        """Wait until no copy is left."""
        await until(lambda: not list(self.folder.iterdir()))


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds that nobody announces."""
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0.01)


def parts_of(data: bytes, size_bytes: int = 1000) -> list[SnapshotPart]:
    """What an honest node sends."""
    cut = [SnapshotPart(data=data[i : i + size_bytes]) for i in range(0, len(data), size_bytes)]
    head = SnapshotPart(head=SnapshotHead(index=INDEX, term=TERM, size_bytes=len(data)))
    return [head, *cut, SnapshotPart(end=SnapshotEnd(sha256=hashlib.sha256(data).digest()))]


@asynccontextmanager
async def telling(parts: Sequence[bytes], *, then_hangs: bool = False) -> AsyncIterator[str]:
    """A server that sends these parts, and then ends the stream or never does; gives its endpoint."""

    async def fetch(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> None:
        for part in parts:
            await context.write(part)
        if then_hangs:
            await asyncio.get_running_loop().create_future()

    server = grpc.aio.server(options=SERVER_OPTIONS)
    handler = grpc.unary_stream_rpc_method_handler(fetch, request_deserializer=None, response_serializer=None)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(PEER_SERVICE, {FETCH_METHOD: handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


async def fetch(
    endpoint: str,
    target: Path,
    *,
    node_id: str = "a",
    credentials: PeerCredentials | None = None,
    reach_index: int = INDEX,
    max_bytes: int = AMPLE,
    on_progress: Progress | None = None,
    stall_s: float = DEADLINE_S,
) -> Fetched:
    """Fetch from node b."""
    async with asyncio.timeout(2 * DEADLINE_S):
        return await fetch_snapshot(
            local(node_id),
            "b",
            endpoint,
            credentials,
            reach_index,
            target,
            max_bytes=max_bytes,
            on_progress=on_progress,
            patience=Patience(stall_s, stall_s),
        )


@asynccontextmanager
async def asking(endpoint: str, node_id: str = "a") -> AsyncIterator[grpc.aio.UnaryStreamCall[SnapshotRequest, bytes]]:
    """The bare call of a member, which reads only when told to."""
    async with grpc.aio.insecure_channel(endpoint) as channel:
        method: grpc.aio.UnaryStreamMultiCallable[SnapshotRequest, bytes] = channel.unary_stream(
            f"/{PEER_SERVICE}/{FETCH_METHOD}", SnapshotRequest.SerializeToString, None
        )
        said = {"cluster-id": "cluster-1", "node-id": node_id, "incarnation": "1", "peer-version": "1.1"}
        call = method(SnapshotRequest(), metadata=tuple((f"tallystick-{key}", value) for key, value in said.items()))
        try:
            yield call
        finally:
            call.cancel()
