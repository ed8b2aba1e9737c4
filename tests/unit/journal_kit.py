"""What the journal's tests share: a disk that fails on demand, and one in memory whose power can be cut."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tallystick_node.storage.errors import DiskFull
from tallystick_node.storage.files import AppendFile, RealFiles
from tallystick_node.storage.journal import Entry, HardState, Journal

SECTOR_BYTES = 512


@dataclass(frozen=True)
class Content:
    """All that a journal says."""

    base: tuple[int, int]
    hard_state: HardState
    entries: list[Entry]


def content(journal: Journal) -> Content:
    entries = journal.entries(journal.first_index, journal.last_index + 1, 1 << 40)
    assert [entry.index for entry in entries] == list(range(journal.first_index, journal.last_index + 1))
    assert [entry.term for entry in entries] == [journal.term_at(entry.index) for entry in entries]
    return Content((journal.base_index, journal.term_at(journal.base_index)), journal.hard_state, entries)


def flush(journal: Journal) -> None:
    while (taken := journal.take_flush()) is not None:
        journal.write_flush(taken)
        journal.finish_flush(taken)


def fill(journal: Journal, indexes: Iterable[int], *, term: int = 1, size_bytes: int = 10) -> None:
    """Append and flush one by one; the data tell index and term."""
    for index in indexes:
        journal.append(index, term, payload(index, term, size_bytes))
        flush(journal)


def payload(index: int, term: int, size_bytes: int = 10) -> bytes:
    return (f"{index}.{term} " * size_bytes).encode()[:size_bytes]


class FaultyFile:
    """An `AppendFile` that asks its disk first."""

    def __init__(self, file: AppendFile, disk: FaultyFiles) -> None:
        self._file = file
        self._disk = disk

    def write(self, data: bytes) -> None:
        room = self._disk.room_bytes
        if room is not None and len(data) > room:
            self._file.write(data[:room])  # a full disk takes what fits
            self._disk.room_bytes = 0
            raise DiskFull(errno.ENOSPC, "no room")
        self._disk.check("write")
        self._file.write(data)
        if room is not None:
            self._disk.room_bytes = room - len(data)

    def fdatasync(self) -> None:
        self._disk.check("fdatasync")
        self._file.fdatasync()

    def truncate(self, size_bytes: int) -> None:
        self._disk.check("truncate")
        self._file.truncate(size_bytes)

    def close(self) -> None:
        self._file.close()


class FaultyFiles(RealFiles):
    """The real disk with room for `room_bytes` more, on which each operation in `failing` fails."""

    def __init__(self) -> None:
        self.room_bytes: int | None = None
        self.failing: set[str] = set()

    def check(self, operation: str) -> None:
        if operation in self.failing:
            raise OSError(errno.EIO, f"{operation} fails")

    def open_append(self, path: Path) -> AppendFile:
        self.check("open_append")
        return FaultyFile(super().open_append(path), self)

    def replace(self, source: Path, target: Path) -> None:
        self.check("replace")
        super().replace(source, target)

    def remove(self, path: Path) -> None:
        self.check("remove")
        super().remove(path)

    def sync_folder(self, folder: Path) -> None:
        self.check("sync_folder")
        super().sync_folder(folder)


class PowerCut(Exception):
    """The power went, in the middle of an operation."""


@dataclass
class _Inode:
    data: bytearray = field(default_factory=bytearray)
    synced: bytes = b""


class MemoryFile:
    """An `AppendFile` of a `MemoryFiles`."""

    def __init__(self, inode: _Inode, disk: MemoryFiles) -> None:
        self._inode = inode
        self._disk = disk

    def write(self, data: bytes) -> None:
        self._inode.data += data
        self._disk.step()

    def fdatasync(self) -> None:
        self._disk.step()
        self._inode.synced = bytes(self._inode.data)

    def truncate(self, size_bytes: int) -> None:
        del self._inode.data[size_bytes:]

    def close(self) -> None:
        """Nothing to release."""


class MemoryFiles:
    """A `FileSystem` in memory.

    A power cut keeps what was synced; of the rest any part: names, a length, and of that any set of sectors, the others
    zeros.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._names: dict[Path, _Inode] = {}
        self._synced_names: dict[Path, _Inode] = {}
        self.steps_left: int | None = None
        self.holes = True

    def step(self) -> None:
        """Something is about to become durable: the power may go."""
        if self.steps_left is not None:
            self.steps_left -= 1
            if self.steps_left < 0:
                raise PowerCut

    def crash(self) -> None:
        """Power off and on."""
        self.steps_left = None
        for path in sorted(self._names.keys() ^ self._synced_names.keys()):
            if self._rng.random() < 0.5:
                if path in self._names:
                    self._synced_names[path] = self._names[path]
                else:
                    del self._synced_names[path]
        self._names = dict(self._synced_names)
        for inode in self._names.values():
            self._lose(inode)

    def _lose(self, inode: _Inode) -> None:
        start = len(inode.synced)
        if len(inode.data) < start:
            if self._rng.random() < 0.5:
                inode.data[:] = inode.synced  # the cut was not synced
            inode.synced = bytes(inode.data)
            return
        if inode.data[:start] != inode.synced:
            raise AssertionError("this disk knows no writing behind a cut that is not synced")
        end = self._rng.choice([len(inode.data), self._rng.randint(start, len(inode.data))])
        del inode.data[end:]
        low = start
        while low < end and self.holes:
            high = min((low // SECTOR_BYTES + 1) * SECTOR_BYTES, end)
            if self._rng.random() < 0.3:
                inode.data[low:high] = bytes(high - low)
            low = high
        inode.synced = bytes(inode.data)

    def damage(self, path: Path, change: Callable[[bytearray], None]) -> None:
        """Change a file's bytes behind everyone's back."""
        inode = self._names[path]
        change(inode.data)
        inode.synced = bytes(inode.data)

    def overwrite(self, path: Path, data: bytes) -> None:
        """Change all of a file behind everyone's back."""
        self.damage(path, lambda held: held.__setitem__(slice(None), data))

    def copy(self) -> MemoryFiles:
        twin = MemoryFiles(self._rng)
        twin._names = {path: _Inode(bytearray(inode.data), inode.synced) for path, inode in self._names.items()}
        twin._synced_names = dict(twin._names)
        return twin

    def paths(self) -> list[Path]:
        return sorted(self._names)

    def list_names(self, folder: Path) -> list[str]:
        return sorted(path.name for path in self._names if path.parent == folder)

    def make_folder(self, folder: Path) -> None:
        """Folders are there."""

    def open_append(self, path: Path) -> AppendFile:
        return MemoryFile(self._names.setdefault(path, _Inode()), self)

    def read(self, path: Path) -> bytes:
        return bytes(self._names[path].data)

    def read_at(self, path: Path, offset: int, size_bytes: int) -> bytes:
        return bytes(self._names[path].data[offset : offset + size_bytes])

    def replace(self, source: Path, target: Path) -> None:
        self._names[target] = self._names.pop(source)
        self.step()

    def remove(self, path: Path) -> None:
        del self._names[path]
        self.step()

    def sync_folder(self, folder: Path) -> None:
        self.step()
        self._synced_names = dict(self._names)

    def size(self, path: Path) -> int:
        return len(self._names[path].data)

    def free_bytes(self, folder: Path) -> int:
        return 1 << 40
