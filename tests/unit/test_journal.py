"""The journal in good weather: what goes in comes out, again after reopening, from memory and from disk."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tallystick_node.storage.errors import JournalBroken
from tallystick_node.storage.files import RealFiles
from tallystick_node.storage.journal import Entry, HardState, Journal
from tests.unit.journal_kit import content, fill, flush, payload


def reopen(journal: Journal, folder: Path, **options: int) -> Journal:
    journal.close()
    return Journal.open(RealFiles(), folder, **options)


def test_new_journal_is_empty(tmp_path: Path) -> None:
    journal = Journal.open(RealFiles(), tmp_path / "a" / "journal")
    assert (journal.first_index, journal.last_index, journal.durable_index) == (1, 0, 0)
    assert journal.hard_state == HardState(0, None)
    assert journal.term_at(0) == 0
    assert not journal.has_pending
    assert journal.take_flush() is None
    journal = reopen(journal, tmp_path / "a" / "journal")
    assert (journal.first_index, journal.last_index) == (1, 0)
    assert journal.hard_state == HardState(0, None)


@pytest.mark.parametrize("data", [b"", b"x", b"12345678", bytes(100), bytes(range(256)) * 300])
def test_what_was_flushed_is_there_after_reopening(tmp_path: Path, data: bytes) -> None:
    journal = Journal.open(RealFiles(), tmp_path)
    journal.set_hard_state(7, "n-ö")
    journal.append(1, 6, data)
    journal.append(2, 2**63, b"second")
    assert journal.durable_index == 0
    assert journal.entry(1) == Entry(1, 6, data)
    flush(journal)
    assert journal.durable_index == 2
    before = content(journal)
    journal = reopen(journal, tmp_path, cache_bytes=0)
    assert content(journal) == before
    assert journal.hard_state == HardState(7, "n-ö")
    assert journal.durable_index == 2
    assert journal.torn_bytes_cut == 0


def test_what_was_not_flushed_is_not(tmp_path: Path) -> None:
    journal = Journal.open(RealFiles(), tmp_path)
    fill(journal, [1])
    journal.append(2, 1, b"pending")
    journal.set_hard_state(9, None)
    assert journal.has_pending
    assert journal.pending_bytes == len(b"pending")
    journal = reopen(journal, tmp_path)
    assert journal.last_index == 1
    assert journal.hard_state == HardState(0, None)


@pytest.mark.parametrize("segment_bytes", [1, 1 << 20])
def test_a_conflict_replaces_the_tail(tmp_path: Path, segment_bytes: int) -> None:
    journal = Journal.open(RealFiles(), tmp_path, segment_bytes=segment_bytes)
    fill(journal, range(1, 7))
    journal.append(3, 2, b"other")
    assert (journal.last_index, journal.durable_index) == (3, 2)
    with pytest.raises(IndexError):
        journal.entry(4)
    flush(journal)
    fill(journal, [4], term=2)
    assert journal.durable_index == 4
    before = content(journal)
    assert [entry.term for entry in before.entries] == [1, 1, 2, 2]
    journal = reopen(journal, tmp_path, segment_bytes=segment_bytes)
    assert content(journal) == before


def test_entries_replaced_during_their_flush_do_not_count_as_durable(tmp_path: Path) -> None:
    journal = Journal.open(RealFiles(), tmp_path)
    fill(journal, [1])
    for index in range(2, 6):
        journal.append(index, 1, b"old")
    taken = journal.take_flush()
    assert taken is not None
    waiting = journal.has_pending
    journal.append(4, 2, b"new")
    assert (waiting, journal.has_pending) == (False, True)
    journal.write_flush(taken)
    journal.finish_flush(taken)
    assert journal.durable_index == 3
    assert journal.entry(4).data == b"new"
    flush(journal)
    assert journal.durable_index == 4
    before = content(journal)
    assert content(reopen(journal, tmp_path)) == before


def test_gaps_and_compacted_indexes_are_refused(tmp_path: Path) -> None:
    journal = Journal.open(RealFiles(), tmp_path)
    fill(journal, [1, 2])
    for index in (0, 4):
        with pytest.raises(IndexError):
            journal.append(index, 1, b"")
    for index in (-1, 3):
        with pytest.raises(IndexError):
            journal.term_at(index)
    with pytest.raises(IndexError):
        journal.entry(0)
    with pytest.raises(IndexError):
        journal.entries(0, 2, 100)
    with pytest.raises(IndexError):
        journal.compact_to(3)
    assert journal.last_index == 2


def test_entries_are_cut_by_bytes_but_never_to_nothing(tmp_path: Path) -> None:
    journal = Journal.open(RealFiles(), tmp_path)
    fill(journal, range(1, 6), size_bytes=100)
    assert [entry.index for entry in journal.entries(2, 5, 1000)] == [2, 3, 4]
    assert [entry.index for entry in journal.entries(2, 5, 200)] == [2, 3]
    assert [entry.index for entry in journal.entries(2, 5, 1)] == [2]
    assert journal.entries(6, 9, 1) == []
    assert journal.entries(3, 3, 100) == []


def test_segments_rotate_and_are_dropped_whole(tmp_path: Path) -> None:
    journal = Journal.open(RealFiles(), tmp_path, segment_bytes=1000)
    journal.set_hard_state(3, "me")
    fill(journal, range(1, 31), term=3, size_bytes=100)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(names) > 3
    size_before = journal.size_bytes
    assert size_before == sum(path.stat().st_size for path in tmp_path.iterdir())
    journal.compact_to(15)
    assert 1 < journal.first_index <= 16
    assert journal.term_at(journal.base_index) == 3
    assert journal.has_pending
    flush(journal)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        name for name in names if int(name[-20:]) >= journal.first_index
    ]
    assert journal.size_bytes == sum(path.stat().st_size for path in tmp_path.iterdir()) < size_before
    before = content(journal)
    journal = reopen(journal, tmp_path, segment_bytes=1000)
    assert content(journal) == before
    assert journal.hard_state == HardState(3, "me")


def test_compaction_never_drops_the_active_segment(tmp_path: Path) -> None:
    journal = Journal.open(RealFiles(), tmp_path, segment_bytes=1)
    fill(journal, range(1, 6))
    journal.compact_to(5)
    flush(journal)
    assert (journal.first_index, journal.last_index) == (5, 5)
    assert (journal.base_index, journal.base_term) == (4, 1)
    before = content(journal)
    journal = reopen(journal, tmp_path, segment_bytes=1)
    assert content(journal) == before
    fill(journal, [6], term=2)
    assert content(reopen(journal, tmp_path)).entries[-1] == Entry(6, 2, payload(6, 2))


def test_compaction_keeps_what_a_pending_conflict_still_needs(tmp_path: Path) -> None:
    journal = Journal.open(RealFiles(), tmp_path, segment_bytes=1)
    fill(journal, range(1, 6))
    journal.append(2, 2, b"b")
    journal.append(3, 2, b"c")
    journal.compact_to(3)
    assert journal.first_index <= 2
    flush(journal)
    assert [entry.term for entry in content(reopen(journal, tmp_path)).entries][-2:] == [2, 2]


@pytest.mark.parametrize("removed", [1, 2, 3])
def test_a_crash_between_removals_leaves_a_journal(tmp_path: Path, removed: int) -> None:
    journal = Journal.open(RealFiles(), tmp_path, segment_bytes=1)
    fill(journal, range(1, 6))
    fill(journal, [2, 3], term=2)  # segments that are wholly replaced lie between
    journal.close()
    for path in sorted(tmp_path.iterdir())[:removed]:
        path.unlink()
    journal = Journal.open(RealFiles(), tmp_path)
    assert journal.last_index == 3
    assert [entry.term for entry in content(journal).entries][-2:] == [2, 2]


def test_flushed_entries_leave_memory_and_pending_ones_do_not(tmp_path: Path) -> None:
    files = CountingFiles()
    journal = Journal.open(files, tmp_path, cache_bytes=1000)
    for index in range(1, 21):
        journal.append(index, 1, payload(index, 1, 100))
    content(journal)
    assert files.reads == 0
    flush(journal)
    assert journal.entry(20).data == payload(20, 1, 100)
    assert files.reads == 0
    assert journal.entry(1).data == payload(1, 1, 100)
    assert files.reads > 0
    assert sum(len(entry.data) for entry in journal._cache.values()) <= 1000


class CountingFiles(RealFiles):
    def __init__(self) -> None:
        self.reads = 0

    def read_at(self, path: Path, offset: int, size_bytes: int) -> bytes:
        self.reads += 1
        return super().read_at(path, offset, size_bytes)


def test_one_flush_at_a_time(tmp_path: Path) -> None:
    journal = Journal.open(RealFiles(), tmp_path)
    journal.append(1, 1, b"a")
    taken = journal.take_flush()
    assert taken is not None
    with pytest.raises(RuntimeError):
        journal.take_flush()
    with pytest.raises(RuntimeError):
        journal.finish_flush(taken)
    journal.write_flush(taken)
    with pytest.raises(RuntimeError):
        journal.write_flush(taken)
    journal.finish_flush(taken)
    with pytest.raises(RuntimeError):
        journal.finish_flush(taken)


def test_a_closed_journal_refuses(tmp_path: Path) -> None:
    journal = Journal.open(RealFiles(), tmp_path)
    journal.close()
    with pytest.raises(JournalBroken):
        journal.append(1, 1, b"")


def test_a_large_backlog_is_flushed_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallystick_node.storage.journal.MAX_FLUSH_BYTES", 1000)
    journal = Journal.open(RealFiles(), tmp_path)
    for index in range(1, 8):
        journal.append(index, 1, payload(index, 1, 400))
    taken = journal.take_flush()
    assert taken is not None
    journal.write_flush(taken)
    journal.finish_flush(taken)
    assert journal.durable_index == 1
    assert journal.has_pending
    flush(journal)
    assert journal.durable_index == 7
    before = content(journal)
    assert content(reopen(journal, tmp_path)) == before


@pytest.mark.parametrize("seed", range(5))
def test_appending_while_a_thread_flushes(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    journal = Journal.open(RealFiles(), tmp_path, segment_bytes=2000, cache_bytes=500)
    model: list[Entry] = []
    with ThreadPoolExecutor(1) as worker:
        for term in range(1, 60):
            taken = journal.take_flush()
            running = worker.submit(journal.write_flush, taken) if taken else None
            for _ in range(rng.randint(0, 8)):
                index = rng.randint(max(1, len(model) - 3), len(model) + 1)
                model[index - 1 :] = [Entry(index, term, payload(index, term, rng.randint(0, 300)))]
                journal.append(index, term, model[-1].data)
            some = rng.randint(1, len(model) + 1)
            assert journal.entries(some, len(model) + 1, 1 << 30) == model[some - 1 :]
            if taken and running:
                running.result()
                journal.finish_flush(taken)
            assert journal.durable_index <= journal.last_index == len(model)
        flush(journal)
    assert journal.durable_index == len(model)
    assert content(journal).entries == model
    assert content(reopen(journal, tmp_path)).entries == model
