"""The bytes of a payload, each chunk checked before anybody sees it.

Rules of this file:
- A stream that breaks, stands still or brings what does not belong there is begun again elsewhere, behind the last
  whole chunk. What a node has damaged on its disk another one has whole.
- At most a chunk and a part are held; who takes them slowly holds back the node.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

import grpc

from tallystick._backoff import ATTEMPT_S, Failure
from tallystick._calls import AttemptError, Calls
from tallystick._cancelling import cancellations, raise_if_cancelled
from tallystick._channel import Endpoint
from tallystick._failures import failure_of
from tallystick._values import Consistency
from tallystick.errors import Corrupt, Unavailable
from tallystick.payloads.manifest import Chunk
from tallystick.v1 import payload_pb2

if TYPE_CHECKING:
    from grpc.aio import UnaryStreamCall

    Call = UnaryStreamCall[payload_pb2.GetPayloadRequest, payload_pb2.GetPayloadResponse]

STALL_S: Final = 10.0
"""How long a stream may stand still."""


async def chunks(
    calls: Calls, namespace: str, payload_id: bytes, manifest: Sequence[Chunk], *, first: int, timeout_s: float | None
) -> AsyncGenerator[bytes, None]:
    """The chunks of a manifest from this one on.

    Args:
        timeout_s: how long to go on without any chunk.

    Raises:
        NotFound: the payload is gone.
        Unavailable: no node gives it.
        Corrupt: no node gives it whole.
    """
    at, retry = first, calls.retry(timeout_s)
    while at < len(manifest):
        calls.check_open()
        endpoint = calls.endpoints.for_any(calls.outside.clock())
        request = payload_pb2.GetPayloadRequest(
            namespace=namespace,
            options=calls.session.read_options(Consistency.SESSION),
            id=payload_id,
            offset=sum(chunk.size_bytes for chunk in manifest[:at]),
        )
        try:
            async with aclosing(_from_one(calls, endpoint, request, manifest[at:])) as stream:
                async for data in stream:
                    at += 1
                    yield data
                    retry = calls.retry(timeout_s)
        except AttemptError as attempt:
            calls.failed(endpoint, attempt.failure)
            await asyncio.sleep(retry.after(attempt.failure, calls.outside.clock()))


async def _from_one(
    calls: Calls, endpoint: Endpoint, request: payload_pb2.GetPayloadRequest, wanted: Sequence[Chunk]
) -> AsyncGenerator[bytes, None]:
    """What one node sends.

    Raises:
        AttemptError: the stream broke, or brought something else.
    """
    await calls.ready(endpoint, ATTEMPT_S)
    call: Call = endpoint.payloads.GetPayload(request)
    before = cancellations()
    held = bytearray()
    try:
        for chunk in wanted:
            while len(held) < chunk.size_bytes:
                held += await _part(call, endpoint.address)
            data = bytes(held[: chunk.size_bytes])
            del held[: chunk.size_bytes]
            if hashlib.sha256(data).digest() != chunk.hash:
                raise AttemptError(Failure(Corrupt(f"{endpoint.address} sent a chunk that is not the payload's")))
            endpoint.succeeded()
            yield data
    except grpc.aio.AioRpcError as rpc:
        raise_if_cancelled(before)
        raise AttemptError(failure_of(rpc, writes=False, endpoint=endpoint.address)) from rpc
    except asyncio.CancelledError:
        calls.check_cut(writes=False)
        raise
    finally:
        call.cancel()


async def _part(call: Call, address: str) -> bytes:
    try:
        async with asyncio.timeout(STALL_S):
            part = await call.read()
    except TimeoutError:
        raise AttemptError(Failure(Unavailable(f"{address} stopped sending"))) from None
    if not isinstance(part, payload_pb2.GetPayloadResponse):
        raise AttemptError(Failure(Unavailable(f"{address} ended before the payload did")))
    return part.data
