"""The Raft journal: what consensus must not forget, in segments on disk.

Rules of this file:
- Every method runs on the event loop's thread, but `write_flush`, which runs on a worker thread and touches nothing
  that the others change. One flush is in flight at a time.
- An entry is readable from `append` on, and counts as durable from the `finish_flush` of the flush that wrote it on.
- Memory holds 24 bytes for each entry, the payloads that are not written yet, and `cache_bytes` of those written last.
- After `JournalBroken` nothing is accepted any more: only opening the journal again tells what the disk holds.

    journal.append(...); journal.set_hard_state(...)
    flush = journal.take_flush()                       # loop
    await in_thread(journal.write_flush, flush)        # worker
    journal.finish_flush(flush)                        # loop: `durable_index` has advanced; go on while `has_pending`
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tallystick_node.storage.errors import JournalBroken, JournalDamaged
from tallystick_node.storage.files import FileSystem
from tallystick_node.storage.log_index import LogIndex
from tallystick_node.storage.records import (
    HEADER,
    MAX_DATA_BYTES,
    BadRecord,
    Entry,
    HardState,
    Restart,
    decode,
    decode_header,
)
from tallystick_node.storage.replay import Replayed, replay
from tallystick_node.storage.segment import SegmentInfo
from tallystick_node.storage.writer import Flush, JournalWriter, Written

__all__ = ["Entry", "Flush", "HardState", "Journal"]

SEGMENT_BYTES: Final = 16 * 1024 * 1024
CACHE_BYTES: Final = 8 * 1024 * 1024
MAX_FLUSH_BYTES: Final = 64 * 1024 * 1024
"""A flush takes no more than this, or one entry: it, and `segment_bytes`, bound a segment."""
_ENTRY_OVERHEAD_BYTES: Final = 200
"""What an entry costs in memory beside its data, about."""


class Journal:
    """A Raft log and hard state on disk. Made by `open`.

    Attributes:
        hard_state: the last one set; `HardState(0, None)` in a new journal.
        durable_index: all entries up to here are synced.
        torn_bytes_cut: how much of an unfinished write `open` cut off.
    """

    def __init__(self, files: FileSystem, replayed: Replayed, writer: JournalWriter, cache_bytes: int) -> None:
        self._files = files
        self._writer = writer
        self._index = replayed.index
        self._segments: dict[int, SegmentInfo] = {segment.sequence: segment for segment in replayed.segments}
        self.hard_state: HardState = replayed.hard_state
        self.durable_index: int = replayed.index.last_index
        self.torn_bytes_cut: int = replayed.torn_bytes_cut
        self._hard_state_pending = False
        self._restart: Restart | None = None  # until it is known to be on disk
        self._pending: dict[int, Entry] = {}  # what is not known to be written, in flight or not; by index, ascending
        self._pending_bytes = 0
        self._cache: dict[int, Entry] = {}  # written, ascending
        self._cache_used = 0
        self._cache_bytes = cache_bytes
        self._in_flight: Flush | None = None
        self._in_flight_count = 0  # how many of the first of `_pending` are in flight, unchanged
        self._written: Written | None = None
        self._broken: str | None = None

    @classmethod
    def open(
        cls, files: FileSystem, folder: Path, *, segment_bytes: int = SEGMENT_BYTES, cache_bytes: int = CACHE_BYTES
    ) -> Journal:
        """Open the folder's journal, or begin one. A torn tail is cut off; all that is left is on disk.

        Raises:
            JournalDamaged: the bytes are not what was written; names file and offset.
            UnknownFormat: a newer build wrote it.
            DiskFull, JournalBroken, OSError: the disk says no.
        """
        replayed, active = replay(files, folder)
        writer = JournalWriter(files, folder, active, segment_bytes)
        for path in replayed.void:
            writer.doom(path)
        return cls(files, replayed, writer, cache_bytes)

    @property
    def first_index(self) -> int:
        """The oldest entry held; `last_index + 1` where none is."""
        return self._index.base_index + 1

    @property
    def last_index(self) -> int:
        """The newest entry; `base_index` where none is held."""
        return self._index.last_index

    @property
    def base_index(self) -> int:
        """The entry just before the oldest one held: its term is still known."""
        return self._index.base_index

    @property
    def base_term(self) -> int:
        """The term of the entry at `base_index`."""
        return self._index.base_term

    @property
    def has_pending(self) -> bool:
        """Whether `take_flush` would give something (once none is in flight)."""
        if self._hard_state_pending or self._writer.has_doomed or len(self._pending) > self._in_flight_count:
            return True
        in_flight = self._in_flight.restart if self._in_flight is not None else None
        return self._restart is not in_flight and self._restart is not None

    @property
    def pending_bytes(self) -> int:
        """The data that is not known to be on disk, in bytes. The caller bounds it: by not appending."""
        return self._pending_bytes

    @property
    def size_bytes(self) -> int:
        """What the segments take on disk."""
        return sum(segment.size_bytes for segment in self._segments.values())

    def append(self, index: int, term: int, data: bytes) -> None:
        """Put an entry behind the last one, or in place of all from `index` on (a conflict).

        Raises:
            IndexError: it would leave a gap, or replace what is compacted away.
            ValueError: the data is larger than 256 MiB.
            JournalBroken: see there.
        """
        self._check()
        if len(data) > MAX_DATA_BYTES:
            raise ValueError(f"entry {index} holds {len(data)} bytes; the most is {MAX_DATA_BYTES}")
        last_index = self.last_index
        self._index.put(index, term)
        if index <= last_index:
            self._forget_from(index, last_index)
        self._pending[index] = Entry(index, term, data)
        self._pending_bytes += len(data)

    def set_hard_state(self, term: int, voted_for: str | None) -> None:
        """Remember term and vote; on disk once the flush that takes it is finished."""
        self._check()
        self.hard_state = HardState(term, voted_for)
        self._hard_state_pending = True

    def restart_at(self, index: int, term: int) -> None:
        """Drop every entry and begin behind (index, term): a copy of the state machine covers what came before.

        The hard state stays. On disk it is one step of the next flush: a crash leaves the old journal or the new one.
        Until that flush is finished `durable_index` is below `index` and nothing is compacted away; the flush after it
        removes the older segments.

        Raises:
            JournalBroken: see there.
        """
        self._check()
        self._pending.clear()
        self._cache.clear()
        self._pending_bytes = self._cache_used = self._in_flight_count = 0
        self._index = LogIndex(index, term)
        self._restart = Restart(index, term)
        self.durable_index = min(self.durable_index, index - 1)

    def term_at(self, index: int) -> int:
        """The term of the entry at `index`, from `base_index` to `last_index`. Raises IndexError elsewhere."""
        self._check()
        return self._index.term_at(index)

    def entry(self, index: int) -> Entry:
        """The entry at `index`: from memory, or from the disk.

        Raises:
            IndexError: the journal does not hold it.
            JournalDamaged: the disk does not give what was written.
            OSError: the disk gives nothing.
        """
        self._check()
        place = self._index.place_of(index)
        held = self._pending.get(index) or self._cache.get(index)
        if held is not None:
            return held
        if place is None:
            raise RuntimeError(f"entry {index} is neither in memory nor on disk")
        entry = self._read(self._segments[place[0]], place[1])
        if entry.index != index or entry.term != self._index.term_at(index):
            raise JournalDamaged(self._segments[place[0]].path, place[1], f"entry {index} should be here")
        return entry

    def entries(self, low: int, high_exclusive: int, max_bytes: int) -> list[Entry]:
        """The entries from `low` on, before `high_exclusive`: at most `max_bytes` of data, but one if there is any.

        Raises as `entry` does; IndexError where `low` is compacted away.
        """
        self._check()
        if low < self.first_index:
            raise IndexError(f"no entry {low}: the journal begins at {self.first_index}")
        found: list[Entry] = []
        size_bytes = 0
        for index in range(low, min(high_exclusive, self.last_index + 1)):
            entry = self.entry(index)
            size_bytes += len(entry.data)
            if found and size_bytes > max_bytes:
                break
            found.append(entry)
        return found

    def take_flush(self) -> Flush | None:
        """What waits to be written, at most about 64 MiB of it; None if nothing does.

        Whoever takes it calls `write_flush` and then `finish_flush`, before taking the next.

        Raises:
            RuntimeError: a flush is in flight.
            JournalBroken: see there.
        """
        self._check()
        if self._in_flight is not None:
            raise RuntimeError("a flush is in flight")
        if not self.has_pending:
            return None
        entries = self._entries_to_flush()
        self._in_flight = Flush(
            entries=entries,
            hard_state=self.hard_state,
            hard_state_changed=self._hard_state_pending,
            term_before=self._index.term_at(entries[0].index - 1) if entries else 0,
            restart=self._restart,
        )
        self._in_flight_count = len(entries)
        self._hard_state_pending = False
        return self._in_flight

    def write_flush(self, flush: Flush) -> None:
        """Put the flush on disk. The one method for a worker thread.

        Raises:
            DiskFull: nothing was written; call again with the same flush once there is room.
            JournalBroken: what the disk holds is not known. The journal refuses everything from here on.
        """
        self._check()
        if flush is not self._in_flight or self._written is not None:
            raise RuntimeError("not the flush in flight, or written already")
        try:
            self._written = self._writer.write(flush)
        except JournalBroken as error:
            self._broken = str(error)
            raise

    def finish_flush(self, flush: Flush) -> None:
        """Take note of what `write_flush` wrote: `durable_index` advances, unless `append` replaced it meanwhile."""
        self._check()
        written = self._written
        if flush is not self._in_flight or written is None:
            raise RuntimeError("not the flush in flight, or not written yet")
        self._segments[written.segment.sequence] = written.segment
        if flush.restart is not None:
            self._finish_restart(flush.restart, written)
        for entry, offset in zip(flush.entries, written.offsets, strict=True):
            if self._pending.get(entry.index) is not entry:
                break  # replaced, and so are all behind it
            del self._pending[entry.index]
            self._pending_bytes -= len(entry.data)
            self._index.place(entry.index, written.segment.sequence, offset)
            self.durable_index = entry.index
            self._cache_put(entry)
        self._in_flight, self._in_flight_count, self._written = None, 0, None

    def compact_to(self, index: int) -> None:
        """Let go of whole segments that hold no entry after `index`; never of the one being written.

        The entries are gone at once; the files are removed by the next `write_flush`, before it writes: also by that of
        a flush that met a full disk. What is not durable is kept.

        Raises:
            IndexError: the journal does not reach so far.
            JournalBroken: see there.
        """
        self._check()
        if index > self.last_index:
            raise IndexError(f"no entry {index}: the journal ends at {self.last_index}")
        if self._restart is not None:
            return  # the segments on disk are still those of the old journal
        index = min(index, self.durable_index)  # what is replaced only in memory is still needed on disk
        live = list(self._segments.values())
        while len(live) > 1 and min(segment.base_index for segment in live[1:]) <= index:
            # What a newer segment's base does not reach was replaced: so this one holds nothing after `index`.
            gone = live.pop(0)
            del self._segments[gone.sequence]
            self._writer.doom(gone.path)
        base_index = live[0].base_index
        while self._cache and (oldest := next(iter(self._cache))) <= base_index:
            self._cache_drop(oldest)
        if base_index > self.base_index:
            self._index.drop_through(base_index)

    def close(self) -> None:
        """Release the files; what is pending is not written. No flush may be with the worker."""
        self._broken = self._broken or "it is closed"
        self._writer.close()

    def _check(self) -> None:
        if self._broken is not None:
            raise JournalBroken(f"the journal is of no further use: {self._broken}")

    def _forget_from(self, index: int, last_index: int) -> None:
        """Entries `index` to `last_index` are replaced."""
        self.durable_index = min(self.durable_index, index - 1)
        for replaced in range(index, last_index + 1):
            pending = self._pending.pop(replaced, None)
            if pending is not None:
                self._pending_bytes -= len(pending.data)
            self._cache_drop(replaced)
        self._in_flight_count = min(self._in_flight_count, len(self._pending))

    def _finish_restart(self, restart: Restart, written: Written) -> None:
        """The segment just written voids all others, also where another restart waits already."""
        for sequence in [sequence for sequence in self._segments if sequence != written.segment.sequence]:
            self._writer.doom(self._segments.pop(sequence).path)
        if self._restart is restart:
            self._restart = None
            self.durable_index = restart.index

    def _entries_to_flush(self) -> tuple[Entry, ...]:
        taken: list[Entry] = []
        size_bytes = 0
        for entry in self._pending.values():
            size_bytes += len(entry.data) + _ENTRY_OVERHEAD_BYTES
            if taken and size_bytes > MAX_FLUSH_BYTES:
                break
            taken.append(entry)
        return tuple(taken)

    def _cache_put(self, entry: Entry) -> None:
        self._cache[entry.index] = entry
        self._cache_used += len(entry.data) + _ENTRY_OVERHEAD_BYTES
        while self._cache_used > self._cache_bytes:
            self._cache_drop(next(iter(self._cache)))

    def _cache_drop(self, index: int) -> None:
        entry = self._cache.pop(index, None)
        if entry is not None:
            self._cache_used -= len(entry.data) + _ENTRY_OVERHEAD_BYTES

    def _read(self, segment: SegmentInfo, offset: int) -> Entry:
        head = self._files.read_at(segment.path, offset, HEADER.size)
        header = decode_header(head, 0, key=segment.key, offset=offset)
        if header is None:
            raise JournalDamaged(segment.path, offset, "no whole, sound header")
        data = self._files.read_at(segment.path, offset, header.size_bytes)
        try:
            _, record = decode(data, 0, key=segment.key, offset=offset)
        except BadRecord as bad:
            raise JournalDamaged(segment.path, offset, str(bad)) from bad
        if not isinstance(record, Entry):
            raise JournalDamaged(segment.path, offset, "an entry should be here")
        return record
