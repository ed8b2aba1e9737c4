"""The payloads of a namespace: put, get, describe, list.

Rules of this file: what is put or saved halfway is lost to nobody: a second attempt moves only what is missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from os import PathLike
from pathlib import Path
from typing import Final

from tallystick._calls import Calls
from tallystick._json import JSON
from tallystick._methods import describe_payload_method, list_payloads_method
from tallystick._payload_ref import PayloadRef
from tallystick._values import Consistency
from tallystick.errors import Conflict, Reason
from tallystick.payloads import download, sources
from tallystick.payloads.files import PartFile
from tallystick.payloads.manifest import Chunk, unpack
from tallystick.payloads.progress import Progress
from tallystick.payloads.sources import Source
from tallystick.payloads.upload import Upload
from tallystick.payloads.values import OnPayloadProgress, PayloadInfo, info_of
from tallystick.v1 import payload_pb2

PAGE: Final = 500


class Payloads:
    """The payloads of a namespace: bytes of any size up to 1 GiB, each of their chunks stored once. Made by
    `Client.payloads`.

    A payload is kept while a log names it (`PayloadRef` in an operation, an event, a result, a checkpoint's metadata),
    and for a time after it was put last; the nodes' configuration says how long (24 h).

    Every method may raise `Unavailable` (nothing happened). `timeout_s` limits each call to the nodes, retries
    included; the whole takes as long as it takes.
    """

    def __init__(self, calls: Calls, *, namespace: str, actor: str, consistency: Consistency) -> None:
        self._calls = calls
        self._namespace = namespace
        self._actor = actor
        self._consistency = consistency

    async def put(
        self, source: Source, *, progress: OnPayloadProgress | None = None, timeout_s: float | None = None
    ) -> PayloadRef:
        """Stores bytes. Chunks that the namespace has do not travel, whoever put them: what is put again costs little.

        Example:
            report = await client.payloads.put(Path("report.pdf"))
            await agent.append(ops.set("/report", report))

        Args:
            source: bytes, the path of a file, or an (asynchronous) iterable of bytes, which is read once.
            progress: is told, as chunks are there, how far it is.

        Returns:
            What names it in a value.

        Raises:
            QuotaExceeded: `PAYLOAD_QUOTA`: it is larger than 1 GiB, or the namespace has no room.
            Undecided: it may have been stored; put it again.
            OSError: the file cannot be read.
        """
        try:
            return (await self._put(source, progress, timeout_s)).ref
        except Conflict as error:
            if error.reason is not Reason.CHUNK_MISSING or not sources.is_whole(source):
                raise
            return (await self._put(source, progress, timeout_s)).ref  # it was collected in between: once more

    async def get(
        self, ref: PayloadRef | JSON, *, progress: OnPayloadProgress | None = None, timeout_s: float | None = None
    ) -> bytes:
        """All bytes of a payload, in memory.

        Args:
            ref: what names it: what `put` returned, or an object in a state.

        Raises:
            NotFound: `PAYLOAD_NOT_FOUND`: it was never put, or was collected since nothing named it.
            Invalid: that names no payload.
            Corrupt: no node has it whole.
        """
        name = PayloadRef.of(ref)
        async with aclosing(self._chunks(name, progress, timeout_s)) as chunks:
            return b"".join([data async for data in chunks])

    def open(self, ref: PayloadRef | JSON, *, timeout_s: float | None = None) -> AsyncGenerator[bytes, None]:
        """The bytes of a payload in order, in pieces of at most 256 KiB, each of them checked.

        Raises: as `get`.
        """
        return self._chunks(PayloadRef.of(ref), None, timeout_s)

    async def save(
        self,
        ref: PayloadRef | JSON,
        path: str | PathLike[str],
        *,
        progress: OnPayloadProgress | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """Writes a payload to a file, which is there whole or not at all. A second attempt goes on where one ended.

        Until then it stands beside it as `<name>.<id>.part`.

        Raises: as `get`; OSError: the file cannot be written.
        """
        name = PayloadRef.of(ref)
        manifest = await self._manifest(name, timeout_s)
        size_bytes = sum(chunk.size_bytes for chunk in manifest)
        told = Progress(progress, size_bytes)
        payload_id = bytes.fromhex(name.id)
        file = PartFile(Path(path), payload_id)
        try:
            first = await asyncio.to_thread(file.open, manifest)
            await told.add(sum(chunk.size_bytes for chunk in manifest[:first]), has_moved=False)
            stream = download.chunks(
                self._calls, self._namespace, payload_id, manifest, first=first, timeout_s=timeout_s
            )
            async with aclosing(stream) as chunks:
                async for data in chunks:
                    await asyncio.to_thread(file.write, data)
                    await told.add(len(data), has_moved=True)
            await asyncio.to_thread(file.finish, size_bytes)
        finally:
            await asyncio.to_thread(file.close)

    async def describe(
        self, ref: PayloadRef | JSON, *, consistency: Consistency | None = None, timeout_s: float | None = None
    ) -> PayloadInfo:
        """A payload as it is kept: its size, how many places name it, since when.

        Raises:
            NotFound: it is not there.
        """
        answer = await self._describe(PayloadRef.of(ref), consistency or self._consistency, timeout_s)
        return info_of(answer.payload)

    def list(
        self, *, consistency: Consistency | None = None, timeout_s: float | None = None
    ) -> AsyncGenerator[PayloadInfo, None]:
        """The payloads of the namespace, by id. `timeout_s` limits the fetch of each page."""
        return self._list(consistency or self._consistency, timeout_s)

    async def stored_bytes(self, *, consistency: Consistency | None = None, timeout_s: float | None = None) -> int:
        """What all payloads of the namespace take, each chunk counted once; at most 16 GiB."""
        page = await self._page(b"", 1, consistency or self._consistency, timeout_s)
        return page.stored_bytes

    async def _put(self, source: Source, progress: OnPayloadProgress | None, timeout_s: float | None) -> PayloadInfo:
        told = Progress(progress, await asyncio.to_thread(sources.size_bytes, source))
        upload = Upload(self._calls, namespace=self._namespace, actor=self._actor, progress=told, timeout_s=timeout_s)
        async with aclosing(sources.pieces(source)) as pieces:
            return await upload.run(pieces)

    async def _chunks(
        self, name: PayloadRef, progress: OnPayloadProgress | None, timeout_s: float | None
    ) -> AsyncGenerator[bytes, None]:
        manifest = await self._manifest(name, timeout_s)
        told = Progress(progress, sum(chunk.size_bytes for chunk in manifest))
        stream = download.chunks(
            self._calls, self._namespace, bytes.fromhex(name.id), manifest, first=0, timeout_s=timeout_s
        )
        async with aclosing(stream) as chunks:
            async for data in chunks:
                await told.add(len(data), has_moved=True)
                yield data

    async def _manifest(self, name: PayloadRef, timeout_s: float | None) -> Sequence[Chunk]:
        answer = await self._describe(name, self._consistency, timeout_s, with_manifest=True)
        return unpack(answer.manifest, bytes.fromhex(name.id))

    async def _describe(
        self, name: PayloadRef, consistency: Consistency, timeout_s: float | None, *, with_manifest: bool = False
    ) -> payload_pb2.DescribePayloadResponse:
        request = payload_pb2.DescribePayloadRequest(
            namespace=self._namespace,
            options=self._calls.session.read_options(consistency),
            id=bytes.fromhex(name.id),
            with_manifest=with_manifest,
        )
        return await self._calls.read(describe_payload_method, request, consistency=consistency, timeout_s=timeout_s)

    async def _list(self, consistency: Consistency, timeout_s: float | None) -> AsyncGenerator[PayloadInfo, None]:
        after = b""
        while True:
            page = await self._page(after, PAGE, consistency, timeout_s)
            for message in page.payloads:
                yield info_of(message)
            if not (page.more and page.payloads):
                return
            after = page.payloads[-1].id

    async def _page(
        self, after: bytes, limit: int, consistency: Consistency, timeout_s: float | None
    ) -> payload_pb2.ListPayloadsResponse:
        request = payload_pb2.ListPayloadsRequest(
            namespace=self._namespace,
            options=self._calls.session.read_options(consistency),
            after=after,
            limit=limit,
        )
        return await self._calls.read(list_payloads_method, request, consistency=consistency, timeout_s=timeout_s)
