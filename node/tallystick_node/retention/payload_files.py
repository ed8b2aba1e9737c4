"""The payloads that an archived part of a log names, as files beside it: once nothing names them, they are collected.

    NAMESPACE/_payloads/ID.00000, ID.00001, ...     the bytes, one after the other
    NAMESPACE/_payloads/ID.manifest                 of what chunks it is, written last: ID is the hash of it

Rules of this file:
- A payload is never whole in memory. The loop goes on between two chunks.
- The same payload gives the same files, on every node and at every time.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncGenerator
from typing import Final

from tallystick_node.access import Access
from tallystick_node.core.manifests import chunks_of
from tallystick_node.core.payload_names import payloads_named
from tallystick_node.core.payload_records import PayloadRecord
from tallystick_node.retention.archive_file import ArchivePart, path_part
from tallystick_node.storage.payload_reads import PayloadReads
from tallystick_node.wire.mutations import decode_mutation

log = logging.getLogger(__name__)

FILE_BYTES: Final = 8 * 1024 * 1024
"""A file is complete when it has as much; the last may have less."""


class PayloadFiles:
    """See the module."""

    def __init__(self, access: Access, reads: PayloadReads) -> None:
        self._access = access
        self._reads = reads

    async def named(self, part: ArchivePart) -> list[bytes]:
        """The ids of the payloads that a part of a log names, also in the state that it begins with."""
        return await asyncio.to_thread(_named, part)

    async def files(self, namespace: str, payload_id: bytes) -> AsyncGenerator[tuple[str, bytes], None]:
        """Names and bytes of the files of a payload, the manifest last; none if it is not there.

        It is there as long as anything refers to it. What a state names, and nothing refers to, may be gone.
        """
        record = self._access.looked_up(lambda: self._reads.payload(namespace, payload_id))
        if record is None:
            log.info("payload not there", extra={"event": "payload_not_archived", "payload": payload_id.hex()})
            return
        manifest = self._access.looked_up(lambda: self._reads.manifest(record))
        numbers = itertools.count()
        gathered: list[bytes] = []
        size_bytes = 0
        for chunk in chunks_of(manifest):
            content = self._content(record, chunk.hash)
            if content is None:
                return
            gathered.append(content)
            size_bytes += len(content)
            if size_bytes >= FILE_BYTES:
                yield f"{_stem(namespace, payload_id)}.{next(numbers):05d}", b"".join(gathered)
                gathered, size_bytes = [], 0
            await asyncio.sleep(0)
        if gathered:
            yield f"{_stem(namespace, payload_id)}.{next(numbers):05d}", b"".join(gathered)
        yield manifest_name(namespace, payload_id), manifest

    def _content(self, record: PayloadRecord, digest: bytes) -> bytes | None:
        chunk = self._access.looked_up(lambda: self._reads.chunk(record.namespace, digest))
        return self._access.looked_up(lambda: self._reads.content(chunk)) if chunk is not None else None


def _named(part: ArchivePart) -> list[bytes]:
    texts = [text for taken in part.checkpoints for text in (taken.metadata, taken.pending_calls)]
    found = set(payloads_named(*texts, part.state))
    for mutation in part.mutations:
        found.update(decode_mutation(mutation.raw).payloads)
    return sorted(found)


def manifest_name(namespace: str, payload_id: bytes) -> str:
    """The file that says that all of a payload is there."""
    return f"{_stem(namespace, payload_id)}.manifest"


def _stem(namespace: str, payload_id: bytes) -> str:
    """No agent's folder begins with `_`."""
    return f"{path_part(namespace)}/_payloads/{payload_id.hex()}"
