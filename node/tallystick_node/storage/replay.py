"""Reads a journal's segments at opening, and tells a torn tail from damage.

Rules of this file (DESIGN.md has the reasons):
- Only the end of the last segment can be torn: it was being written when the power went. All else is damage.
- What may have been acknowledged is never cut: where torn and damaged look the same, it is damage.
- Whatever is found is synced before it is believed.
- What is older than the newest segment that begins anew is void: it is not read, and may be gone in part.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tallystick_node.storage.errors import JournalDamaged, StorageError
from tallystick_node.storage.files import FileSystem
from tallystick_node.storage.log_index import LogIndex
from tallystick_node.storage.records import (
    ALIGNMENT,
    HEADER,
    BadRecord,
    Base,
    Entry,
    HardState,
    Header,
    Record,
    Restart,
    decode,
    decode_header,
)
from tallystick_node.storage.segment import (
    PREFIX,
    UNFINISHED,
    ActiveSegment,
    FileHeader,
    SegmentInfo,
    begins_anew,
    parse_name,
    read_file_header,
)

SECTOR_BYTES: Final = 512
"""What a disk writes whole or not at all; larger ones are multiples of it."""

UNDECIDABLE: Final = "whether it was written whole cannot be told"
"""Damage, or a write that the power cut short: the rarest of cases, and the node must not guess (DESIGN.md)."""


@dataclass(slots=True)
class Replayed:
    """What the segments say; `void` are those that a restart left to be removed, oldest first."""

    index: LogIndex
    hard_state: HardState
    segments: list[SegmentInfo]
    torn_bytes_cut: int
    void: list[Path]


def replay(files: FileSystem, folder: Path) -> tuple[Replayed, ActiveSegment]:
    """Read the folder's journal, or begin one; cuts off a torn tail.

    Raises:
        JournalDamaged, UnknownFormat: the journal must not be used.
        DiskFull, OSError: the disk says no.
    """
    files.make_folder(folder)
    void, paths = _segment_paths(files, folder)
    result = Replayed(LogIndex(0, 0), HardState(0, None), [], 0, void)
    if not paths:
        active = ActiveSegment.create(files, folder, 1, Base(0, 0), result.hard_state)
        result.segments.append(active.info)
        return result, active
    last = files.open_append(paths[-1])
    try:
        # A process that was killed may have left what it wrote unsynced; a power cut now must not take it back.
        last.fdatasync()
        files.sync_folder(folder)
        for path in paths:
            torn_bytes = _replay_segment(result, path, files.read(path), is_last=path == paths[-1])
            if torn_bytes:
                last.truncate(result.segments[-1].size_bytes)
                last.fdatasync()
                result.torn_bytes_cut = torn_bytes
    except (OSError, StorageError):
        last.close()
        raise
    return result, ActiveSegment(last, result.segments[-1])


def _segment_paths(files: FileSystem, folder: Path) -> tuple[list[Path], list[Path]]:
    """The void segments, and those that count."""
    paths = [folder / name for name in files.list_names(folder) if name.startswith(PREFIX)]
    for path in paths:
        if path.name.endswith(UNFINISHED):
            files.remove(path)
    paths = [path for path in paths if not path.name.endswith(UNFINISHED)]
    newest_restart = next((at for at in reversed(range(len(paths))) if begins_anew(files, paths[at])), 0)
    void, paths = paths[:newest_restart], paths[newest_restart:]
    expected = parse_name(paths[0])[0] if paths else 0
    for path in paths:
        sequence, _ = parse_name(path)
        if sequence != expected:
            raise JournalDamaged(path, 0, f"segment {expected} should come here: it is missing")
        expected += 1
    return void, paths


def _replay_segment(result: Replayed, path: Path, data: bytes, *, is_last: bool) -> int:
    """Take in one segment; returns how many bytes at its end are torn."""
    file_header = read_file_header(path, data)
    key = file_header.key
    sequence, first_index = parse_name(path)
    end = _replay_head(result, path, data, file_header)
    base_index = first_index - 1
    try:
        for offset, header, record in _records(data, end, key):
            _take(result, path, offset, record, sequence, base_index)
            end = offset + header.size_bytes
    except _Unreadable as bad:
        end = bad.offset
        damage = _damage_at(data, end, key) if is_last else "a newer segment follows"
        if damage is not None:
            raise JournalDamaged(path, end, f"{bad.what}; {damage}") from bad
    result.segments.append(SegmentInfo(path, sequence, base_index, key, end))
    return len(data) - end


class _Unreadable(Exception):
    def __init__(self, offset: int, what: str) -> None:
        super().__init__(what)
        self.offset = offset
        self.what = what


def _records(data: bytes, start: int, key: int) -> Iterator[tuple[int, Header, Record]]:
    offset = start
    while offset < len(data):
        try:
            header, record = decode(data, offset, key=key, offset=offset)
        except BadRecord as bad:
            raise _Unreadable(offset, str(bad)) from bad
        yield offset, header, record
        offset += header.size_bytes


def _replay_head(result: Replayed, path: Path, data: bytes, header: FileHeader) -> int:
    """Take in the base and the hard state; returns where they end."""
    key, start = header.key, header.first_record
    try:
        base_header, base = decode(data, start, key=key, offset=start)
        state_at = start + base_header.size_bytes
        state_header, state = decode(data, state_at, key=key, offset=state_at)
    except BadRecord as bad:
        raise JournalDamaged(path, start, f"the segment's head: {bad}") from bad
    if not isinstance(base, Restart if header.restarts else Base) or not isinstance(state, HardState):
        raise JournalDamaged(path, start, "the segment's head holds other records than it should")
    if base.index + 1 != parse_name(path)[1]:
        raise JournalDamaged(path, start, f"its name says another first index than its base, {base.index}")
    _take_base(result, path, start, Base(base.index, base.term))
    result.hard_state = state
    return state_at + state_header.size_bytes


def _take_base(result: Replayed, path: Path, offset: int, base: Base) -> None:
    if not result.segments or base.index < result.index.base_index:
        # The first one left; or it replaces all that is left of older ones, some of which are compacted away.
        result.index = LogIndex(base.index, base.term)
        return
    if base.index > result.index.last_index:
        what = f"it goes on after entry {base.index}, and the one before ends at {result.index.last_index}"
        raise JournalDamaged(path, offset, what)
    if base.term != result.index.term_at(base.index):
        raise JournalDamaged(path, offset, f"its base and entry {base.index} differ in term")
    result.index.cut_after(base.index)


def _take(result: Replayed, path: Path, offset: int, record: Record, sequence: int, base_index: int) -> None:
    match record:
        case HardState():
            result.hard_state = record
        case Entry(index=index, term=term):
            if not base_index < index <= result.index.last_index + 1:
                what = f"entry {index} follows {result.index.last_index} in a segment that begins after {base_index}"
                raise JournalDamaged(path, offset, what)
            result.index.put(index, term)
            result.index.place(index, sequence, offset)
        case Base() | Restart():
            raise JournalDamaged(path, offset, "a base within a segment")


def _damage_at(data: bytes, offset: int, key: int) -> str | None:
    """Why the unreadable bytes at `offset` are damage; None if they are what a write leaves that was cut short."""
    later = _synced_later(data, offset, key)
    if later is not None:
        return f"it was synced before the record at byte {later} was written"
    header = decode_header(data, offset, key=key, offset=offset)
    if header is None and len(data) - offset < HEADER.size:
        return None
    end = offset + (HEADER.size if header is None else header.size_bytes)
    if end > len(data):
        return None
    if not _has_hole(data, offset, end):
        return "all of it was written"
    if header is not None and header.has_zeros:
        return UNDECIDABLE
    return None


def _synced_later(data: bytes, offset: int, key: int) -> int | None:
    """The first sound record behind `offset` of a later flush: that flush began when `offset` was on disk."""
    for at in range(offset + ALIGNMENT, len(data), ALIGNMENT):
        header = decode_header(data, at, key=key, offset=at)
        if header is not None and header.flush_start > offset:
            return at
    return None


def _has_hole(data: bytes, start: int, end: int) -> bool:
    """Whether a sector of the record was never written: it is zeros, as far as it lies behind `start`."""
    low = start
    while low < end:
        high = min((low // SECTOR_BYTES + 1) * SECTOR_BYTES, len(data))
        if not data[low:high].strip(b"\0"):
            return True
        low = high
    return False
