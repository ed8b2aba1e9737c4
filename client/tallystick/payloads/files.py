"""A payload in a file: what was saved before is gone on with.

Rules of this file:
- Until it is whole it stands beside its place, under a name that tells which payload it is. What is there is believed
  only as far as its chunks are right.
- It takes its place whole and synced, or not at all.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Final

from tallystick.payloads.manifest import Chunk

_ID_CHARS: Final = 16


def part_of(path: Path, payload_id: bytes) -> Path:
    """Where it stands until it is whole."""
    return path.with_name(f"{path.name}.{payload_id.hex()[:_ID_CHARS]}.part")


class PartFile:
    """A file that is filled; blocking."""

    def __init__(self, path: Path, payload_id: bytes) -> None:
        self._path = path
        self._part = part_of(path, payload_id)
        self._file: BinaryIO | None = None

    def open(self, manifest: Sequence[Chunk]) -> int:
        """How many chunks are there; it is filled from behind them."""
        descriptor = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        file = self._file = os.fdopen(descriptor, "r+b")
        begin = 0
        for count, chunk in enumerate(manifest):
            if hashlib.sha256(file.read(chunk.size_bytes)).digest() != chunk.hash:
                file.seek(begin)
                return count
            begin += chunk.size_bytes
        return len(manifest)

    def write(self, data: bytes) -> None:
        """The next chunk."""
        self._opened().write(data)

    def finish(self, size_bytes: int) -> None:
        """It is whole: it takes its place."""
        file = self._opened()
        file.flush()
        file.truncate(size_bytes)
        os.fsync(file.fileno())
        self.close()
        self._part.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def close(self) -> None:
        """What is written stays, to be gone on with."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _opened(self) -> BinaryIO:
        if self._file is None:
            raise RuntimeError("it is not open")
        return self._file
