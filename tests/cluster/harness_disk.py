"""Small disks of their own for data folders, which can be filled up and freed again. They need root and Linux."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(place: Path, size_bytes: int) -> Iterator[Path]:
    """Mounts a tmpfs there while the body runs; a folder on it, not made yet. Skips the test where it cannot."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root and Linux")
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(place)]
    done = subprocess.run(mount, check=False, capture_output=True)
    if done.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.decode().strip()}")
    try:
        yield place / "data"
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path, leave_bytes: int = 0) -> None:
    """Takes all but so much of the free space of the disk that a data folder is on."""
    room = os.statvfs(disk)
    with _filler(disk).open("ab") as file:
        for _ in range(max(room.f_bavail - leave_bytes // room.f_frsize, 0)):
            file.write(b"x" * room.f_frsize)


def free(disk: Path) -> None:
    """Gives it back."""
    _filler(disk).unlink(missing_ok=True)


def _filler(data_folder: Path) -> Path:
    return data_folder.parent / "filler"
