"""`tallystick.v1.PayloadService`: each method turns a message into one call of the payload store and back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from tallystick.v1 import payload_pb2, payload_pb2_grpc
from tallystick_node.api import calls, messages
from tallystick_node.api.calls import Context
from tallystick_node.api.header import Headers, read_from
from tallystick_node.core.payload_records import PayloadRecord
from tallystick_node.payloads.store import PayloadStore


class PayloadService(payload_pb2_grpc.PayloadServiceServicer):
    """See the module."""

    def __init__(self, payloads: PayloadStore, headers: Headers) -> None:
        self._payloads = payloads
        self._headers = headers

    @calls.unary
    async def FindMissing(  # noqa: N802
        self, request: payload_pb2.FindMissingRequest, context: Context
    ) -> payload_pb2.FindMissingResponse:
        how = read_from(request.options, context)
        missing = await self._payloads.missing(request.namespace, request.hashes, how)
        return payload_pb2.FindMissingResponse(header=self._headers.make(), missing=missing)

    @calls.unary
    async def PutChunks(  # noqa: N802
        self, request: payload_pb2.PutChunksRequest, context: Context
    ) -> payload_pb2.PutChunksResponse:
        done = await self._payloads.put_chunks(
            request.namespace,
            request.chunks,
            actor=calls.actor(context, request.actor),
            timeout_s=calls.timeout_s(context),
        )
        return payload_pb2.PutChunksResponse(
            header=self._headers.make(), stored=done.stored, revision=messages.revision(done.position)
        )

    @calls.unary
    async def PutPayload(  # noqa: N802
        self, request: payload_pb2.PutPayloadRequest, context: Context
    ) -> payload_pb2.PutPayloadResponse:
        done = await self._payloads.put(
            request.namespace,
            request.manifest,
            actor=calls.actor(context, request.actor),
            timeout_s=calls.timeout_s(context),
        )
        return payload_pb2.PutPayloadResponse(
            header=self._headers.make(), payload=_info(done.record), replayed=done.replayed
        )

    @calls.unary
    async def DescribePayload(  # noqa: N802
        self, request: payload_pb2.DescribePayloadRequest, context: Context
    ) -> payload_pb2.DescribePayloadResponse:
        how = read_from(request.options, context)
        record, manifest = await self._payloads.describe(request.namespace, request.id, how)
        return payload_pb2.DescribePayloadResponse(
            header=self._headers.make(),
            payload=_info(record),
            manifest=manifest if request.with_manifest else b"",
        )

    @calls.unary
    async def ListPayloads(  # noqa: N802
        self, request: payload_pb2.ListPayloadsRequest, context: Context
    ) -> payload_pb2.ListPayloadsResponse:
        how = read_from(request.options, context)
        page, stored_bytes = await self._payloads.payloads(request.namespace, request.after, request.limit, how)
        return payload_pb2.ListPayloadsResponse(
            header=self._headers.make(),
            payloads=[_info(record) for record in page.items],
            more=page.more,
            stored_bytes=stored_bytes,
        )

    @calls.streaming
    async def GetPayload(  # noqa: N802
        self, request: payload_pb2.GetPayloadRequest, context: Context
    ) -> AsyncIterator[payload_pb2.GetPayloadResponse]:
        how = read_from(request.options, context)
        length = request.length if request.HasField("length") else None
        is_first = True
        async with aclosing(self._payloads.get(request.namespace, request.id, request.offset, length, how)) as parts:
            async for part in parts:
                header = self._headers.make() if is_first else None
                is_first = False
                yield payload_pb2.GetPayloadResponse(header=header, offset=part.offset, data=part.data)


def _info(record: PayloadRecord) -> payload_pb2.PayloadInfo:
    return payload_pb2.PayloadInfo(
        id=record.id,
        size_bytes=record.size_bytes,
        chunks=record.chunks,
        references=record.references,
        created_unix_ms=record.created_unix_ms,
        touched_unix_ms=record.touched_unix_ms,
        actor=record.actor,
        revision=messages.revision(record.position),
    )
