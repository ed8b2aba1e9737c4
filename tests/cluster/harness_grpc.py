"""Raw gRPC against a node, beside the client library: any bytes, any method, and the error as the wire carries it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import cast

import grpc
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from tallystick.errors import ERROR_DOMAIN

STATE_SERVICE = "/tallystick.v1.StateService/"
CLUSTER_SERVICE = "/tallystick.v1.ClusterService/"
DEADLINE_S = 30.0


@asynccontextmanager
async def raw_channel(
    endpoint: str, credentials: grpc.ChannelCredentials | None = None
) -> AsyncIterator[grpc.aio.Channel]:
    """A channel without any limit on this side."""
    options = [("grpc.max_send_message_length", -1), ("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
    if credentials is None:
        channel = grpc.aio.insecure_channel(endpoint, options)
    else:
        channel = grpc.aio.secure_channel(endpoint, credentials, options)
    async with channel:
        yield channel


async def send_bytes(channel: grpc.aio.Channel, method: str, data: bytes) -> bytes:
    """A unary call of any method with any bytes."""
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(method, None, None)
    return await call(data, timeout=DEADLINE_S)


async def send(channel: grpc.aio.Channel, method: str, request: Message) -> bytes:
    """A unary call of the state service."""
    return await send_bytes(channel, STATE_SERVICE + method, request.SerializeToString())


async def refusal(call: Awaitable[object]) -> tuple[grpc.StatusCode, str]:
    """The status and, where it carries our ErrorInfo, the reason ("" else) with which a call fails.

    Raises:
        AssertionError: it does not fail.
    """
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return error.code(), _reason(error)
    raise AssertionError(f"answered: {answer!r}"[:500])


def _reason(error: grpc.aio.AioRpcError) -> str:
    # gRPC's metadata are pairs; its stubs call them a mapping.
    for name, value in cast("Sequence[tuple[str, str | bytes]]", error.trailing_metadata()):
        if name == "grpc-status-details-bin" and isinstance(value, bytes):
            for detail in Status.FromString(value).details:
                info = ErrorInfo()
                if detail.Unpack(info) and info.domain == ERROR_DOMAIN:
                    return str(info.reason)
    return ""
