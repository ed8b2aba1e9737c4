"""Payloads by single calls, as the wire has them: for who does with them what the client's library would not."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import grpc

from tallystick import Client, Consistency
from tallystick._calls import AttemptError, Calls
from tallystick._failures import failure_of
from tallystick._methods import (
    describe_payload_method,
    find_missing_method,
    list_payloads_method,
    put_chunks_method,
    put_payload_method,
)
from tallystick.v1 import payload_pb2
from tallystick_node.core.manifests import ChunkRef, manifest_of


class PayloadCalls:
    """The calls of a client; each raises TallystickError."""

    def __init__(self, client: Client) -> None:
        self._calls: Calls = client._calls  # noqa: SLF001 - what its library is built on
        self._namespace = client.namespace

    async def missing(self, chunks: Sequence[bytes]) -> list[bytes]:
        """Those of the chunks that are not stored."""
        by_hash = {hashlib.sha256(chunk).digest(): chunk for chunk in chunks}
        how = Consistency.LINEARIZABLE
        request = payload_pb2.FindMissingRequest(
            namespace=self._namespace, options=self._calls.session.read_options(how), hashes=by_hash
        )
        found = await self._calls.read(find_missing_method, request, consistency=how, timeout_s=None)
        return [by_hash[each] for each in found.missing]

    async def put_chunks(self, chunks: Sequence[bytes]) -> int:
        """Stores chunks; how many were not there."""
        request = payload_pb2.PutChunksRequest(namespace=self._namespace, chunks=chunks)
        return (await self._calls.write(put_chunks_method, request, key="-", timeout_s=None)).stored

    async def put_payload(self, chunks: Sequence[bytes]) -> payload_pb2.PutPayloadResponse:
        """Makes a payload of chunks that are stored."""
        manifest = manifest_of(ChunkRef(hashlib.sha256(chunk).digest(), len(chunk)) for chunk in chunks)
        request = payload_pb2.PutPayloadRequest(namespace=self._namespace, manifest=manifest)
        return await self._calls.write(put_payload_method, request, key="-", timeout_s=None)

    async def put(self, chunks: Sequence[bytes]) -> bytes:
        """Stores what is missing, and the payload; its id."""
        missing = await self.missing(chunks)
        if missing:
            await self.put_chunks(missing)
        return (await self.put_payload(chunks)).payload.id

    async def describe(self, payload_id: bytes, how: Consistency) -> payload_pb2.DescribePayloadResponse:
        """A payload with its manifest."""
        request = payload_pb2.DescribePayloadRequest(
            namespace=self._namespace,
            options=self._calls.session.read_options(how),
            id=payload_id,
            with_manifest=True,
        )
        return await self._calls.read(describe_payload_method, request, consistency=how, timeout_s=None)

    async def list_all(self, how: Consistency, *, page: int = 100) -> tuple[list[payload_pb2.PayloadInfo], int]:
        """All payloads, and the bytes that count for the namespace."""
        found: list[payload_pb2.PayloadInfo] = []
        while True:
            request = payload_pb2.ListPayloadsRequest(
                namespace=self._namespace,
                options=self._calls.session.read_options(how),
                after=found[-1].id if found else b"",
                limit=page,
            )
            answer = await self._calls.read(list_payloads_method, request, consistency=how, timeout_s=None)
            found += answer.payloads
            if not answer.more:
                return found, answer.stored_bytes

    async def get(
        self, payload_id: bytes, how: Consistency, *, offset: int = 0, length: int | None = None
    ) -> list[payload_pb2.GetPayloadResponse]:
        """The parts of a payload, by one attempt at one node."""
        endpoint = self._calls.endpoints.for_any(self._calls.outside.clock())
        try:
            await self._calls.ready(endpoint, self._calls.timeout_s)
        except AttemptError as attempt:
            self._calls.failed(endpoint, attempt.failure)
            raise attempt.failure.error from attempt
        request = payload_pb2.GetPayloadRequest(
            namespace=self._namespace,
            options=self._calls.session.read_options(how),
            id=payload_id,
            offset=offset,
            length=length,
        )
        call = endpoint.payloads.GetPayload(request, timeout=self._calls.timeout_s)
        parts: list[payload_pb2.GetPayloadResponse] = []
        try:
            while isinstance(part := await call.read(), payload_pb2.GetPayloadResponse):
                parts.append(part)
        except grpc.aio.AioRpcError as rpc:
            failure = failure_of(rpc, writes=False, endpoint=endpoint.address)
            self._calls.failed(endpoint, failure)
            raise failure.error from rpc
        finally:
            call.cancel()
        return parts
