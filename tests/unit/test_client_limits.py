"""What gRPC itself refuses, of a real server: a message too large, and more calls at once than it takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from tallystick import errors
from tallystick._failures import failure_of

Method = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]


@pytest.fixture
async def method() -> AsyncIterator[Method]:
    """Of a server that takes one call at a time, of 1,000 bytes, and never answers."""

    async def answer(_request: bytes, _context: object) -> bytes:
        await asyncio.get_running_loop().create_future()
        return b""

    options = (("grpc.max_receive_message_length", 1000),)
    server = grpc.aio.server(options=options, maximum_concurrent_rpcs=1)
    handler = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("S", {"M": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel.unary_unary("/S/M", None, None)
    await server.stop(None)


async def _refused(call: grpc.aio.UnaryUnaryCall[bytes, bytes]) -> errors.TallystickError:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return failure_of(refused.value, writes=True, endpoint="n1").error


async def test_a_message_that_is_too_large_is_the_callers_mistake(method: Method) -> None:
    error = await _refused(method(b"x" * 2000))
    assert isinstance(error, errors.Invalid)
    assert error.reason is errors.Reason.TOO_LARGE


async def test_too_many_calls_at_once_are_to_be_tried_again(method: Method) -> None:
    """Where the limit is reached nothing happened: the client waits and asks again, here or elsewhere."""
    calls = [method(b"") for _ in range(3)]
    done, waiting = await asyncio.wait(
        [asyncio.ensure_future(_refused(call)) for call in calls], timeout=10.0, return_when=asyncio.FIRST_COMPLETED
    )
    assert {type(task.result()) for task in done} == {errors.Overloaded}
    for task in waiting:
        task.cancel()
    for call in calls:
        call.cancel()
