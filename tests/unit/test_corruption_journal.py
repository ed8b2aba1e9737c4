"""Every byte of a small journal, changed: opening and reading refuse, and say where; or give what was acknowledged.

`test_journal_damage.py` has more of what a journal makes of bytes that are not its own.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tallystick_node.storage.errors import JournalDamaged, UnknownFormat
from tallystick_node.storage.journal import Entry, Journal
from tests.unit.journal_kit import Content, MemoryFiles, content, fill, flush, payload

FOLDER = Path("/journal")
SEGMENT_BYTES = 500
CHANGES: dict[str, Callable[[int], int]] = {
    "all bits": lambda byte: byte ^ 0xFF,
    "lowest bit": lambda byte: byte ^ 0x01,
    "highest bit": lambda byte: byte ^ 0x80,
    "to zero": lambda byte: 0,
    "one more": lambda byte: (byte + 1) % 256,
}


def make() -> tuple[MemoryFiles, Journal]:
    """Begun anew behind entry 40; then hard states and entries over several segments. It caches nothing."""
    files = MemoryFiles(random.Random(0))
    journal = Journal.open(files, FOLDER, segment_bytes=SEGMENT_BYTES, cache_bytes=0)
    fill(journal, range(1, 4))
    journal.restart_at(40, 3)
    flush(journal)
    for index in range(41, 47):
        journal.set_hard_state(index, "n1" if index % 2 else None)
        journal.append(index, index, payload(index, index, 120))
        flush(journal)
    assert [files.read(path)[8] for path in files.paths()] == [2, 1, 1]  # formats: one begins anew, the others go on
    return files, journal


def changed_bytes(files: MemoryFiles, change: Callable[[int], int]) -> list[tuple[Path, int, int]]:
    return [
        (path, offset, change(byte))
        for path in files.paths()
        for offset, byte in enumerate(files.read(path))
        if change(byte) != byte
    ]


def put(files: MemoryFiles, path: Path, offset: int, byte: int) -> None:
    files.damage(path, lambda held: held.__setitem__(offset, byte))


@pytest.mark.parametrize("change", CHANGES)
def test_opening_refuses_or_gives_what_was_acknowledged(change: str) -> None:
    files, journal = make()
    wanted = content(journal)
    refused = 0
    for path, offset, byte in changed_bytes(files, CHANGES[change]):
        twin = files.copy()
        put(twin, path, offset, byte)
        found, said, at = _open(twin)
        assert found in (None, wanted)
        if found is None:
            assert str(path) in said
            assert at <= offset
            refused += 1
    assert refused > 800


@pytest.mark.parametrize("change", CHANGES)
def test_reading_refuses_or_gives_what_was_acknowledged(change: str) -> None:
    """The journal is open, and its disk changes under it."""
    files, journal = make()
    wanted = content(journal).entries
    refused = 0
    for path, offset, byte in changed_bytes(files, CHANGES[change]):
        before = files.read(path)[offset]
        put(files, path, offset, byte)
        for entry in wanted:
            found, file = _read(journal, entry.index)
            assert (found, file) in ((entry, None), (None, path))
            refused += found is None
        put(files, path, offset, before)
    assert refused > 500


def _open(files: MemoryFiles) -> tuple[Content | None, str, int]:
    """What the journal holds; or None, the refusal, and the place it names."""
    try:
        return content(Journal.open(files, FOLDER)), "", 0
    except JournalDamaged as damaged:
        return None, str(damaged), damaged.offset
    except UnknownFormat as unknown:
        return None, str(unknown), 0


def _read(journal: Journal, index: int) -> tuple[Entry | None, Path | None]:
    """The entry; or the file that is damaged."""
    try:
        return journal.entry(index), None
    except JournalDamaged as damaged:
        return None, damaged.file
