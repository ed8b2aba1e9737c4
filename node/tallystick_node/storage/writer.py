"""The journal's half that writes: all but `doom` and `has_doomed` runs on the worker thread, one flush at a time.

Rules of this file:
- A flush goes into one segment whole, its hard state before its entries: a term is never behind the entries of it.
- A flush whose entries begin at or before the segment's base, or that meets a full segment, begins a new segment; so
  does one with a restart, whose segment voids all older ones.
- Segments go oldest first, each one's removal synced before the next: what is left is always a journal.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path

from tallystick_node.storage.errors import JournalBroken
from tallystick_node.storage.files import FileSystem
from tallystick_node.storage.records import Base, Entry, HardState, Record, Restart
from tallystick_node.storage.segment import ActiveSegment, SegmentInfo


@dataclass(frozen=True, slots=True)
class Flush:
    """What waited to be written when it was taken. The entries have no gaps."""

    entries: tuple[Entry, ...]
    hard_state: HardState
    hard_state_changed: bool
    term_before: int
    """The term of the entry before the first of `entries`."""
    restart: Restart | None = None
    """Where the journal begins anew; the entries follow it."""


@dataclass(frozen=True, slots=True)
class Written:
    """Where a flush went: the segment, and the offset of each entry."""

    segment: SegmentInfo
    offsets: tuple[int, ...]


class JournalWriter:
    """Writes flushes, begins segments and removes them."""

    def __init__(self, files: FileSystem, folder: Path, active: ActiveSegment, segment_bytes: int) -> None:
        self._files = files
        self._folder = folder
        self._active = active
        self._segment_bytes = segment_bytes
        self._begun_for: Flush | None = None  # the flush that began the active segment
        self._doomed: deque[Path] = deque()  # filled by one thread, emptied by the other: safe, one end each

    @property
    def has_doomed(self) -> bool:
        """Whether segments wait to be removed."""
        return bool(self._doomed)

    def doom(self, path: Path) -> None:
        """Have the next `write` remove a segment; from any thread, oldest segment first."""
        self._doomed.append(path)

    def write(self, flush: Flush) -> Written:
        """Put a flush on disk. Raises DiskFull (as if never called; call again later) and JournalBroken."""
        self._remove_doomed()
        records: list[Record] = [flush.hard_state] if flush.hard_state_changed else []
        if flush is self._begun_for:  # and then met a full disk: the journal knows of one new segment a flush
            records = []
        elif flush.restart is not None:
            self._begin_segment(flush.restart, flush)
            records = []
        elif flush.entries and self._needs_segment(flush.entries[0].index):
            self._begin_segment(Base(flush.entries[0].index - 1, flush.term_before), flush)
            records = []
        skip = len(records)
        records.extend(flush.entries)
        offsets = self._active.append(records) if records else []
        return Written(self._active.info, tuple(offsets[skip:]))

    def close(self) -> None:
        """Release the file."""
        self._active.close()

    def _needs_segment(self, index: int) -> bool:
        active = self._active.info
        return active.size_bytes >= self._segment_bytes or index <= active.base_index

    def _begin_segment(self, base: Base | Restart, flush: Flush) -> None:
        sequence = self._active.info.sequence + 1
        new = ActiveSegment.create(self._files, self._folder, sequence, base, flush.hard_state)
        self._active.close()
        self._active = new
        self._begun_for = flush

    def _remove_doomed(self) -> None:
        while self._doomed:
            path = self._doomed[0]
            try:
                self._files.remove(path)
                self._files.sync_folder(self._folder)
            except OSError as error:
                raise JournalBroken(f"removing {path} failed: {error}") from error
            self._doomed.popleft()
