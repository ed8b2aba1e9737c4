"""The use cases of payloads: put bytes of any size as chunks, and get them back.

Rules of this file:
- What does not depend on the tables is refused before anything is proposed.
- A payload is read a chunk at a time, and between two of them others have a turn: it may be collected meanwhile. So
  have they where many chunks are looked up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from functools import partial
from typing import Final, NamedTuple

from tallystick.errors import Invalid
from tallystick_node.access import Access, ReadFrom, page_items
from tallystick_node.core import limits
from tallystick_node.core.manifests import ChunkRef, chunks_of
from tallystick_node.core.payload_records import ChunksStored, PayloadRecord, PayloadStored, PutChunks, PutPayload
from tallystick_node.core.payloads import payload_not_found
from tallystick_node.storage.pages import Page
from tallystick_node.storage.payload_reads import PayloadReads
from tallystick_node.wire.commands import encode_command
from tallystick_node.wire.fields import check_name
from tallystick_node.wire.payload_commands import check_hashes

LOOKED_UP_AT_ONCE: Final = 2000
"""Chunks, before others have a turn."""


class Part(NamedTuple):
    """Some bytes of a payload, from `offset` on."""

    offset: int
    data: bytes


class PayloadStore:
    """See the module.

    Args:
        clock_ms: Unix time in milliseconds; stamps what is proposed.
    """

    def __init__(self, access: Access, reads: PayloadReads, clock_ms: Callable[[], int]) -> None:
        self._access = access
        self._reads = reads
        self._clock_ms = clock_ms

    async def missing(self, namespace: str, hashes: Sequence[bytes], read_from: ReadFrom) -> list[bytes]:
        """Those of these chunks that the namespace does not have, each once, in order.

        Raises:
            Invalid: a bad name, or not hashes.
            Unavailable, Undecided: this node cannot answer with the consistency asked for.
        """
        check_name("namespace", namespace)
        check_hashes("hashes", hashes, limits.PAYLOAD_CHUNKS)
        await self._access.ready(read_from)
        wanted = list(dict.fromkeys(hashes))
        missing: list[bytes] = []
        for first in range(0, len(wanted), LOOKED_UP_AT_ONCE):
            some = wanted[first : first + LOOKED_UP_AT_ONCE]
            missing += self._access.looked_up(partial(self._reads.missing, namespace, some))
            await asyncio.sleep(0)
        return missing

    async def put_chunks(
        self, namespace: str, chunks: Sequence[bytes], *, actor: str, timeout_s: float
    ) -> ChunksStored:
        """Stores chunks; asked again it is the same.

        Raises:
            Refused: QuotaExceeded (`PAYLOAD_QUOTA`), Invalid.
            Unavailable, Undecided: as `Store.append`; asking again is safe.
        """
        command = PutChunks(self._clock_ms(), namespace, tuple(chunks), actor)
        return await self._access.decide(encode_command(command), timeout_s, ChunksStored)

    async def put(self, namespace: str, manifest: bytes, *, actor: str, timeout_s: float) -> PayloadStored:
        """Makes a payload of chunks that are stored; one that there is gets its time anew.

        Raises:
            Refused: Conflict (`CHUNK_MISSING`), QuotaExceeded (`PAYLOAD_QUOTA`), Invalid.
            Unavailable, Undecided: as `Store.append`; asking again is safe.
        """
        command = PutPayload(self._clock_ms(), namespace, manifest, actor)
        return await self._access.decide(encode_command(command), timeout_s, PayloadStored)

    async def describe(self, namespace: str, payload_id: bytes, read_from: ReadFrom) -> tuple[PayloadRecord, bytes]:
        """A payload, and its manifest.

        Raises:
            NotFound: `PAYLOAD_NOT_FOUND`.
            Unavailable, Undecided, Invalid: as `missing`.
        """
        check_name("namespace", namespace)
        check_hashes("id", [payload_id], 1)
        await self._access.ready(read_from)
        record = self._access.looked_up(lambda: self._reads.payload(namespace, payload_id))
        if record is None:
            raise payload_not_found(namespace, payload_id, {})
        return record, self._access.looked_up(lambda: self._reads.manifest(record))

    async def payloads(
        self, namespace: str, after: bytes, limit: int, read_from: ReadFrom
    ) -> tuple[Page[PayloadRecord], int]:
        """A page of the payloads of a namespace, by id, and the bytes that count for its quota. Raises as `missing`."""
        check_name("namespace", namespace)
        if after:
            check_hashes("after", [after], 1)
        await self._access.ready(read_from)
        items = page_items("limit", limit)
        page = self._access.looked_up(lambda: self._reads.payloads(namespace, after, items))
        return page, self._access.looked_up(lambda: self._reads.usage(namespace)).stored_bytes

    async def get(
        self, namespace: str, payload_id: bytes, offset: int, length: int | None, read_from: ReadFrom
    ) -> AsyncGenerator[Part, None]:
        """The bytes of a payload from an offset on, at most so many; there is at least one part, perhaps empty.

        Raises:
            NotFound: `PAYLOAD_NOT_FOUND`; in the middle, too: it was collected.
            Invalid: the offset is behind its end.
            Unavailable, Undecided: as `missing`.
        """
        record, manifest = await self.describe(namespace, payload_id, read_from)
        if offset > record.size_bytes:
            raise Invalid(
                f"offset {offset} is behind the end at {record.size_bytes}",
                metadata={"field": "offset", "limit": str(record.size_bytes)},
            )
        end = record.size_bytes if length is None else min(record.size_bytes, offset + length)
        is_first = True
        for chunk, begins in _overlapping(chunks_of(manifest), offset, end):
            content = self._content(record, chunk.hash)
            first, last = max(offset - begins, 0), min(end - begins, chunk.size_bytes)
            is_first = False
            yield Part(begins + first, content[first:last])
        if is_first:
            yield Part(offset, b"")

    def _content(self, record: PayloadRecord, digest: bytes) -> bytes:
        chunk = self._access.looked_up(lambda: self._reads.chunk(record.namespace, digest))
        if chunk is None:
            raise payload_not_found(record.namespace, record.id, {})
        return self._access.looked_up(lambda: self._reads.content(chunk))


def _overlapping(chunks: Sequence[ChunkRef], offset: int, end: int) -> Iterator[tuple[ChunkRef, int]]:
    """The chunks that have bytes from `offset` up to `end`, each with the offset where it begins."""
    begins = 0
    for chunk in chunks:
        if begins >= end:
            return
        if begins + chunk.size_bytes > offset:
            yield chunk, begins
        begins += chunk.size_bytes
