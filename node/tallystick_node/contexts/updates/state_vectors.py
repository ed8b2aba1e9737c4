"""State vectors: for each writer, how many of its clocks are held.

- A plain dict; a writer with nothing is not in it. None of these functions changes its arguments.
- Encoded as Yjs encodes them, here with writers in rising order: equal vectors have equal bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from .ids import check_end, check_writer
from .lib0 import malformed, read_number, write_number

StateVector: TypeAlias = Mapping[int, int]


def encode(vector: StateVector) -> bytes:
    """The canonical bytes."""
    out = bytearray()
    write_number(out, len(vector))
    for writer in sorted(vector):
        write_number(out, writer)
        write_number(out, vector[writer])
    return bytes(out)


def decode(data: bytes) -> dict[int, int]:
    """What `encode` wrote, or Yjs. No bytes at all are the empty vector.

    Raises:
        Invalid: MALFORMED_UPDATE.
    """
    if not data:
        return {}
    vector: dict[int, int] = {}
    try:
        writers, at = read_number(data, 0)
        for _ in range(writers):
            writer, at = read_number(data, at)
            check_writer(writer)
            clock, at = read_number(data, at)
            check_end(clock)
            if writer in vector:
                raise malformed("the state vector names a writer twice")
            vector[writer] = clock
    except IndexError:
        raise malformed("the state vector ends early") from None
    if at != len(data):
        raise malformed("something follows the state vector")
    return {writer: clock for writer, clock in vector.items() if clock}


def merge(first: StateVector, second: StateVector) -> dict[int, int]:
    """What both hold together."""
    merged = dict(first)
    for writer, clock in second.items():
        if clock > merged.get(writer, 0):
            merged[writer] = clock
    return merged


def covers(vector: StateVector, other: StateVector) -> bool:
    """Whether the first holds all that the second does (deletions do not show here)."""
    return all(vector.get(writer, 0) >= clock for writer, clock in other.items())


def equal(first: StateVector, second: StateVector) -> bool:
    """Whether they hold the same."""
    return covers(first, second) and covers(second, first)
