"""A disk in memory that forgets what was not synced, and what else a disk does: slow, stuck, full, rotten.

Rules of this file:
- A crash of the process alone loses nothing that was written. A power cut keeps what was synced and a random part, from
  the front, of what was not; if it tears, sectors of that part may be holes.
- Names are synced by `sync_folder` alone, as on ext4: a rename that was not synced is undone by a power cut.
"""

from __future__ import annotations

import errno
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tallystick_node.storage.errors import DiskFull
from tallystick_node.storage.files import AppendFile, FileSystem, RealFiles

SECTOR_BYTES: Final = 512
JOURNAL_FOLDER: Final = "journal"
"""The folder in a data folder that holds the journal."""
_HOLE_SHARE: Final = 0.3
_PLENTY_BYTES: Final = 1 << 40


@dataclass
class _File:
    data: bytearray
    synced_bytes: int = 0
    settled_bytes: int = 0
    """What was synced before the last sync."""


class SimFile:
    """`AppendFile` of a `SimFiles`."""

    def __init__(self, file: _File, disk: SimFiles) -> None:
        self._file = file
        self._disk = disk

    def write(self, data: bytes) -> None:
        """See `AppendFile`."""
        self._disk.take_room(len(data))
        self._file.data += data

    def fdatasync(self) -> None:
        """See `AppendFile`."""
        if self._disk.can_sync:
            self._file.settled_bytes = self._file.synced_bytes
            self._file.synced_bytes = len(self._file.data)

    def truncate(self, size_bytes: int) -> None:
        """See `AppendFile`."""
        self._disk.give_room(max(0, len(self._file.data) - size_bytes))
        del self._file.data[size_bytes:]
        self._file.synced_bytes = min(self._file.synced_bytes, size_bytes)
        self._file.settled_bytes = min(self._file.settled_bytes, size_bytes)

    def close(self) -> None:
        """Nothing to release."""


class SimFiles:
    """`FileSystem` in memory.

    Attributes:
        room_bytes: what is left; setting it makes the disk full, or gives it room.
        can_sync: off while the power goes: what is written then is not synced.
        tears: a power cut may leave out any sector that was not synced, also before others.
    """

    def __init__(self, rng: random.Random, *, tears: bool = False) -> None:
        self._rng = rng
        self._files: dict[Path, _File] = {}
        self._synced_names: dict[Path, _File] = {}
        self.room_bytes = _PLENTY_BYTES
        self.can_sync = True
        self.tears = tears

    def crash(self) -> None:
        """Power off and on."""
        self.can_sync = True
        self._files = dict(self._synced_names)
        for file in self._files.values():
            unsynced = len(file.data) - file.synced_bytes
            del file.data[file.synced_bytes + self._rng.randint(0, unsynced) :]
            if self.tears:
                self._tear(file)
            file.synced_bytes = len(file.data)  # what a disk has after it came back, it keeps

    def _tear(self, file: _File) -> None:
        """A disk writes its sectors whole, and in any order: one that was not written holds zeros."""
        begins = file.synced_bytes
        while begins < len(file.data):
            ends = min((begins // SECTOR_BYTES + 1) * SECTOR_BYTES, len(file.data))
            if self._rng.random() < _HOLE_SHARE:
                file.data[begins:ends] = bytes(ends - begins)
            begins = ends

    def rot(self) -> str:
        """Flips a bit of a byte that was synced, and not by the last sync; where, or "" if there is none."""
        settled = [(path, file) for path, file in sorted(self._files.items()) if file.settled_bytes]
        if not settled:
            return ""
        path, file = self._rng.choice(settled)
        place = self._rng.randrange(file.settled_bytes)
        file.data[place] ^= 1 << self._rng.randrange(8)
        return f"{path.name}:{place}"

    def take_room(self, size_bytes: int) -> None:
        """Something is written."""
        if size_bytes > self.room_bytes:
            raise DiskFull(errno.ENOSPC, "no room")
        self.room_bytes -= size_bytes

    def give_room(self, size_bytes: int) -> None:
        """Something is removed."""
        self.room_bytes += size_bytes

    def refill(self) -> None:
        """There is room again."""
        self.room_bytes = _PLENTY_BYTES

    # FileSystem.

    def list_names(self, folder: Path) -> list[str]:
        """See `FileSystem`."""
        return sorted(path.name for path in self._files if path.parent == folder)

    def make_folder(self, folder: Path) -> None:
        """Folders are there."""

    def open_append(self, path: Path) -> SimFile:
        """See `FileSystem`."""
        return SimFile(self._files.setdefault(path, _File(bytearray())), self)

    def read(self, path: Path) -> bytes:
        """See `FileSystem`."""
        return bytes(self._file(path).data)

    def read_at(self, path: Path, offset: int, size_bytes: int) -> bytes:
        """See `FileSystem`."""
        return bytes(self._file(path).data[offset : offset + size_bytes])

    def replace(self, source: Path, target: Path) -> None:
        """See `FileSystem`."""
        self._files[target] = self._file(source)
        del self._files[source]

    def remove(self, path: Path) -> None:
        """See `FileSystem`."""
        self.give_room(len(self._file(path).data))
        del self._files[path]

    def sync_folder(self, folder: Path) -> None:
        """See `FileSystem`."""
        if self.can_sync:
            others = {path: file for path, file in self._synced_names.items() if path.parent != folder}
            mine = {path: file for path, file in self._files.items() if path.parent == folder}
            self._synced_names = {**others, **mine}

    def size(self, path: Path) -> int:
        """See `FileSystem`."""
        return len(self._file(path).data)

    def free_bytes(self, folder: Path) -> int:
        """See `FileSystem`; the disk has one for all."""
        del folder
        return self.room_bytes

    def _file(self, path: Path) -> _File:
        try:
            return self._files[path]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path)) from None


class SimDisk:
    """`FileSystem` of a node: the journal's folder is on `journal`, all else (SQLite's) in a scratch folder.

    Both share the room that `journal` has.
    """

    def __init__(self, journal: SimFiles) -> None:
        self._journal = journal
        self._scratch = RealFiles()

    def list_names(self, folder: Path) -> list[str]:
        """See `FileSystem`."""
        return self._of_folder(folder).list_names(folder)

    def make_folder(self, folder: Path) -> None:
        """See `FileSystem`."""
        self._of_folder(folder).make_folder(folder)

    def open_append(self, path: Path) -> AppendFile:
        """See `FileSystem`."""
        return self._of(path).open_append(path)

    def read(self, path: Path) -> bytes:
        """See `FileSystem`."""
        return self._of(path).read(path)

    def read_at(self, path: Path, offset: int, size_bytes: int) -> bytes:
        """See `FileSystem`."""
        return self._of(path).read_at(path, offset, size_bytes)

    def replace(self, source: Path, target: Path) -> None:
        """See `FileSystem`."""
        self._of(source).replace(source, target)

    def remove(self, path: Path) -> None:
        """See `FileSystem`."""
        self._of(path).remove(path)

    def sync_folder(self, folder: Path) -> None:
        """See `FileSystem`."""
        self._of_folder(folder).sync_folder(folder)

    def size(self, path: Path) -> int:
        """See `FileSystem`."""
        return self._of(path).size(path)

    def free_bytes(self, folder: Path) -> int:
        """See `FileSystem`."""
        return self._journal.free_bytes(folder)

    def _of(self, path: Path) -> FileSystem:
        return self._of_folder(path.parent)

    def _of_folder(self, folder: Path) -> FileSystem:
        return self._journal if folder.name == JOURNAL_FOLDER else self._scratch
