"""A disk whose power can be cut: an ext4 in a file, mounted through a loop device.

Rules of this file:
- `cut` is what ext4 offers for such tests (EXT4_IOC_SHUTDOWN, no log flush): from then on nothing reaches the disk,
  and what was not synced is gone. Mounting replays the file system's own journal, as after a real loss.
- It belongs into a mount namespace of its own: whatever happens to this process, no mount and no loop device stays.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

SIZE_BYTES: Final = 128 << 20
_SHUTDOWN: Final = 0x8004587D  # _IOR('X', 125, __u32)
_NO_LOG_FLUSH: Final = 2
_UNMOUNT_S: Final = 10.0
_TOOLS: Final = ("mkfs.ext4", "mount", "umount", "unshare")


class DiskError(RuntimeError):
    """A disk cannot be made here; the text says why."""


def missing() -> str | None:
    """Why there can be no such disks here; None: nothing is known to be in the way."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "disks to be cut off need root and Linux"
    absent = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if absent:
        return f"disks to be cut off need {', '.join(absent)}"
    return None if Path("/dev/loop-control").exists() else "disks to be cut off need loop devices"


class Disk:
    """See the module.

    Args:
        image: the file that holds it; it is made.
        place: the folder on which it is mounted; it is made.

    Raises:
        DiskError: it cannot be made or mounted.
    """

    def __init__(self, image: Path, place: Path) -> None:
        self.place = place
        self._image = image
        place.mkdir()
        with image.open("xb") as file:
            file.truncate(SIZE_BYTES)
        # Written out at once: no thread of the kernel goes on after mounting.
        _run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(image))
        self.mount()

    def mount(self) -> None:
        """Puts it in its place.

        Raises:
            DiskError: it cannot be mounted.
        """
        _run("mount", "-t", "ext4", "-o", "loop", str(self._image), str(self.place))

    def cut(self) -> None:
        """Cuts the power."""
        folder = os.open(self.place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(folder, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(folder)

    def sync(self) -> None:
        """Brings to the disk what was written until now, whoever wrote it."""
        folder = os.open(self.place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if ctypes.CDLL(None, use_errno=True).syncfs(folder) != 0:
                raise DiskError(f"syncfs: {os.strerror(ctypes.get_errno())}")
        finally:
            os.close(folder)

    def unmount(self) -> None:
        """Takes it out; the processes that used it are gone, though the kernel may still be letting go.

        Raises:
            DiskError: somebody uses it.
        """
        deadline_s = time.monotonic() + _UNMOUNT_S
        while True:
            try:
                _run("umount", str(self.place))
            except DiskError:
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.05)
            else:
                return

    def discard(self) -> None:
        """Takes it out whoever uses it, mounted or not."""
        subprocess.run(["umount", "-l", str(self.place)], check=False, capture_output=True)


def _run(*command: str) -> None:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode != 0:
        raise DiskError(f"{' '.join(command)}: {done.stderr.strip()}")
