"""What tests of snapshots share: a disk that crashes at any operation, and two states of which one is ahead."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from tallystick_node.core.commands import Command
from tallystick_node.storage.database import Database
from tallystick_node.storage.export import SnapshotFile
from tallystick_node.storage.files import AppendFile, RealFiles
from tallystick_node.storage.install import INCOMING_PREFIX
from tallystick_node.storage.journal import HardState, Journal
from tests.unit.database_support import append, checkpoint, set_op
from tests.unit.journal_kit import Content, content, flush, payload

OLD_INDEX = 5
NEW_INDEX = 20
NEW_TERM = 4
HARD_STATE = HardState(6, "n2")


class Crash(Exception):
    """The power went."""


@dataclass
class _Change:
    """A name that changed, in a folder not synced since; the copies that undo it."""

    folder: Path
    before: dict[Path, Path | None]

    def undo(self) -> None:
        for path, kept in self.before.items():
            path.unlink(missing_ok=True)
            if kept is not None:
                os.link(kept, path)


class CrashingFile:
    """An `AppendFile` that counts."""

    def __init__(self, file: AppendFile, disk: CrashingFiles) -> None:
        self._file = file
        self._disk = disk

    def write(self, data: bytes) -> None:
        self._disk.step()
        self._file.write(data)

    def fdatasync(self) -> None:
        self._disk.step()
        self._file.fdatasync()

    def truncate(self, size_bytes: int) -> None:
        self._disk.step()
        self._file.truncate(size_bytes)

    def close(self) -> None:
        self._file.close()


class CrashingFiles(RealFiles):
    """The real disk until `steps_left` operations are done; then a crash, which may undo each name not synced."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._kept = 0
        self.steps_left: int | None = None
        self.unsynced: list[_Change] = []

    def step(self) -> None:
        if self.steps_left is not None:
            self.steps_left -= 1
            if self.steps_left < 0:
                raise Crash

    def _remember(self, *paths: Path) -> None:
        before: dict[Path, Path | None] = {}
        for path in paths:
            before[path] = None
            if path.exists():
                self._kept += 1
                kept = self._scratch / f"kept{self._kept}"
                os.link(path, kept)
                before[path] = kept
        self.unsynced.append(_Change(paths[0].parent, before))

    def open_append(self, path: Path) -> AppendFile:
        self.step()
        return CrashingFile(super().open_append(path), self)

    def replace(self, source: Path, target: Path) -> None:
        self.step()
        self._remember(source, target)
        super().replace(source, target)

    def remove(self, path: Path) -> None:
        self.step()
        if path.exists():
            self._remember(path)
        super().remove(path)

    def sync_folder(self, folder: Path) -> None:
        self.step()
        super().sync_folder(folder)
        self.unsynced = [change for change in self.unsynced if change.folder != folder]


def subsets(count: int) -> Iterator[tuple[int, ...]]:
    for size in range(count + 1):
        yield from combinations(range(count), size)


def commands(count: int, *, text: str) -> list[Command]:
    """Some appends and a checkpoint."""
    made: list[Command] = [append([set_op("/n", f'"{text} {number}"')], key=f"k{number}") for number in range(count)]
    if made:
        made[count // 2] = checkpoint("half", key="half")
    return made


def make_state(path: Path, index: int, *, term: int, text: str, members: bytes) -> Database:
    """A state that has applied so many entries."""
    database = Database.open(path)
    last = [members if number == index else None for number in range(1, index + 1)]
    made = commands(index, text=text)
    database.apply([(number + 1, term, [made[number]], last[number]) for number in range(index)])
    return database


def make_copy(folder: Path, target: Path) -> SnapshotFile:
    """What a peer that is ahead sends."""
    folder.mkdir(exist_ok=True)
    database = make_state(folder / "peer.db", NEW_INDEX, term=NEW_TERM, text="new", members=b"four")
    copied = database.export(target)
    database.close()
    return copied


def make_node(folder: Path, scratch: Path) -> None:
    """A killed node's folder: a state with a write-ahead log that is not moved home, and no journal yet."""
    folder.mkdir(parents=True)
    scratch.mkdir(exist_ok=True)
    database = make_state(scratch / "state.db", OLD_INDEX, term=2, text="old", members=b"three")
    for suffix in ("", "-wal", "-shm"):
        shutil.copy(f"{database.path}{suffix}", folder / f"state.db{suffix}")
    assert (folder / "state.db-wal").stat().st_size > 0
    database.close()


def make_journal(folder: Path, last: int, *, term: int = 2, base: int = 0) -> Journal:
    """A journal with the terms that led to the old state, and another from `NEW_INDEX` on."""
    journal = Journal.open(RealFiles(), folder / "journal", segment_bytes=1)
    journal.set_hard_state(HARD_STATE.term, HARD_STATE.voted_for)
    for index in range(1, last + 1):
        journal.append(index, 2 if index < NEW_INDEX else term, payload(index, term, 40))
        flush(journal)
    if base:
        journal.compact_to(base)
        flush(journal)
    return journal


def incoming(folder: Path, copy: Path) -> Path:
    """The copy as received."""
    path = folder / f"{INCOMING_PREFIX}1"
    shutil.copy(copy, path)
    return path


def journal_content(folder: Path) -> Content:
    journal = Journal.open(RealFiles(), folder / "journal")
    found = content(journal)
    journal.close()
    return found
