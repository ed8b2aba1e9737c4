"""The journal on disks that fail: full, broken, or without power; and in a process that is killed."""

from __future__ import annotations

import errno
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tallystick_node.storage.errors import DiskFull, JournalBroken, JournalDamaged
from tallystick_node.storage.files import RealFiles
from tallystick_node.storage.journal import Entry, HardState, Journal
from tests.unit.journal_kit import FaultyFiles, MemoryFiles, PowerCut, content, fill, flush, payload

FOLDER = Path("/journal")


@pytest.mark.parametrize("segment_bytes", [1, 1 << 20])
@pytest.mark.parametrize("room_bytes", [0, 1, 50, 130, 200])
def test_a_full_disk_takes_nothing_and_the_same_flush_later(
    tmp_path: Path, room_bytes: int, segment_bytes: int
) -> None:
    files = FaultyFiles()
    journal = Journal.open(files, tmp_path, segment_bytes=segment_bytes)
    fill(journal, [1, 2])
    sizes = {path: path.stat().st_size for path in tmp_path.iterdir()}
    journal.append(3, 1, payload(3, 1, 500))
    journal.set_hard_state(1, "n1")
    taken = journal.take_flush()
    assert taken is not None
    journal.append(4, 1, b"the next batch")
    files.room_bytes = room_bytes
    for _ in range(2):
        with pytest.raises(DiskFull):
            journal.write_flush(taken)
        assert {path: path.stat().st_size for path in sizes} == sizes
        assert journal.durable_index == 2
        assert journal.entry(3).data == payload(3, 1, 500)
    files.room_bytes = None
    journal.write_flush(taken)
    journal.finish_flush(taken)
    assert journal.durable_index == 3
    flush(journal)
    before = content(journal)
    journal.close()
    journal = Journal.open(files, tmp_path)
    assert content(journal) == before
    assert journal.torn_bytes_cut == 0


def test_compacting_frees_a_full_disk_under_the_flush_that_met_it(tmp_path: Path) -> None:
    files = FaultyFiles()
    journal = Journal.open(files, tmp_path, segment_bytes=1)
    fill(journal, range(1, 6))
    journal.append(6, 1, b"more")
    taken = journal.take_flush()
    assert taken is not None
    files.room_bytes = 0
    journal.compact_to(4)
    with pytest.raises(DiskFull):
        journal.write_flush(taken)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a tmpfs: {mounted.stderr.decode().strip()}")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.root
def test_a_disk_that_is_really_full(small_disk: Path) -> None:
    journal = Journal.open(RealFiles(), small_disk / "journal", segment_bytes=50_000)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(100_000))
    index = 0
    with pytest.raises(DiskFull) as full:  # noqa: PT012  which of them meets the end is the disk's business
        while index < 1000:
            index += 1
            fill(journal, [index], size_bytes=7000)
    assert full.value.errno == errno.ENOSPC
    assert journal.durable_index == index - 1 > 5
    taken = journal._in_flight
    assert taken is not None
    with pytest.raises(DiskFull):
        journal.write_flush(taken)
    ballast.unlink()
    journal.write_flush(taken)
    journal.finish_flush(taken)
    assert journal.durable_index == index
    journal.close()
    journal = Journal.open(RealFiles(), small_disk / "journal")
    assert [entry.data for entry in content(journal).entries] == [payload(i, 1, 7000) for i in range(1, index + 1)]
    journal.close()


@pytest.mark.parametrize(
    ("segment_bytes", "operation"),
    [
        (1 << 20, "write"),
        (1 << 20, "fdatasync"),
        (1, "open_append"),
        (1, "write"),
        (1, "fdatasync"),
        (1, "replace"),
        (1, "sync_folder"),
    ],
)
def test_after_an_error_the_journal_is_broken_for_good(tmp_path: Path, segment_bytes: int, operation: str) -> None:
    files = FaultyFiles()
    journal = Journal.open(files, tmp_path, segment_bytes=segment_bytes)
    fill(journal, [1, 2])
    before = content(journal)
    journal.append(3, 1, b"three")
    taken = journal.take_flush()
    assert taken is not None
    files.failing = {operation}
    with pytest.raises(JournalBroken):
        journal.write_flush(taken)
    files.failing = set()
    refusals: list[Callable[[], object]] = [
        lambda: journal.write_flush(taken),
        lambda: journal.finish_flush(taken),
        lambda: journal.append(4, 1, b""),
        lambda: journal.set_hard_state(9, None),
        lambda: journal.take_flush(),
        lambda: journal.entry(1),
        lambda: journal.entries(1, 2, 1),
        lambda: journal.term_at(1),
        lambda: journal.compact_to(1),
    ]
    for refused in refusals:
        with pytest.raises(JournalBroken):
            refused()
    assert journal.durable_index == 2
    journal.close()
    journal = Journal.open(files, tmp_path)
    found = content(journal)
    assert found.entries[:2] == before.entries
    assert found.entries[2:] in ([], [Entry(3, 1, b"three")])
    journal.close()


def test_a_full_disk_that_cannot_be_cut_back_breaks_the_journal(tmp_path: Path) -> None:
    files = FaultyFiles()
    journal = Journal.open(files, tmp_path)
    journal.append(1, 1, bytes(100))
    taken = journal.take_flush()
    assert taken is not None
    files.room_bytes = 20
    files.failing = {"truncate"}
    with pytest.raises(JournalBroken):
        journal.write_flush(taken)


def test_a_sync_that_finds_no_room_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = FaultyFiles()
    journal = Journal.open(files, tmp_path)
    journal.append(1, 1, b"a")
    taken = journal.take_flush()
    assert taken is not None

    def no_room(operation: str) -> None:
        if operation == "fdatasync":
            raise DiskFull(errno.ENOSPC, "no room")

    monkeypatch.setattr(files, "check", no_room)
    with pytest.raises(JournalBroken):
        journal.write_flush(taken)


def test_opening_syncs_what_a_killed_process_left(tmp_path: Path) -> None:
    files = MemoryFiles(random.Random(1))
    journal = Journal.open(files, FOLDER)
    journal.append(1, 1, b"written, not synced")
    taken = journal.take_flush()
    assert taken is not None
    files.steps_left = 1  # the write goes through, the sync does not
    with pytest.raises(PowerCut):
        journal.write_flush(taken)
    files.steps_left = None
    journal = Journal.open(files, FOLDER)
    assert journal.durable_index == 1
    files.crash()
    assert Journal.open(files, FOLDER).last_index == 1


CHILD = """
import sys
from pathlib import Path
from tallystick_node.storage.files import RealFiles
from tallystick_node.storage.journal import Journal

journal = Journal.open(RealFiles(), Path(sys.argv[1]), segment_bytes=3000)
index = journal.last_index
while True:
    for _ in range(3):
        index += 1
        journal.append(index, index, f"{index} ".encode() * (index % 40))
    journal.set_hard_state(index, "n1")
    flush = journal.take_flush()
    journal.write_flush(flush)
    journal.finish_flush(flush)
    print(journal.durable_index, flush=True)
"""


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    acknowledged = 0
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            for _ in range(20):
                acknowledged = int(child.stdout.readline())
            child.send_signal(signal.SIGKILL)
            for line in child.stdout:
                acknowledged = int(line)
        journal = Journal.open(RealFiles(), tmp_path)
        assert journal.last_index >= acknowledged >= 60
        assert journal.hard_state.term >= acknowledged
        for entry in content(journal).entries:
            assert entry == Entry(entry.index, entry.index, f"{entry.index} ".encode() * (entry.index % 40))
        journal.close()


class Model:
    """What a journal must hold: all that was acknowledged, and of the flush in flight any part from its front."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.hard_state = HardState(0, None)
        self.compacted_to = 0
        self.synced_entries: list[Entry] = []
        self.synced_hard_state = HardState(0, None)

    def acknowledged(self) -> None:
        self.synced_entries = list(self.entries)
        self.synced_hard_state = self.hard_state

    def check(self, journal: Journal) -> None:
        """After a power cut; the model goes on with what was found."""
        found = content(journal)
        base = found.base[0]
        assert base <= self.compacted_to
        assert found.hard_state in (self.synced_hard_state, self.hard_state)
        older = self.synced_entries
        same = next((i for i, (a, b) in enumerate(zip(older, self.entries, strict=False)) if a != b), None)
        same = min(len(older), len(self.entries)) if same is None else same
        log = older[:base] + found.entries
        assert log == older or (len(log) >= same and log == self.entries[: len(log)])
        if base:
            assert found.base[1] == log[base - 1].term
        self.entries, self.hard_state = log, found.hard_state
        self.acknowledged()


def act(rng: random.Random, journal: Journal, model: Model, term: int) -> None:
    for _ in range(rng.randint(0, 4)):
        oldest = max(model.compacted_to, len(model.entries) - rng.choice([0, 0, 0, 2, 10])) + 1
        index = rng.randint(oldest, len(model.entries) + 1)
        entry = Entry(index, term, payload(index, term, rng.choice([0, 10, 100, 600])))
        model.entries[index - 1 :] = [entry]
        journal.append(index, term, entry.data)
    if rng.random() < 0.3:
        model.hard_state = HardState(term, rng.choice([None, "n1", "n2"]))
        journal.set_hard_state(term, model.hard_state.voted_for)
    if rng.random() < 0.1 and journal.durable_index > model.compacted_to:
        model.compacted_to = rng.randint(model.compacted_to, journal.durable_index)
        journal.compact_to(model.compacted_to)
    flush(journal)
    model.acknowledged()


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_power_cuts_lose_nothing_acknowledged(seed: int, holes: bool) -> None:
    rng = random.Random(seed)
    files = MemoryFiles(rng)
    files.holes = holes
    model = Model()
    options = {"segment_bytes": rng.choice([1, 1500, 8000]), "cache_bytes": rng.choice([0, 1000])}
    journal = Journal.open(files, FOLDER, **options)
    term = 0
    for _ in range(25):
        files.steps_left = rng.randint(0, 60)
        try:
            while True:
                term = term % 250 + 1
                act(rng, journal, model, term)
        except PowerCut:
            files.crash()
        files.steps_left = rng.choice([None, rng.randint(0, 3)])
        try:
            journal = Journal.open(files, FOLDER, **options)
        except PowerCut:
            files.crash()
            journal = Journal.open(files, FOLDER, **options)
        files.steps_left = None
        model.check(journal)


@pytest.mark.parametrize("seed", range(6))
def test_like_a_list_over_conflicts_compactions_and_reopenings(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    model = Model()
    options = {"segment_bytes": rng.choice([1, 1500, 8000]), "cache_bytes": rng.choice([0, 1000, 1 << 20])}
    journal = Journal.open(RealFiles(), tmp_path, **options)
    for term in range(1, 150):
        act(rng, journal, model, term)
        found = content(journal)
        assert found.entries == model.entries[found.base[0] :]
        assert found.base[0] <= model.compacted_to
        assert found.hard_state == model.hard_state
        assert journal.durable_index == journal.last_index == len(model.entries)
        if rng.random() < 0.2:
            journal.close()
            journal = Journal.open(RealFiles(), tmp_path, **options)
            assert content(journal) == found
    assert journal.first_index > 1
    journal.close()


def test_the_power_cut_test_would_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with a disk whose syncs do nothing must fail, or the test above proves nothing."""
    monkeypatch.setattr("tests.unit.journal_kit.MemoryFile.fdatasync", lambda file: file._disk.step())
    with pytest.raises((AssertionError, JournalDamaged, IndexError)):  # noqa: PT012
        for seed in range(20):
            test_power_cuts_lose_nothing_acknowledged(seed, holes=False)
