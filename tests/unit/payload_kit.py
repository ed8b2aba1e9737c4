"""Nodes that keep payloads, as the client's tests need them: real gRPC servers over one store, with scripted faults."""

# ruff: noqa: N802 - methods are named as in the .proto
from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc

from tallystick import Client, connect
from tallystick.errors import Reason
from tallystick.payloads.manifest import id_of, unpack
from tallystick.v1 import common_pb2, payload_pb2, payload_pb2_grpc
from tests.unit.client_kit import DEADLINE_S, abort

if TYPE_CHECKING:
    from tallystick.v1.payload_pb2_grpc import _ServicerContext

PART_BYTES = 50_000


@dataclass
class Store:
    """What all nodes hold."""

    chunks: dict[bytes, bytes] = field(default_factory=dict)
    manifests: dict[bytes, bytes] = field(default_factory=dict)

    def forget(self) -> None:
        self.chunks.clear()
        self.manifests.clear()

    def content(self, payload_id: bytes) -> bytes:
        manifest = self.manifests[payload_id]
        return b"".join(self.chunks[chunk.hash] for chunk in unpack(manifest, payload_id))

    def info(self, payload_id: bytes) -> payload_pb2.PayloadInfo:
        chunks = unpack(self.manifests[payload_id], payload_id)
        return payload_pb2.PayloadInfo(
            id=payload_id,
            size_bytes=sum(chunk.size_bytes for chunk in chunks),
            chunks=len(chunks),
            revision=common_pb2.Revision(group=1, position=1),
        )


class PayloadNode(payload_pb2_grpc.PayloadServiceServicer):
    """A node.

    Attributes:
        stream_faults: of the next downloads, each "break" or "spoil" after so many bytes, or "stop" (and stay).
        loses: how many of the next puts of a payload find that its chunks were collected.
        at_once, most_at_once: puts of chunks that are answered now, and the most that were.
        gate: puts of chunks wait for it.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.stream_faults: deque[tuple[str, int]] = deque()
        self.offsets: list[int] = []
        self.asked = 0
        self.put_sizes: list[list[int]] = []
        self.loses = 0
        self.at_once = self.most_at_once = 0
        self._came = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.endpoint = ""
        self._server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))

    async def start(self) -> None:
        payload_pb2_grpc.add_PayloadServiceServicer_to_server(self, self._server)
        self.endpoint = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(0)

    async def until_at_once(self, count: int) -> None:
        """Waits until so many puts of chunks wait."""
        async with asyncio.timeout(DEADLINE_S):
            while self.at_once < count:
                self._came.clear()
                await self._came.wait()

    async def FindMissing(
        self, request: payload_pb2.FindMissingRequest, context: _ServicerContext
    ) -> payload_pb2.FindMissingResponse:
        self.asked += len(request.hashes)
        return payload_pb2.FindMissingResponse(
            missing=[each for each in request.hashes if each not in self.store.chunks]
        )

    async def PutChunks(
        self, request: payload_pb2.PutChunksRequest, context: _ServicerContext
    ) -> payload_pb2.PutChunksResponse:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self._came.set()
        await self.gate.wait()
        self.at_once -= 1
        self.put_sizes.append([len(chunk) for chunk in request.chunks])
        for chunk in request.chunks:
            self.store.chunks[hashlib.sha256(chunk).digest()] = chunk
        return payload_pb2.PutChunksResponse(revision=common_pb2.Revision(group=1, position=1))

    async def PutPayload(
        self, request: payload_pb2.PutPayloadRequest, context: _ServicerContext
    ) -> payload_pb2.PutPayloadResponse:
        payload_id = id_of(request.manifest)
        if self.loses:
            self.loses -= 1
            self.store.forget()
        if any(chunk.hash not in self.store.chunks for chunk in unpack(request.manifest, payload_id)):
            await abort(context, Reason.CHUNK_MISSING)
        self.store.manifests[payload_id] = request.manifest
        return payload_pb2.PutPayloadResponse(payload=self.store.info(payload_id))

    async def DescribePayload(
        self, request: payload_pb2.DescribePayloadRequest, context: _ServicerContext
    ) -> payload_pb2.DescribePayloadResponse:
        if request.id not in self.store.manifests:
            await abort(context, Reason.PAYLOAD_NOT_FOUND)
        manifest = self.store.manifests[request.id] if request.with_manifest else b""
        return payload_pb2.DescribePayloadResponse(payload=self.store.info(request.id), manifest=manifest)

    async def ListPayloads(
        self, request: payload_pb2.ListPayloadsRequest, context: _ServicerContext
    ) -> payload_pb2.ListPayloadsResponse:
        after = [each for each in sorted(self.store.manifests) if each > request.after]
        return payload_pb2.ListPayloadsResponse(
            payloads=map(self.store.info, after[:2]),
            more=len(after) > 2,
            stored_bytes=sum(map(len, self.store.chunks.values())),
        )

    async def GetPayload(
        self, request: payload_pb2.GetPayloadRequest, context: _ServicerContext
    ) -> AsyncIterator[payload_pb2.GetPayloadResponse]:
        self.offsets.append(request.offset)
        fault, left = self.stream_faults.popleft() if self.stream_faults else ("", 0)
        content = self.store.content(request.id)
        for begin in range(request.offset, len(content), PART_BYTES):
            data = content[begin : begin + PART_BYTES]
            if fault and left < len(data):
                if fault == "break":
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "broken")
                if fault == "stop":
                    await asyncio.Event().wait()
                if fault == "end":
                    return
                data = bytes((data[0] ^ 1,)) + data[1:]
            left -= len(data)
            yield payload_pb2.GetPayloadResponse(offset=begin, data=data)


@asynccontextmanager
async def payload_nodes(count: int = 1) -> AsyncIterator[tuple[Client, list[PayloadNode]]]:
    """So many nodes over one store, and a client; all stopped in the end."""
    store = Store()
    started = [PayloadNode(store) for _ in range(count)]
    for node in started:
        await node.start()
    try:
        async with connect([node.endpoint for node in started], namespace="demo", timeout_s=15) as client:
            yield client, started
    finally:
        for node in started:
            await node.stop()
