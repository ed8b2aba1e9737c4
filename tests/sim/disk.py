"""A disk in memory that forgets what was not synced, and that fails on demand."""

from __future__ import annotations

import errno
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tallystick_node.storage.errors import DiskFull

SECTOR_BYTES: Final = 512
ROOM_BYTES: Final = 1 << 40


@dataclass
class _File:
    data: bytearray
    synced_bytes: int = 0


class SimFile:
    """`AppendFile` of a `SimFiles`."""

    def __init__(self, file: _File, disk: SimFiles) -> None:
        self._file = file
        self._disk = disk

    def write(self, data: bytes) -> None:
        taken = data[: self._disk.room_bytes]
        self._file.data += taken
        self._disk.room_bytes -= len(taken)
        if len(taken) < len(data):
            raise DiskFull(errno.ENOSPC, "no room")

    def fdatasync(self) -> None:
        if self._disk.can_sync:
            self._file.synced_bytes = len(self._file.data)

    def truncate(self, size_bytes: int) -> None:
        del self._file.data[size_bytes:]
        self._file.synced_bytes = min(self._file.synced_bytes, size_bytes)

    def close(self) -> None:
        """Nothing to release."""


class SimFiles:
    """`FileSystem` in memory: a crash keeps what was synced and a random part, from the front, of what was not."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._files: dict[Path, _File] = {}
        self._synced_names: dict[Path, _File] = {}
        self.room_bytes = ROOM_BYTES
        self.can_sync = True

    def crash(self, *, tears: bool = False) -> None:
        """Power off and on. A disk that tears also leaves sectors of what was not synced unwritten, and garbles one."""
        self.can_sync = True
        self._files = dict(self._synced_names)
        for file in self._files.values():
            unsynced = len(file.data) - file.synced_bytes
            del file.data[file.synced_bytes + self._rng.randint(0, unsynced) :]
            if tears:
                self._tear(file)

    def rot(self) -> None:
        """One bit of one byte of a file changes, at rest."""
        path = self._rng.choice(sorted(path for path, file in self._files.items() if file.data))
        data = self._files[path].data
        data[self._rng.randrange(len(data))] ^= 1 << self._rng.randrange(8)

    def list_names(self, folder: Path) -> list[str]:
        return sorted(path.name for path in self._files if path.parent == folder)

    def make_folder(self, folder: Path) -> None:
        """Folders are there."""

    def open_append(self, path: Path) -> SimFile:
        return SimFile(self._files.setdefault(path, _File(bytearray())), self)

    def read(self, path: Path) -> bytes:
        return bytes(self._files[path].data)

    def read_at(self, path: Path, offset: int, size_bytes: int) -> bytes:
        return bytes(self._files[path].data[offset : offset + size_bytes])

    def replace(self, source: Path, target: Path) -> None:
        self._files[target] = self._files.pop(source)

    def remove(self, path: Path) -> None:
        del self._files[path]

    def sync_folder(self, folder: Path) -> None:
        if self.can_sync:
            self._synced_names = dict(self._files)

    def size(self, path: Path) -> int:
        return len(self._files[path].data)

    def free_bytes(self, folder: Path) -> int:
        return self.room_bytes

    def _tear(self, file: _File) -> None:
        """Sectors reach the disk in any order; only bytes that were not synced are harmed."""
        low = file.synced_bytes
        while low < len(file.data):
            high = min((low // SECTOR_BYTES + 1) * SECTOR_BYTES, len(file.data))
            drawn = self._rng.random()
            if drawn < 0.3:
                file.data[low:high] = bytes(high - low)
            elif drawn < 0.5 and high == len(file.data):
                file.data[low:high] = self._rng.randbytes(high - low)
            low = high
