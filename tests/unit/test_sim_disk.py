"""The disk of the simulation: what a power cut takes, and what it must not take."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tallystick_node.sim.database import SimDatabase
from tallystick_node.sim.disk import SECTOR_BYTES, SimFiles
from tallystick_node.storage.errors import DiskFull, JournalDamaged, UnknownFormat
from tallystick_node.storage.journal import Journal

FOLDER = Path("/journal")
PATH = FOLDER / "file"


def disk(seed: int, *, tears: bool = False) -> SimFiles:
    return SimFiles(random.Random(seed), tears=tears)


def test_a_power_cut_keeps_what_was_synced_and_a_part_of_the_rest() -> None:
    sizes = set()
    for seed in range(50):
        files = disk(seed)
        file = files.open_append(PATH)
        file.write(b"a" * 100)
        file.fdatasync()
        files.sync_folder(FOLDER)
        file.write(b"b" * 100)
        files.crash()
        data = files.read(PATH)
        assert data == b"a" * 100 + b"b" * (len(data) - 100)
        sizes.add(len(data))
    assert len(sizes) > 10
    assert min(sizes) < 120 and max(sizes) > 180


def test_a_name_that_was_not_synced_is_gone() -> None:
    files = disk(1)
    files.open_append(PATH).write(b"a")
    files.crash()
    assert files.list_names(FOLDER) == []


def test_a_rename_that_was_not_synced_is_undone() -> None:
    files = disk(1)
    file = files.open_append(PATH)
    file.write(b"a")
    file.fdatasync()
    files.sync_folder(FOLDER)
    files.replace(PATH, FOLDER / "other")
    assert files.list_names(FOLDER) == ["other"]
    files.crash()
    assert files.list_names(FOLDER) == ["file"]


def test_torn_writes_leave_holes_of_whole_sectors_and_only_in_what_was_not_synced() -> None:
    holes = 0
    for seed in range(50):
        files = disk(seed, tears=True)
        file = files.open_append(PATH)
        file.write(b"a" * 700)
        file.fdatasync()
        files.sync_folder(FOLDER)
        file.write(b"b" * 3000)
        files.crash()
        data = files.read(PATH)
        assert data[:700] == b"a" * 700
        for start in range(700, len(data)):
            begins = max(700, start // SECTOR_BYTES * SECTOR_BYTES)
            assert data[start] == data[begins]
        holes += data[700:].count(0) > 0
    assert holes > 10


def test_a_full_disk_says_so_and_writes_nothing() -> None:
    files = disk(1)
    file = files.open_append(PATH)
    files.room_bytes = 10
    with pytest.raises(DiskFull):
        file.write(b"a" * 11)
    assert files.size(PATH) == 0
    file.write(b"a" * 10)
    files.refill()
    file.write(b"a" * 11)


def _journal(files: SimFiles) -> Journal:
    return Journal.open(files, FOLDER, segment_bytes=2000)


def _append(journal: Journal, index: int) -> None:
    journal.append(index, 1, b"entry" * 20)
    flush = journal.take_flush()
    assert flush is not None
    journal.write_flush(flush)
    journal.finish_flush(flush)


def test_a_journal_survives_power_cuts_with_all_that_was_synced() -> None:
    for seed in range(30):
        files = disk(seed, tears=True)
        journal = _journal(files)
        for index in range(1, 40):
            _append(journal, index)
        journal.append(40, 1, b"not synced" * 200)
        flush = journal.take_flush()
        assert flush is not None
        files.can_sync = False
        journal.write_flush(flush)
        files.crash()
        assert _journal(files).last_index in (39, 40)


def test_a_bit_that_rots_in_a_journal_is_found() -> None:
    for seed in range(60):
        files = disk(seed)
        journal = _journal(files)
        for index in range(1, 30):
            _append(journal, index)
        journal.close()
        assert files.rot()
        with pytest.raises((JournalDamaged, UnknownFormat)):  # the format's own number may be what rots
            _journal(files)


def test_a_killed_process_loses_no_commit_of_its_database_and_a_power_cut_none_that_was_synced(tmp_path: Path) -> None:
    rng = random.Random(1)
    after: set[int] = set()
    for round_ in range(20):
        path = tmp_path / f"{round_}.db"
        database = SimDatabase.open(path)
        for index in range(1, 11):
            database.apply([(index, 1, [], None)])
            if index == 4:
                database.checkpoint()
        assert isinstance(database, SimDatabase)
        is_cut = round_ > 0
        database.kill(rng if is_cut else None)
        again = SimDatabase.open(path)
        assert 4 <= again.applied_index <= 10
        assert is_cut or again.applied_index == 10
        after.add(again.applied_index)
        again.close()
    assert len(after) > 3
