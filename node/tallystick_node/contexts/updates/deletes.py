"""Deletions: for each writer, the ranges of its clocks that are deleted.

- `Deletes` maps a writer to ranges `(start, end)`, `end` not included: sorted, apart, none empty. Those that touch are
  one. What `decode` gives is so; what these functions give is so too. None of them changes its arguments.
- Encoded as Yjs encodes a delete set.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

from .ids import check_end, check_writer
from .lib0 import malformed, read_number, write_number

Ranges: TypeAlias = tuple[tuple[int, int], ...]
Deletes: TypeAlias = Mapping[int, Ranges]


def normalised(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Ranges in any order, as `Deletes` wants them."""
    made: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if start >= end:
            continue
        if made and start <= made[-1][1]:
            made[-1] = (made[-1][0], max(end, made[-1][1]))
        else:
            made.append((start, end))
    return tuple(made)


def merge(first: Deletes, second: Deletes) -> dict[int, Ranges]:
    """What either deletes."""
    merged = dict(first)
    for writer, ranges in second.items():
        mine = merged.get(writer)
        merged[writer] = ranges if mine is None else _merge_ranges(mine, ranges)
    return merged


def _merge_ranges(mine: Ranges, other: Ranges) -> Ranges:
    if mine[-1][1] < other[0][0]:
        return mine + other
    return normalised(mine + other)


def minus(deletes: Deletes, known: Deletes) -> dict[int, Ranges]:
    """What the first deletes and the second does not."""
    rest: dict[int, Ranges] = {}
    for writer, ranges in deletes.items():
        theirs = known.get(writer)
        left = ranges if theirs is None else tuple(_minus_ranges(ranges, theirs))
        if left:
            rest[writer] = left
    return rest


def _minus_ranges(ranges: Ranges, known: Ranges) -> Iterator[tuple[int, int]]:
    for start, end in ranges:
        at = max(bisect.bisect_right(known, (start, start)) - 1, 0)
        for known_start, known_end in known[at:]:
            if known_start >= end:
                break
            if known_end <= start:
                continue
            if start < known_start:
                yield start, known_start
            start = known_end
            if start >= end:
                break
        if start < end:
            yield start, end


def contains(deletes: Deletes, writer: int, clock: int) -> bool:
    """Whether this id is deleted."""
    ranges = deletes.get(writer, ())
    at = bisect.bisect_right(ranges, (clock, float("inf"))) - 1
    return at >= 0 and clock < ranges[at][1]


def count(deletes: Deletes) -> int:
    """How many ids are deleted."""
    return sum(end - start for ranges in deletes.values() for start, end in ranges)


def write(out: bytearray, deletes: Deletes) -> None:
    """Appends the canonical encoding: writers rise."""
    write_number(out, len(deletes))
    for writer in sorted(deletes):
        ranges = deletes[writer]
        write_number(out, writer)
        write_number(out, len(ranges))
        for start, end in ranges:
            write_number(out, start)
            write_number(out, end - start)


def encode(deletes: Deletes) -> bytes:
    """As Yjs encodes a delete set, writers in rising order: equal deletions have equal bytes."""
    out = bytearray()
    write(out, deletes)
    return bytes(out)


def decode(data: bytes) -> dict[int, Ranges]:
    """What `encode` wrote, or Yjs.

    Raises:
        Invalid: MALFORMED_UPDATE.
    """
    try:
        deletes, at = read(data, 0)
    except IndexError:
        raise malformed("the deletions end early") from None
    if at != len(data):
        raise malformed("something follows the deletions")
    return deletes


def read(data: bytes, at: int) -> tuple[dict[int, Ranges], int]:
    """Deletions within bytes, and the position after them.

    Raises:
        Invalid: MALFORMED_UPDATE: a writer comes twice, ranges do not rise, a number is out of bounds.
        IndexError: the bytes end.
    """
    deletes: dict[int, Ranges] = {}
    writers, at = read_number(data, at)
    for _ in range(writers):
        writer, at = read_number(data, at)
        check_writer(writer)
        if writer in deletes:
            raise malformed("the deletions name a writer twice")
        ranges, at = _read_ranges(data, at)
        if ranges:
            deletes[writer] = ranges
    return deletes, at


def _read_ranges(data: bytes, at: int) -> tuple[Ranges, int]:
    ranges: list[tuple[int, int]] = []
    number, at = read_number(data, at)
    last = -1
    for _ in range(number):
        start, at = read_number(data, at)
        length, at = read_number(data, at)
        end = start + length
        check_end(end)
        if start < last or not length:
            raise malformed("deletions that are empty or do not rise")
        if start == last:
            ranges[-1] = (ranges[-1][0], end)
        else:
            ranges.append((start, end))
        last = end
    return tuple(ranges), at
