"""The seam to the disk, so that a simulated disk can stand in for the real one.

Rules of this file:
- No room (ENOSPC, EDQUOT) is raised as `DiskFull`; any other failure is the OSError it was.
- A write is on disk after `fdatasync`; a created, renamed or removed name after `sync_folder`. No more is promised.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from tallystick_node.storage.errors import DiskFull

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


class AppendFile(Protocol):
    """A file that is written at its end."""

    def write(self, data: bytes) -> None:
        """Append all of `data`; on an error any part of it may have been appended."""

    def fdatasync(self) -> None:
        """Return once all that was written is on disk."""

    def truncate(self, size_bytes: int) -> None:
        """Cut the file off at `size_bytes`."""

    def close(self) -> None:
        """Release the file; syncs nothing."""


class FileSystem(Protocol):
    """What the storage needs of a disk. Everything but the names raises OSError, or `DiskFull` where room is needed."""

    def list_names(self, folder: Path) -> list[str]:
        """The names in a folder, sorted."""

    def make_folder(self, folder: Path) -> None:
        """Create the folder and its parents where missing, durably."""

    def open_append(self, path: Path) -> AppendFile:
        """Open for appending; created, empty, where missing."""

    def read(self, path: Path) -> bytes:
        """The whole file, as the disk holds it where that can be told from what memory holds."""

    def read_at(self, path: Path, offset: int, size_bytes: int) -> bytes:
        """A part of the file; shorter where the file ends."""

    def replace(self, source: Path, target: Path) -> None:
        """Rename, atomically; a `target` that exists is replaced."""

    def remove(self, path: Path) -> None:
        """Remove a file."""

    def sync_folder(self, folder: Path) -> None:
        """Return once the folder's names are on disk."""

    def size(self, path: Path) -> int:
        """The file's size in bytes."""

    def free_bytes(self, folder: Path) -> int:
        """The room left for this process on the folder's disk, in bytes."""


@contextlib.contextmanager
def _telling_disk_full() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise DiskFull(error.errno, error.strerror, error.filename) from error
        raise


class RealFile:
    """`AppendFile` on the operating system's disk."""

    def __init__(self, path: Path) -> None:
        with _telling_disk_full():
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, data: bytes) -> None:
        """See `AppendFile`."""
        left = memoryview(data)
        with _telling_disk_full():
            while left:
                left = left[os.write(self._fd, left) :]

    def fdatasync(self) -> None:
        """See `AppendFile`."""
        with _telling_disk_full():
            os.fdatasync(self._fd)

    def truncate(self, size_bytes: int) -> None:
        """See `AppendFile`."""
        with _telling_disk_full():
            os.ftruncate(self._fd, size_bytes)

    def close(self) -> None:
        """See `AppendFile`."""
        os.close(self._fd)


class RealFiles:
    """`FileSystem` on the operating system's disk."""

    def list_names(self, folder: Path) -> list[str]:
        """See `FileSystem`."""
        return sorted(os.listdir(folder))  # noqa: PTH208  names, not paths

    def make_folder(self, folder: Path) -> None:
        """See `FileSystem`."""
        if folder.is_dir():
            return
        self.make_folder(folder.parent)
        with _telling_disk_full():
            folder.mkdir(mode=0o700, exist_ok=True)
        self.sync_folder(folder.parent)

    def open_append(self, path: Path) -> AppendFile:
        """See `FileSystem`."""
        return RealFile(path)

    def read(self, path: Path) -> bytes:
        """See `FileSystem`."""
        fd = os.open(path, os.O_RDONLY)
        with os.fdopen(fd, "rb") as file:
            # After a failed sync the kernel may keep pages as clean that never reached the disk: do not believe them.
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            return file.read()

    def read_at(self, path: Path, offset: int, size_bytes: int) -> bytes:
        """See `FileSystem`."""
        fd = os.open(path, os.O_RDONLY)
        try:
            data = os.pread(fd, size_bytes, offset)
            while len(data) < size_bytes and (more := os.pread(fd, size_bytes - len(data), offset + len(data))):
                data += more
            return data
        finally:
            os.close(fd)

    def replace(self, source: Path, target: Path) -> None:
        """See `FileSystem`."""
        with _telling_disk_full():
            source.replace(target)

    def remove(self, path: Path) -> None:
        """See `FileSystem`."""
        path.unlink()

    def sync_folder(self, folder: Path) -> None:
        """See `FileSystem`."""
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with _telling_disk_full():
                os.fsync(fd)
        finally:
            os.close(fd)

    def size(self, path: Path) -> int:
        """See `FileSystem`."""
        return path.stat().st_size

    def free_bytes(self, folder: Path) -> int:
        """See `FileSystem`."""
        room = os.statvfs(folder)
        return room.f_bavail * room.f_frsize
