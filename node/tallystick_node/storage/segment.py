"""One file of the journal, and how it is written.

    journal-<sequence, 8 digits>-<first index, 20 digits>
    file header   magic 8 | format version u32 | CRC u32 | sequence u64 | salt 8
    BASE (or RESTART), HARD_STATE   what came before, so that older segments can go
    ENTRY, HARD_STATE ...

Rules of this file:
- A segment comes into being by rename, its head synced before and its name after: there is never half a head.
- Every entry in a segment lies behind the segment's base.
- A segment that begins with RESTART has format 2, any other format 1: builds that do not know RESTART refuse it.
- A failed fdatasync is never repeated: the kernel may have thrown the pages away and call them clean.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tallystick_node.storage.errors import DiskFull, JournalBroken, JournalDamaged, UnknownFormat
from tallystick_node.storage.files import AppendFile, FileSystem
from tallystick_node.storage.records import Base, HardState, Record, Restart, encode

FORMAT_VERSION: Final = 1
RESTART_FORMAT_VERSION: Final = 2
PREFIX: Final = "journal-"
UNFINISHED: Final = ".new"
"""Ends the name of a segment whose head is not known to be whole."""

_MAGIC: Final = b"TLYJRNL\n"
_FILE_HEADER: Final = struct.Struct("<8sIIQ8s")
_SALT_BYTES: Final = 8
_NAME: Final = re.compile(PREFIX + r"(\d{8})-(\d{20})")


@dataclass(frozen=True, slots=True)
class FileHeader:
    """What a segment's file header says: the key of its CRCs, where its first record begins, what that must be."""

    key: int
    first_record: int
    restarts: bool


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """A segment as it is known: `key` is what its CRCs start from, `size_bytes` how far it is written."""

    path: Path
    sequence: int
    base_index: int
    key: int
    size_bytes: int


def parse_name(path: Path) -> tuple[int, int]:
    """The sequence and the first index in a segment's name. Raises JournalDamaged for a name that is none."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise JournalDamaged(path, 0, "its name is not a segment's")
    return int(match[1]), int(match[2])


def _encode_file_header(version: int, sequence: int, salt: bytes) -> bytes:
    crc = zlib.crc32(_FILE_HEADER.pack(_MAGIC, version, 0, sequence, salt))
    return _FILE_HEADER.pack(_MAGIC, version, crc, sequence, salt)


def read_file_header(path: Path, data: bytes) -> FileHeader:
    """The header of a segment, from the bytes that it begins with.

    Raises:
        UnknownFormat: another format version.
        JournalDamaged: not a segment, or not the one that its name says.
    """
    if len(data) < _FILE_HEADER.size:
        raise JournalDamaged(path, len(data), "the file ends within its header")
    magic: bytes
    version: int
    sequence: int
    salt: bytes
    magic, version, _, sequence, salt = _FILE_HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise JournalDamaged(path, 0, "it does not begin as a segment does")
    if not FORMAT_VERSION <= version <= RESTART_FORMAT_VERSION:
        raise UnknownFormat(
            f"{path} has journal format {version}, and this build reads formats {FORMAT_VERSION} to "
            f"{RESTART_FORMAT_VERSION} only: run the build that wrote it, or a newer one"
        )
    if data[: _FILE_HEADER.size] != _encode_file_header(version, sequence, salt):
        raise JournalDamaged(path, 0, "the CRC does not match the file's header")
    if sequence != parse_name(path)[0]:
        raise JournalDamaged(path, 0, f"its name says another segment than its header, {sequence}")
    return FileHeader(zlib.crc32(salt), _FILE_HEADER.size, version == RESTART_FORMAT_VERSION)


def begins_anew(files: FileSystem, path: Path) -> bool:
    """Whether a segment voids all older ones. False where its header cannot be read: who reads it all says why."""
    try:
        return read_file_header(path, files.read_at(path, 0, _FILE_HEADER.size)).restarts
    except (JournalDamaged, UnknownFormat):
        return False


def _encode_all(records: Iterable[Record], key: int, start: int) -> tuple[bytes, list[int]]:
    parts: list[bytes] = []
    offsets: list[int] = []
    end = start
    for record in records:
        offsets.append(end)
        parts.append(encode(record, key=key, offset=end, flush_start=start))
        end += len(parts[-1])
    return b"".join(parts), offsets


class ActiveSegment:
    """The segment that is being written; belongs to one thread at a time."""

    def __init__(self, file: AppendFile, info: SegmentInfo) -> None:
        self._file = file
        self._info = info

    @property
    def info(self) -> SegmentInfo:
        """The segment, with what is synced of it."""
        return self._info

    @classmethod
    def create(
        cls, files: FileSystem, folder: Path, sequence: int, base: Base | Restart, hard_state: HardState
    ) -> ActiveSegment:
        """A new segment, on disk when this returns.

        Raises:
            DiskFull: nothing is left of it; try again later.
            JournalBroken: anything else went wrong.
        """
        path = folder / f"{PREFIX}{sequence:08}-{base.index + 1:020}"
        unfinished = path.with_name(path.name + UNFINISHED)
        version = RESTART_FORMAT_VERSION if isinstance(base, Restart) else FORMAT_VERSION
        header = _encode_file_header(version, sequence, secrets.token_bytes(_SALT_BYTES))
        key, start = zlib.crc32(header[-_SALT_BYTES:]), len(header)
        records, _ = _encode_all([base, hard_state], key, start)
        try:
            file = _write_whole(files, unfinished, header + records)
            files.replace(unfinished, path)
        except DiskFull:
            _remove(files, unfinished)
            raise
        except OSError as error:
            raise JournalBroken(f"creating {path} failed: {error}") from error
        try:
            files.sync_folder(folder)
        except OSError as error:
            raise JournalBroken(f"syncing {folder} failed: {error}") from error
        return cls(file, SegmentInfo(path, sequence, base.index, key, start + len(records)))

    def append(self, records: Iterable[Record]) -> list[int]:
        """Write the records and sync them; returns where each begins.

        Raises:
            DiskFull: nothing was written; try again later.
            JournalBroken: what the disk holds of them is not known.
        """
        info = self._info
        data, offsets = _encode_all(records, info.key, info.size_bytes)
        try:
            self._file.write(data)
        except DiskFull:
            self._cut_back()
            raise
        except OSError as error:
            raise JournalBroken(f"writing {info.path} failed: {error}") from error
        try:
            self._file.fdatasync()
        except OSError as error:
            raise JournalBroken(f"syncing {info.path} failed: {error}") from error
        self._info = SegmentInfo(info.path, info.sequence, info.base_index, info.key, info.size_bytes + len(data))
        return offsets

    def close(self) -> None:
        """Release the file."""
        self._file.close()

    def _cut_back(self) -> None:
        try:
            self._file.truncate(self._info.size_bytes)
        except OSError as error:
            raise JournalBroken(f"cutting {self._info.path} back failed: {error}") from error


def _write_whole(files: FileSystem, path: Path, data: bytes) -> AppendFile:
    file = files.open_append(path)
    try:
        file.truncate(0)
        file.write(data)
        file.fdatasync()
    except OSError:
        file.close()
        raise
    return file


def _remove(files: FileSystem, path: Path) -> None:
    try:
        with contextlib.suppress(FileNotFoundError):
            files.remove(path)
    except OSError as error:
        raise JournalBroken(f"removing {path} failed: {error}") from error
