"""Putting a payload: cut, ask which chunks are missing, send those, and then the manifest.

Rules of this file:
- Bytes are read once, as they come, and held in batches: `BATCHES_AT_ONCE` on their way and one that is filled, of
  `BATCH_BYTES` and a block each. Who reads waits for room.
- All that is sent is named by its content: sent twice it has one effect, and needs no key.
- Cutting and hashing are on another thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Final

from tallystick._calls import Calls
from tallystick._methods import find_missing_method, put_chunks_method, put_payload_method
from tallystick._values import Consistency
from tallystick.errors import QuotaExceeded, Reason
from tallystick.payloads.chunking import Chunker
from tallystick.payloads.manifest import PAYLOAD_BYTES, PAYLOAD_CHUNKS, Chunk, chunk_of, pack
from tallystick.payloads.progress import Progress
from tallystick.payloads.values import PayloadInfo, info_of
from tallystick.v1 import payload_pb2

BATCH_BYTES: Final = 4 * 1024 * 1024
BATCHES_AT_ONCE: Final = 4

_REQUEST_BYTES: Final = 512 * 1024
"""Less than nodes take: all requests that are under way share one link, and each has 3 s."""
_REQUEST_CHUNKS: Final = 64


class Upload:
    """One payload on its way to the nodes; used once."""

    def __init__(
        self, calls: Calls, *, namespace: str, actor: str, progress: Progress, timeout_s: float | None
    ) -> None:
        self._calls = calls
        self._namespace = namespace
        self._actor = actor
        self._progress = progress
        self._timeout_s = timeout_s
        self._chunks: list[Chunk] = []
        self._size_bytes = 0
        self._seen: set[Chunk] = set()
        self._batch: dict[Chunk, bytes] = {}
        self._batch_bytes = 0
        self._sending: set[asyncio.Task[None]] = set()

    async def run(self, pieces: AsyncIterator[bytes]) -> PayloadInfo:
        """Puts these bytes.

        Raises:
            Conflict: `CHUNK_MISSING`: a chunk that was there is not any more.
            QuotaExceeded: there are more bytes than a payload may have, or the namespace has no room.
            Whatever reading the bytes raises.
        """
        chunker = Chunker()
        try:
            async for piece in pieces:
                await self._take(await asyncio.to_thread(_settled, chunker, piece))
            await self._take(await asyncio.to_thread(_settled, chunker, None))
            await self._send_batch()
            await self._wait_below(1)
        finally:
            for task in self._sending:
                task.cancel()
            await asyncio.gather(*self._sending, return_exceptions=True)
        return await self._put()

    async def _take(self, settled: Iterable[tuple[Chunk, bytes]]) -> None:
        for chunk, data in settled:
            self._chunks.append(chunk)
            self._size_bytes += chunk.size_bytes
            if self._size_bytes > PAYLOAD_BYTES or len(self._chunks) > PAYLOAD_CHUNKS:
                raise QuotaExceeded(
                    f"more than {PAYLOAD_BYTES} bytes or {PAYLOAD_CHUNKS} chunks",
                    reason=Reason.PAYLOAD_QUOTA,
                    metadata={"limit": str(PAYLOAD_BYTES)},
                )
            if chunk in self._seen:
                await self._progress.add(chunk.size_bytes, has_moved=False)
                continue
            self._seen.add(chunk)
            self._batch[chunk] = data
            self._batch_bytes += chunk.size_bytes
            if self._batch_bytes >= BATCH_BYTES:
                await self._send_batch()

    async def _send_batch(self) -> None:
        """Has the batch sent, as soon as there is room on the way."""
        batch, self._batch, self._batch_bytes = self._batch, {}, 0
        if batch:
            await self._wait_below(BATCHES_AT_ONCE)
            self._sending.add(asyncio.create_task(self._send(batch)))

    async def _wait_below(self, count: int) -> None:
        """Waits until fewer batches are on their way. Raises what one of them raised."""
        while len(self._sending) >= count:
            done, _ = await asyncio.wait(self._sending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
                self._sending.discard(task)

    async def _send(self, batch: dict[Chunk, bytes]) -> None:
        missing = await self._missing(batch)
        for request in _requests(data for chunk, data in batch.items() if chunk.hash in missing):
            request.namespace, request.actor = self._namespace, self._actor
            answer = await self._calls.write(put_chunks_method, request, key="", timeout_s=self._timeout_s)
            self._calls.session.saw(answer.revision)
            await self._progress.add(sum(map(len, request.chunks)), has_moved=True)
        there_bytes = sum(chunk.size_bytes for chunk in batch if chunk.hash not in missing)
        if there_bytes:
            await self._progress.add(there_bytes, has_moved=False)

    async def _missing(self, batch: Iterable[Chunk]) -> set[bytes]:
        request = payload_pb2.FindMissingRequest(
            namespace=self._namespace,
            options=self._calls.session.read_options(Consistency.LINEARIZABLE),
            hashes=[chunk.hash for chunk in batch],
        )
        answer = await self._calls.read(
            find_missing_method, request, consistency=Consistency.LINEARIZABLE, timeout_s=self._timeout_s
        )
        return set(answer.missing)

    async def _put(self) -> PayloadInfo:
        request = payload_pb2.PutPayloadRequest(
            namespace=self._namespace, manifest=pack(self._chunks), actor=self._actor
        )
        answer = await self._calls.write(put_payload_method, request, key="", timeout_s=self._timeout_s)
        self._calls.session.saw(answer.payload.revision)
        return info_of(answer.payload)


def _settled(chunker: Chunker, piece: bytes | None) -> list[tuple[Chunk, bytes]]:
    """The chunks that are settled with a piece; None: all that are left."""
    chunks = chunker.finish() if piece is None else chunker.feed(piece)
    return [(chunk_of(data), data) for data in chunks]


def _requests(chunks: Iterable[bytes]) -> Iterator[payload_pb2.PutChunksRequest]:
    """As few requests as the limits allow, in their order."""
    request, size_bytes = payload_pb2.PutChunksRequest(), 0
    for data in chunks:
        if len(request.chunks) == _REQUEST_CHUNKS or size_bytes + len(data) > _REQUEST_BYTES:
            yield request
            request, size_bytes = payload_pb2.PutChunksRequest(), 0
        request.chunks.append(data)
        size_bytes += len(data)
    if request.chunks:
        yield request
