"""What a journal makes of bytes that are not what it wrote: a torn tail is cut, anything else is refused."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tallystick_node.storage.errors import JournalDamaged, UnknownFormat
from tallystick_node.storage.files import FileSystem, RealFiles
from tallystick_node.storage.journal import Journal
from tests.unit.journal_kit import MemoryFiles, content, fill, flush, payload

FOLDER = Path("/journal")
SEGMENT_BYTES = 700

CHANGES: dict[str, Callable[[int], int]] = {
    "lowest bit": lambda byte: byte ^ 0x01,
    "highest bit": lambda byte: byte ^ 0x80,
    "all bits": lambda byte: byte ^ 0xFF,
    "to zero": lambda byte: 0,
    "to 0xff": lambda byte: 0xFF,
}


def segments(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def journal_in_memory(data: Callable[[int], bytes]) -> MemoryFiles:
    """Three segments or more; the last flush holds a hard state and two entries."""
    files = MemoryFiles(random.Random(0))
    journal = Journal.open(files, FOLDER, segment_bytes=SEGMENT_BYTES)
    for index in range(1, 12):
        if index % 3 == 0:
            journal.set_hard_state(index, "n1" if index % 2 else None)
        journal.append(index, index, data(index))
        flush(journal)
    journal.set_hard_state(12, "n2")
    journal.append(12, 12, data(12))
    journal.append(13, 12, data(13))
    flush(journal)
    assert len(files.paths()) >= 3
    journal.close()
    return files


DATA: dict[str, Callable[[int], bytes]] = {
    "text": lambda index: payload(index, 1, 130),
    "long text": lambda index: payload(index, 1, 600),
    "zeros": lambda index: bytes(130),
    "few other bytes": lambda index: (b"\x01" + bytes(505)) * 3,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("data", DATA)
def test_every_changed_byte_is_refused(change: str, data: str) -> None:
    files = journal_in_memory(DATA[data])
    checked = 0
    for path in files.paths()[-3:]:
        for offset, byte in enumerate(files.read(path)):
            changed = CHANGES[change](byte)
            if changed == byte:
                continue
            twin = files.copy()
            twin.damage(path, lambda held, at=offset, to=changed: held.__setitem__(at, to))  # type: ignore[misc]
            with pytest.raises((JournalDamaged, UnknownFormat)) as refused:
                Journal.open(twin, FOLDER)
            assert str(path) in str(refused.value)
            checked += 1
    assert checked > 150


def test_the_refusal_names_file_and_offset(tmp_path: Path) -> None:
    journal = Journal.open(RealFiles(), tmp_path, segment_bytes=SEGMENT_BYTES)
    fill(journal, range(1, 20), size_bytes=100)
    place = journal._index.place_of(10)
    assert place is not None
    path = journal._segments[place[0]].path
    journal.close()
    data = bytearray(path.read_bytes())
    data[place[1] + 50] ^= 4
    path.write_bytes(data)
    with pytest.raises(JournalDamaged) as refused:
        Journal.open(RealFiles(), tmp_path)
    assert (refused.value.file, refused.value.offset) == (path, place[1])


def torn_at_any_length(files: FileSystem, folder: Path, overwrite: Callable[[Path, bytes], None], at_once: int) -> None:
    journal = Journal.open(files, folder)
    journal.set_hard_state(4, "n1")
    fill(journal, range(1, 4), size_bytes=60)
    before = content(journal)
    for index in range(4, 4 + at_once):
        journal.append(index, 2, payload(index, 2, 100 * at_once + 1))
    flush(journal)
    places = [journal._index.place_of(index) for index in range(4, 4 + at_once)]
    ends = [place[1] for place in places if place] + [journal.size_bytes]
    journal.close()
    path = folder / files.list_names(folder)[0]
    whole = files.read(path)
    for length in range(ends[0], len(whole)):
        overwrite(path, whole[:length])
        journal = Journal.open(files, folder)
        kept = sum(end <= length for end in ends) - 1
        assert journal.last_index == 3 + kept
        assert journal.torn_bytes_cut == length - ends[kept]
        assert files.size(path) == ends[kept]
        found = content(journal)
        assert found.entries[:3] == before.entries
        assert found.hard_state == before.hard_state
        journal.close()


def test_a_tail_torn_at_any_length_is_cut(tmp_path: Path) -> None:
    def overwrite(path: Path, data: bytes) -> None:
        path.write_bytes(data)

    torn_at_any_length(RealFiles(), tmp_path, overwrite, at_once=1)


def test_a_flush_torn_at_any_length_is_cut_to_whole_records() -> None:
    files = MemoryFiles(random.Random(0))
    torn_at_any_length(files, FOLDER, files.overwrite, at_once=4)


def test_after_a_cut_the_journal_goes_on(tmp_path: Path) -> None:
    journal = Journal.open(RealFiles(), tmp_path)
    fill(journal, range(1, 4))
    journal.close()
    (path,) = segments(tmp_path)
    path.write_bytes(path.read_bytes()[:-9])
    journal = Journal.open(RealFiles(), tmp_path)
    fill(journal, [3], term=2)
    before = content(journal)
    journal.close()
    journal = Journal.open(RealFiles(), tmp_path)
    assert journal.torn_bytes_cut == 0
    assert content(journal) == before


def test_a_tail_cut_off_an_older_segment_is_damage(tmp_path: Path) -> None:
    journal = Journal.open(RealFiles(), tmp_path, segment_bytes=SEGMENT_BYTES)
    fill(journal, range(1, 20), size_bytes=100)
    journal.close()
    older = segments(tmp_path)[-2]
    older.write_bytes(older.read_bytes()[:-1])
    with pytest.raises(JournalDamaged, match="newer segment"):
        Journal.open(RealFiles(), tmp_path)


@pytest.mark.parametrize("size_bytes", [0, 1, 31, 32, 40, 100])
def test_a_head_cut_short_is_damage(tmp_path: Path, size_bytes: int) -> None:
    journal = Journal.open(RealFiles(), tmp_path)
    journal.close()
    (path,) = segments(tmp_path)
    path.write_bytes(path.read_bytes()[:size_bytes])
    with pytest.raises(JournalDamaged):
        Journal.open(RealFiles(), tmp_path)


def test_a_missing_segment_is_damage(tmp_path: Path) -> None:
    journal = Journal.open(RealFiles(), tmp_path, segment_bytes=1)
    fill(journal, range(1, 6))
    journal.close()
    segments(tmp_path)[2].unlink()
    with pytest.raises(JournalDamaged, match="missing"):
        Journal.open(RealFiles(), tmp_path)


def test_a_segment_under_another_name_is_damage(tmp_path: Path) -> None:
    journal = Journal.open(RealFiles(), tmp_path, segment_bytes=1)
    fill(journal, range(1, 4))
    journal.close()
    first, second, *_ = segments(tmp_path)
    second.write_bytes(first.read_bytes())
    with pytest.raises(JournalDamaged, match="name"):
        Journal.open(RealFiles(), tmp_path)
    (tmp_path / "journal-what").touch()
    with pytest.raises(JournalDamaged, match="name"):
        Journal.open(RealFiles(), tmp_path)


def test_an_unfinished_segment_is_removed(tmp_path: Path) -> None:
    journal = Journal.open(RealFiles(), tmp_path)
    fill(journal, [1])
    before = content(journal)
    journal.close()
    leftover = tmp_path / "journal-00000002-00000000000000000002.new"
    leftover.write_bytes(b"half a he")
    journal = Journal.open(RealFiles(), tmp_path)
    assert content(journal) == before
    assert not leftover.exists()


def test_a_newer_format_is_refused_with_a_sentence(tmp_path: Path) -> None:
    journal = Journal.open(RealFiles(), tmp_path)
    journal.close()
    (path,) = segments(tmp_path)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, 8, 3)
    path.write_bytes(data)
    with pytest.raises(UnknownFormat, match="format 3, and this build reads formats 1 to 2"):
        Journal.open(RealFiles(), tmp_path)


def test_a_record_inside_a_payload_is_not_taken_for_one(tmp_path: Path) -> None:
    journal = Journal.open(RealFiles(), tmp_path)
    fill(journal, [1, 2])
    (path,) = segments(tmp_path)
    journal.append(3, 1, path.read_bytes() * 3)
    flush(journal)
    journal.close()
    path.write_bytes(path.read_bytes()[:-20])
    journal = Journal.open(RealFiles(), tmp_path)
    assert journal.last_index == 2
    assert journal.torn_bytes_cut > 0


def hole_at(files: MemoryFiles, low: int, high: int) -> None:
    path = files.paths()[-1]
    files.damage(path, lambda held: held.__setitem__(slice(low, high), bytes(high - low)))


def test_an_entry_as_consensus_writes_it_can_be_told_from_a_hole() -> None:
    """Its term ends in seven zeros, and its data begins with one: that makes eight, in every entry."""
    files = MemoryFiles(random.Random(0))
    journal = Journal.open(files, FOLDER)
    fill(journal, [1])
    journal.append(2, 1, b"\x00" + payload(2, 1, 2000))
    flush(journal)
    hole_at(files, 1024, 1536)
    assert Journal.open(files, FOLDER).last_index == 1


@pytest.mark.parametrize("zeros", [False, True])
def test_a_sector_never_written_is_a_torn_tail_if_that_can_be_told(zeros: bool) -> None:
    files = MemoryFiles(random.Random(0))
    journal = Journal.open(files, FOLDER)
    fill(journal, [1])
    start = journal.size_bytes
    journal.append(2, 1, bytes(2000) if zeros else payload(2, 1, 2000))
    journal.append(3, 1, b"behind it")
    flush(journal)
    hole_at(files, 1024, 1536)
    assert start < 1024
    if zeros:
        assert Journal.open(files.copy(), FOLDER).last_index == 3, "nothing changed"
        files.damage(files.paths()[-1], lambda held: held.__setitem__(start + 40, 1))
        with pytest.raises(JournalDamaged, match="cannot be told"):
            Journal.open(files, FOLDER)
    else:
        assert Journal.open(files, FOLDER).last_index == 1


def test_a_hole_in_what_was_synced_before_another_flush_is_damage() -> None:
    files = MemoryFiles(random.Random(0))
    journal = Journal.open(files, FOLDER)
    fill(journal, [1])
    fill(journal, [2], size_bytes=2000)
    fill(journal, [3])
    hole_at(files, 1024, 1536)
    with pytest.raises(JournalDamaged, match="synced before"):
        Journal.open(files, FOLDER)


def test_damage_that_comes_while_running_is_found_by_reading(tmp_path: Path) -> None:
    journal = Journal.open(RealFiles(), tmp_path, cache_bytes=0)
    fill(journal, [1, 2], size_bytes=100)
    place = journal._index.place_of(1)
    assert place is not None
    (path,) = segments(tmp_path)
    whole = path.read_bytes()
    for offset in range(place[1], place[1] + 16 + 116):
        data = bytearray(whole)
        data[offset] ^= 0x10
        path.write_bytes(data)
        with pytest.raises(JournalDamaged) as refused:
            journal.entry(1)
        assert (refused.value.file, refused.value.offset) == (path, place[1])
    path.write_bytes(whole)
    assert journal.entry(1).data == payload(1, 1, 100)


def test_the_bytes_are_as_documented(tmp_path: Path) -> None:
    """A reader of its own, from DESIGN.md: the format must not change unnoticed."""
    journal = Journal.open(RealFiles(), tmp_path)
    journal.append(1, 5, b"hello")
    flush(journal)
    journal.close()
    (path,) = segments(tmp_path)
    assert path.name == "journal-00000001-00000000000000000001"
    data = path.read_bytes()
    magic, version, crc, sequence, salt = struct.unpack_from("<8sIIQ8s", data)
    assert (magic, version, sequence) == (b"TLYJRNL\n", 1, 1)
    assert crc == zlib.crc32(struct.pack("<8sIIQ8s", magic, 1, 0, 1, salt))
    at, kinds = 32, []
    while at < len(data):
        length, kind, _, zero, _, header_crc = struct.unpack_from("<IBBHII", data, at)
        padded = -(-length // 8) * 8
        body = data[at + 16 : at + 16 + padded]
        seed = zlib.crc32(struct.pack("<Q", at), zlib.crc32(salt))
        assert (zero, header_crc) == (0, zlib.crc32(data[at : at + 12], seed))
        assert struct.unpack_from("<II", data, at + 16 + padded) == (zlib.crc32(body, seed), 0xA5C35A3C)
        kinds.append((kind, body[:length]))
        at += 24 + padded
    assert kinds == [
        (3, struct.pack("<QQ", 0, 0)),
        (2, struct.pack("<QB", 0, 2)),
        (1, struct.pack("<QQ", 1, 5) + b"hello"),
    ]
