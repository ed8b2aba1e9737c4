"""The bytes of a journal's records. Pure.

    header   body length u32 | kind u8 | flags u8 | zero u16 | bytes since the flush began u32 | header CRC u32
    body     padded with zeros to a multiple of 8
    trailer  body CRC u32 | END u32

Rules of this file (DESIGN.md has the reasons):
- Little-endian; a record begins at a multiple of 8 and is a multiple of 8 long.
- Every byte is under a CRC-32 (zlib) or has one legal value. Both CRCs start from the segment's key and the record's
  offset, so that a record counts only in its own place: one copied into a payload is not taken for a record.
- A change of these bytes is a new format version of the segment.
"""

from __future__ import annotations

import enum
import struct
import zlib
from dataclasses import dataclass
from typing import Final, TypeAlias

HEADER: Final = struct.Struct("<IBBHII")
TRAILER: Final = struct.Struct("<II")
ALIGNMENT: Final = 8
END: Final = 0xA5C35A3C
"""Ends every record: not zero in any byte, so that a sector that was never written cannot look like a record's end."""
MAX_DATA_BYTES: Final = 256 * 1024 * 1024
"""The largest data of one entry."""

_HEADER_BEFORE_CRC: Final = HEADER.size - 4
_HAS_ZEROS: Final = 1
_ZEROS: Final = bytes(64)
"""A body without so many zeros in a row has several other bytes in each sector: no changed one makes it look like a
sector that was never written. Numbers of 8 bytes and what begins with a zero are in every entry, and fewer."""
_PAIR: Final = struct.Struct("<QQ")
_VOTE: Final = struct.Struct("<QB")
_VOTED: Final = 1
_NOT_VOTED: Final = 2  # not 0, so that a common record has no eight zeros in a row


class Kind(enum.IntEnum):
    """What a record is. None is 0, so that zeros are never a record."""

    ENTRY = 1
    HARD_STATE = 2
    BASE = 3
    RESTART = 4


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the Raft log."""

    index: int
    term: int
    data: bytes


@dataclass(frozen=True, slots=True)
class HardState:
    """What a node must remember of its votes."""

    term: int
    voted_for: str | None


@dataclass(frozen=True, slots=True)
class Base:
    """The entry just before the first of a segment: what came after it in older segments is replaced."""

    index: int
    term: int


@dataclass(frozen=True, slots=True)
class Restart:
    """A base behind which the journal begins anew: all older segments are void, whatever they hold."""

    index: int
    term: int


Record: TypeAlias = Entry | HardState | Base | Restart


@dataclass(frozen=True, slots=True)
class Header:
    """A record's header, its CRC checked."""

    length: int
    kind: int
    has_zeros: bool
    flush_start: int

    @property
    def size_bytes(self) -> int:
        """Of the whole record."""
        return HEADER.size + _padded(self.length) + TRAILER.size


class BadRecord(ValueError):
    """The bytes are not a record; the text says why."""


def _padded(length: int) -> int:
    return -(-length // ALIGNMENT) * ALIGNMENT


def _seed(key: int, offset: int) -> int:
    return zlib.crc32(offset.to_bytes(8, "little"), key)


def _body_of(record: Record) -> tuple[Kind, bytes]:
    match record:
        case Entry():
            return Kind.ENTRY, _PAIR.pack(record.index, record.term) + record.data
        case Base():
            return Kind.BASE, _PAIR.pack(record.index, record.term)
        case Restart():
            return Kind.RESTART, _PAIR.pack(record.index, record.term)
        case HardState():
            if record.voted_for is None:
                return Kind.HARD_STATE, _VOTE.pack(record.term, _NOT_VOTED)
            return Kind.HARD_STATE, _VOTE.pack(record.term, _VOTED) + record.voted_for.encode()


def encode(record: Record, *, key: int, offset: int, flush_start: int) -> bytes:
    """The record's bytes, for `offset` in the segment with `key`, in a flush that began at `flush_start`."""
    kind, body = _body_of(record)
    seed = _seed(key, offset)
    length = len(body)
    body += bytes(_padded(length) - length)
    flags = _HAS_ZEROS if _ZEROS in body else 0
    header = HEADER.pack(length, kind, flags, 0, offset - flush_start, 0)[:_HEADER_BEFORE_CRC]
    header_crc = zlib.crc32(header, seed).to_bytes(4, "little")
    return b"".join((header, header_crc, body, TRAILER.pack(zlib.crc32(body, seed), END)))


def decode_header(buffer: bytes, at: int, *, key: int, offset: int) -> Header | None:
    """The header at `at` of the buffer, which is `offset` in its file; None where there is no whole, sound one."""
    if len(buffer) - at < HEADER.size:
        return None
    length: int
    kind: int
    flags: int
    back: int
    crc: int
    length, kind, flags, _, back, crc = HEADER.unpack_from(buffer, at)
    if crc != zlib.crc32(buffer[at : at + _HEADER_BEFORE_CRC], _seed(key, offset)):
        return None
    return Header(length, kind, bool(flags & _HAS_ZEROS), offset - back)


def decode(buffer: bytes, at: int, *, key: int, offset: int) -> tuple[Header, Record]:
    """The record at `at` of the buffer, which is `offset` in its file.

    Raises:
        BadRecord: there is none, or not a whole and sound one.
    """
    header = decode_header(buffer, at, key=key, offset=offset)
    if header is None:
        raise BadRecord("no whole, sound header")
    body_at = at + HEADER.size
    trailer_at = at + header.size_bytes - TRAILER.size
    if trailer_at + TRAILER.size > len(buffer):
        raise BadRecord("the record goes on behind the end")
    body = buffer[body_at:trailer_at]
    crc: int
    end: int
    crc, end = TRAILER.unpack_from(buffer, trailer_at)
    if crc != zlib.crc32(body, _seed(key, offset)):
        raise BadRecord("the CRC does not match the body")
    if end != END:
        raise BadRecord("the record does not end as it should")
    return header, _record_of(header.kind, body[: header.length])


def _record_of(kind: int, body: bytes) -> Record:
    index: int
    term: int
    voted: int
    try:
        match kind:
            case Kind.ENTRY:
                index, term = _PAIR.unpack_from(body)
                return Entry(index, term, body[_PAIR.size :])
            case Kind.BASE:
                index, term = _PAIR.unpack(body)
                return Base(index, term)
            case Kind.RESTART:
                index, term = _PAIR.unpack(body)
                return Restart(index, term)
            case Kind.HARD_STATE:
                term, voted = _VOTE.unpack_from(body)
                return HardState(term, body[_VOTE.size :].decode() if voted == _VOTED else None)
    except (struct.error, UnicodeDecodeError) as error:
        raise BadRecord(f"a body that does not fit kind {kind}: {error}") from error
    raise BadRecord(f"unknown kind {kind}")
