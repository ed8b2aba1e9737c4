"""A gRPC server that does nothing: what the wire costs by itself. Runs until its stdin ends; prints its port.

As a node does, it runs grpc.aio on uvloop.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Final

import grpc
import uvloop

SERVICE: Final = "tallystick.bench.Echo"

_Context = grpc.aio.ServicerContext[bytes, bytes]


async def _echo(request: bytes, _context: _Context) -> bytes:
    return request


async def _echo_all(requests: AsyncIterator[bytes], _context: _Context) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


async def serve() -> None:
    """Until stdin ends."""
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(_echo),
        "Stream": grpc.stream_stream_rpc_method_handler(_echo_all),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()
    await server.stop(None)


if __name__ == "__main__":
    uvloop.run(serve())
