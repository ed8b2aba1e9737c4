"""Archives: what `put` returned from is there, after a power cut too; what it did not is whole or not there."""

from __future__ import annotations

import asyncio
import errno
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from tallystick_node.retention.archives.folder import FolderArchive
from tallystick_node.retention.archives.port import ArchiveFailed, on_a_thread
from tallystick_node.sim.disk import SimFiles
from tallystick_node.storage.errors import DiskFull
from tallystick_node.storage.files import AppendFile, RealFiles

T = TypeVar("T")
NAME = "demo/ann/main/1-2.jsonl.gz"
FOLDER = Path("/archive")


class PowerCutError(Exception):
    """The machine is off."""


class Flickering(SimFiles):
    """A disk whose machine goes off before its n-th change."""

    def __init__(self, changes: int) -> None:
        super().__init__(random.Random(changes), tears=True)
        self.left = changes

    def _count(self) -> None:
        if self.left == 0:
            raise PowerCutError
        self.left -= 1

    def open_append(self, path: Path) -> AppendFile:  # type: ignore[override]
        self._count()
        return _Counted(super().open_append(path), self._count)

    def replace(self, source: Path, target: Path) -> None:
        self._count()
        super().replace(source, target)

    def sync_folder(self, folder: Path) -> None:
        self._count()
        super().sync_folder(folder)


class _Counted:
    def __init__(self, file: AppendFile, count: Callable[[], None]) -> None:
        self._file, self._count = file, count

    def write(self, data: bytes) -> None:
        self._count()
        self._file.write(data)

    def fdatasync(self) -> None:
        self._count()
        self._file.fdatasync()

    def truncate(self, size_bytes: int) -> None:
        self._count()
        self._file.truncate(size_bytes)

    def close(self) -> None:
        self._file.close()


def held(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def at_once(work: Callable[[], T]) -> T:
    return work()


async def test_a_folder_holds_what_was_put_and_nothing_else(tmp_path: Path) -> None:
    archive = FolderArchive(RealFiles(), tmp_path, "a")
    assert await archive.put(NAME, b"first") == str(tmp_path / NAME)
    assert not await archive.has(NAME + ".other") and await archive.has(NAME)
    await archive.put(NAME, b"again")
    assert held(tmp_path) == {NAME: b"again"}


async def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    missing = tmp_path / "not-mounted"
    with pytest.raises(ArchiveFailed, match="not-mounted"):
        await FolderArchive(RealFiles(), missing, "a").put(NAME, b"x")
    with pytest.raises(ArchiveFailed, match="not-mounted"):
        await FolderArchive(RealFiles(), missing, "a").has(NAME)
    assert held(tmp_path) == {}


async def test_after_a_power_cut_a_file_is_whole_or_not_there() -> None:
    data = bytes(range(1, 251)) * 20
    outcomes = set()
    for changes in range(40):
        files = Flickering(changes)
        archive = FolderArchive(files, FOLDER, "a", at_once)
        try:
            await archive.put(NAME, data)
            was_put = True
        except PowerCutError:
            was_put = False
        files.left = -1
        files.crash()
        is_there = Path(NAME).name in files.list_names((FOLDER / NAME).parent)
        assert is_there or not was_put, f"lost after {changes} changes"
        if is_there:
            assert files.read(FOLDER / NAME) == data, f"torn after {changes} changes"
        outcomes.add((was_put, is_there))
        await archive.put(NAME, data)  # and the next try goes well
        assert files.read(FOLDER / NAME) == data
    assert outcomes == {(False, False), (False, True), (True, True)}


async def test_a_full_disk_is_said_and_room_helps() -> None:
    files = SimFiles(random.Random(1))
    files.room_bytes = 10
    archive = FolderArchive(files, FOLDER, "a", at_once)
    with pytest.raises(ArchiveFailed, match="no room"):
        await archive.put(NAME, b"x" * 100)
    files.refill()
    await archive.put(NAME, b"x" * 100)
    assert files.read(FOLDER / NAME) == b"x" * 100


async def test_two_nodes_that_write_the_same_file_do_not_mix(tmp_path: Path) -> None:
    archives = [FolderArchive(RealFiles(), tmp_path, node_id) for node_id in ("a", "b", "c")]
    data = random.Random(2).randbytes(300_000)
    await asyncio.gather(*(archive.put(NAME, data) for archive in archives))
    assert held(tmp_path) == {NAME: data}


async def test_what_fails_on_a_thread_fails_here() -> None:
    def full() -> str:
        raise DiskFull(errno.ENOSPC, "no room")

    with pytest.raises(DiskFull):
        await on_a_thread(full)
    assert await on_a_thread(lambda: "there") == "there"


def test_the_end_does_not_wait_for_an_archive_that_hangs() -> None:
    hangs = threading.Event()

    async def main() -> None:
        asked = asyncio.create_task(on_a_thread(hangs.wait))
        await asyncio.wait((asked,), timeout=0.01)
        assert not asked.done()

    asyncio.run(main())
    hangs.set()
