"""What the machine allows: a disk that syncs, a wire that echoes. No line of Tallystick's runs here."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import grpc

from tests.bench.echo_server import SERVICE
from tests.bench.figures import CALLERS, Reading
from tests.bench.timing import count_done, latencies_ms, percentile

if TYPE_CHECKING:
    from grpc.aio import StreamStreamMultiCallable, UnaryUnaryMultiCallable

_RECORD: Final = b"x" * 256


@dataclass(frozen=True, slots=True)
class Echo:
    """The calls of the echo server."""

    unary: UnaryUnaryMultiCallable[bytes, bytes]
    stream: StreamStreamMultiCallable[bytes, bytes]


@contextlib.asynccontextmanager
async def echo_server() -> AsyncIterator[Echo]:
    """An echo server in a process of its own, and a channel to it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.echo_server", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        port = int(await process.stdout.readline())
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Echo(
                channel.unary_unary(f"/{SERVICE}/Unary", None, None),
                channel.stream_stream(f"/{SERVICE}/Stream", None, None),
            )
    finally:
        process.stdin.close()
        await process.wait()


def fdatasync(folder: Path, duration_s: float) -> list[Reading]:
    """A file that grows by a record and is synced, again and again. Blocks."""
    taken: list[float] = []
    path = folder / "raw"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    try:
        began_s = now_s = time.perf_counter()
        while not taken or now_s - began_s < duration_s:
            os.write(descriptor, _RECORD)
            os.fdatasync(descriptor)
            before_s, now_s = now_s, time.perf_counter()
            taken.append((now_s - before_s) * 1e3)
    finally:
        os.close(descriptor)
        path.unlink()
    return [Reading("fdatasync_ms", percentile(sorted(taken), 0.5))]


async def echoes(echo: Echo, duration_s: float) -> list[Reading]:
    """Unary echoes, alone and with many callers, and messages there and back on one stream."""

    async def call(_caller: int) -> None:
        await echo.unary(_RECORD)

    stream = echo.stream(None)

    async def send(_caller: int) -> None:
        await stream.write(_RECORD)
        await stream.read()

    alone = await latencies_ms(call, duration_s)
    done, taken_s = await count_done(call, CALLERS, duration_s)
    streamed = await latencies_ms(send, duration_s)
    await stream.done_writing()
    return [
        Reading("echo_ms", percentile(alone, 0.5)),
        Reading("echo_rate", done / taken_s),
        Reading("stream_echo_ms", percentile(streamed, 0.5)),
    ]
