"""A journal that begins anew behind a copy of the state machine: in one step, whatever cuts it short."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tallystick_node.storage.errors import DiskFull
from tallystick_node.storage.files import FileSystem, RealFiles
from tallystick_node.storage.journal import Entry, HardState, Journal
from tallystick_node.storage.segment import UNFINISHED
from tests.unit.journal_kit import Content, FaultyFiles, MemoryFiles, PowerCut, content, fill, flush, payload

FOLDER = Path("/journal")
OLD_LAST = 7
PLACES = pytest.mark.parametrize("index", [3, OLD_LAST, 1000], ids=["behind its end", "at its end", "before its end"])


def old_journal(files: FileSystem, folder: Path = FOLDER) -> Journal:
    """Several segments, a hard state, compacted a little."""
    journal = Journal.open(files, folder, segment_bytes=1)
    journal.set_hard_state(4, "n2")
    fill(journal, range(1, OLD_LAST + 1), term=2, size_bytes=60)
    journal.compact_to(2)
    flush(journal)
    assert journal.base_index == 2
    return journal


def restart(journal: Journal, index: int, entries: int = 2) -> None:
    journal.restart_at(index, 5)
    for each in range(index + 1, index + 1 + entries):
        journal.append(each, 5, payload(each, 5, 60))
    flush(journal)


def begun_anew(index: int, entries: int = 2) -> Content:
    held = [Entry(each, 5, payload(each, 5, 60)) for each in range(index + 1, index + 1 + entries)]
    return Content((index, 5), HardState(4, "n2"), held)


def test_it_holds_nothing_and_keeps_the_hard_state() -> None:
    files = MemoryFiles(random.Random(0))
    journal = old_journal(files)
    journal.restart_at(50, 5)
    assert (journal.base_index, journal.last_index, journal.term_at(50)) == (50, 50, 5)
    assert journal.first_index == 51
    assert journal.hard_state == HardState(4, "n2")
    assert journal.has_pending
    assert journal.durable_index == OLD_LAST
    for index in (49, 51):
        with pytest.raises(IndexError):
            journal.term_at(index)
    with pytest.raises(IndexError):
        journal.append(50, 5, b"what the restart covers")
    flush(journal)
    assert journal.take_flush() is None
    assert journal.durable_index == 50
    assert len(files.paths()) == 1
    assert journal.size_bytes == sum(files.size(path) for path in files.paths())
    fill(journal, [51, 52], term=6)
    found = content(journal)
    journal.close()
    assert content(Journal.open(files, FOLDER)) == found
    assert found.base == (50, 5)


@PLACES
def test_the_end_of_the_old_journal_does_not_matter(index: int) -> None:
    files = MemoryFiles(random.Random(0))
    journal = old_journal(files)
    restart(journal, index)
    assert journal.durable_index == index + 2
    assert content(journal) == begun_anew(index)
    assert content(Journal.open(files, FOLDER)) == begun_anew(index)


def test_what_was_not_written_yet_is_dropped_too() -> None:
    files = MemoryFiles(random.Random(0))
    journal = old_journal(files)
    journal.append(8, 3, b"never written")
    restart(journal, 5)
    assert journal.pending_bytes == 0
    assert content(Journal.open(files, FOLDER)) == begun_anew(5)


@pytest.mark.parametrize("restart_in_flight", [False, True])
def test_a_flush_in_flight_does_not_bring_back_what_was_dropped(restart_in_flight: bool) -> None:
    files = MemoryFiles(random.Random(0))
    journal = old_journal(files)
    if restart_in_flight:
        journal.restart_at(6, 4)
        journal.append(7, 4, b"dropped")
    else:
        journal.append(8, 3, b"dropped")
    taken = journal.take_flush()
    assert taken is not None
    journal.restart_at(6, 5)
    assert journal.has_pending
    journal.append(7, 5, payload(7, 5, 60))
    journal.write_flush(taken)
    journal.finish_flush(taken)
    assert journal.durable_index <= 5
    assert journal.has_pending
    flush(journal)
    assert journal.durable_index == 7
    assert content(journal) == begun_anew(6, 1)
    assert content(Journal.open(files, FOLDER)) == begun_anew(6, 1)
    assert len(files.paths()) == 1


def test_nothing_is_compacted_before_it_is_on_disk() -> None:
    files = MemoryFiles(random.Random(0))
    journal = old_journal(files)
    before = content(journal)
    journal.restart_at(7, 5)
    journal.compact_to(7)
    assert content(Journal.open(files.copy(), FOLDER)) == before
    taken = journal.take_flush()
    assert taken is not None
    journal.compact_to(7)
    assert content(Journal.open(files.copy(), FOLDER)) == before
    journal.write_flush(taken)
    journal.finish_flush(taken)
    assert content(Journal.open(files.copy(), FOLDER)) == begun_anew(7, 0)


@pytest.mark.parametrize("room_bytes", [0, 50, 150, 250])
def test_a_full_disk_delays_it(tmp_path: Path, room_bytes: int) -> None:
    files = FaultyFiles()
    journal = old_journal(files, tmp_path)
    before = content(journal)
    journal.restart_at(20, 5)
    for each in (21, 22):
        journal.append(each, 5, payload(each, 5, 60))
    taken = journal.take_flush()
    assert taken is not None
    files.room_bytes = room_bytes
    for _ in range(2):
        with pytest.raises(DiskFull):
            journal.write_flush(taken)
    journal.close()
    left = Journal.open(RealFiles(), tmp_path, segment_bytes=1)
    assert content(left) in (before, begun_anew(20, 0))
    left.close()


def test_a_full_disk_and_then_room(tmp_path: Path) -> None:
    files = FaultyFiles()
    journal = old_journal(files, tmp_path)
    journal.restart_at(20, 5)
    for each in (21, 22):
        journal.append(each, 5, payload(each, 5, 60))
    taken = journal.take_flush()
    assert taken is not None
    files.room_bytes = 150  # for the head alone
    with pytest.raises(DiskFull):
        journal.write_flush(taken)
    files.room_bytes = None
    journal.write_flush(taken)
    journal.finish_flush(taken)
    flush(journal)
    assert len(files.list_names(tmp_path)) == 1
    journal.close()
    reopened = Journal.open(files, tmp_path)
    assert content(reopened) == begun_anew(20)
    reopened.close()


@PLACES
@pytest.mark.parametrize("seed", range(12))
def test_power_cut_at_every_step(index: int, seed: int) -> None:
    """At each operation, and once more while the journal is opened again."""
    for steps in itertools.count():
        files = MemoryFiles(random.Random(1000 * seed + steps))
        journal = old_journal(files)
        before = content(journal)
        files.steps_left = steps
        try:
            restart(journal, index)
        except PowerCut:
            files.crash()
        else:
            break
        files.steps_left = steps % 3
        try:
            journal = Journal.open(files, FOLDER, segment_bytes=1)
            flush(journal)  # the removals that are left
        except PowerCut:
            files.crash()
        files.steps_left = None
        journal = Journal.open(files, FOLDER, segment_bytes=1)
        assert content(journal) in [before, *(begun_anew(index, entries) for entries in range(3))]
        fill(journal, range(journal.last_index + 1, journal.last_index + 3), term=9)
        flush(journal)
        after = content(journal)
        assert content(Journal.open(files, FOLDER)) == after
    assert steps > 10


def _written_by_a_restart(index: int) -> tuple[MemoryFiles, Path, Content]:
    """The disk with the new segment written and no old one removed, and what the journal was before."""
    files = MemoryFiles(random.Random(0))
    journal = old_journal(files)
    before = content(journal)
    journal.restart_at(index, 5)
    for each in (index + 1, index + 2):
        journal.append(each, 5, payload(each, 5, 60))
    taken = journal.take_flush()
    assert taken is not None
    journal.write_flush(taken)
    return files, files.paths()[-1], before


@PLACES
def test_every_prefix_of_what_it_writes(index: int) -> None:
    files, new, before = _written_by_a_restart(index)
    data = files.read(new)
    head_bytes = 32 + 40 + 48
    for length in range(len(data) + 1):
        if length < head_bytes:  # the head is written under another name
            twin = files.copy()
            twin.overwrite(new, data[:length])
            twin.replace(new, new.with_name(new.name + UNFINISHED))
            assert content(Journal.open(twin, FOLDER)) == before
            assert not any(path.name.endswith(UNFINISHED) for path in twin.paths())
        else:
            twin = files.copy()
            twin.overwrite(new, data[:length])
            journal = Journal.open(twin, FOLDER)
            assert content(journal) in [begun_anew(index, entries) for entries in range(3)]
            assert journal.torn_bytes_cut < 200


def test_whatever_is_removed_of_the_old_segments_and_in_whatever_order() -> None:
    files, new, _ = _written_by_a_restart(20)
    old = [path for path in files.paths() if path != new]
    assert len(old) >= 4
    for count in range(len(old) + 1):
        for removed in itertools.combinations(old, count):
            twin = files.copy()
            for path in removed:
                twin.remove(path)
            journal = Journal.open(twin, FOLDER)
            assert content(journal) == begun_anew(20)
            assert journal.has_pending == (count < len(old))
            flush(journal)
            assert twin.paths() == [new]


@pytest.mark.parametrize("change", [lambda byte: byte ^ 1, lambda byte: byte ^ 0x80, lambda byte: byte ^ 0xFF])
def test_a_void_segment_may_be_damaged(change: Callable[[int], int]) -> None:
    files, new, _ = _written_by_a_restart(20)
    for path in [path for path in files.paths() if path != new]:
        for offset, byte in enumerate(files.read(path)):
            twin = files.copy()
            changed = change(byte)
            twin.damage(path, lambda held, at=offset, to=changed: held.__setitem__(at, to))  # type: ignore[misc]
            assert content(Journal.open(twin, FOLDER)) == begun_anew(20)


def test_segments_after_it_are_as_ever(tmp_path: Path) -> None:
    journal = old_journal(RealFiles(), tmp_path)
    restart(journal, 20)
    fill(journal, range(22, 30), term=6)  # 22 replaces an entry
    journal.compact_to(25)
    flush(journal)
    found = content(journal)
    assert (found.base, [entry.index for entry in found.entries]) == ((25, 6), [26, 27, 28, 29])
    journal.close()
    assert all(path.read_bytes()[8] == 1 for path in tmp_path.iterdir())  # older builds read this again
    journal = Journal.open(RealFiles(), tmp_path)
    assert content(journal) == found
    journal.close()
