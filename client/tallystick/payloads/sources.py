"""What bytes are put from, as pieces: bytes, a file, or whatever gives them bit by bit.

Rules of this file: a file is read, and an iterator of the blocking kind is asked, on another thread: either may wait.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final, TypeAlias

from tallystick.payloads.chunking import BLOCK_BYTES

Source: TypeAlias = "bytes | bytearray | memoryview | str | os.PathLike[str] | AsyncIterable[bytes] | Iterable[bytes]"
"""Bytes, the path of a file, or an iterable of bytes."""


_WHOLE: Final = (bytes, bytearray, memoryview)


def is_whole(source: Source) -> bool:
    """It can be read again: an iterator cannot."""
    return isinstance(source, (*_WHOLE, str, os.PathLike))


def size_bytes(source: Source) -> int | None:
    """How much it is, where that is known before."""
    if isinstance(source, _WHOLE):
        return memoryview(source).nbytes
    if isinstance(source, str | os.PathLike):
        return Path(source).stat().st_size
    return None


async def pieces(source: Source) -> AsyncGenerator[bytes, None]:
    """The bytes, in order.

    Raises:
        OSError: the file cannot be read.
        Whatever the iterable raises.
    """
    if isinstance(source, _WHOLE):
        view = memoryview(source).cast("B")
        for begin in range(0, len(view), BLOCK_BYTES):
            yield bytes(view[begin : begin + BLOCK_BYTES])
    elif isinstance(source, str | os.PathLike):
        with closing(await asyncio.to_thread(Path(source).open, "rb", 0)) as file:
            while piece := await asyncio.to_thread(file.read, BLOCK_BYTES):
                yield piece
    elif isinstance(source, AsyncIterable):
        async for piece in source:
            yield piece
    else:
        iterator = iter(source)
        while (piece := await asyncio.to_thread(_next, iterator)) is not None:
            yield piece


def _next(iterator: Iterator[bytes]) -> bytes | None:
    return next(iterator, None)
