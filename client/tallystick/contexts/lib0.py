"""The numbers of Yjs's formats: unsigned, seven bits a byte, the low ones first."""

from __future__ import annotations

from typing import Final

from tallystick.errors import Corrupt

_LAST_SHIFT: Final = 63


class Reader:
    """Reads numbers one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def uint(self) -> int:
        """The next number.

        Raises:
            Corrupt: there is none, or it is too large.
        """
        value = shift = 0
        while True:
            if self._at >= len(self._data) or shift > _LAST_SHIFT:
                raise Corrupt("a state vector that ends early, or with a number that is too large")
            byte = self._data[self._at]
            self._at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7


def read_state_vector(data: bytes) -> dict[int, int]:
    """The clocks of a state vector, by writer; of none at all, none.

    Raises:
        Corrupt: it is no state vector.
    """
    if not data:
        return {}
    reader = Reader(data)
    return {reader.uint(): reader.uint() for _ in range(reader.uint())}


def write_uint(value: int) -> bytes:
    """The number as it is written."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def covers(held: dict[int, int], wanted: dict[int, int]) -> bool:
    """What is held has all that is wanted, deletions aside."""
    return all(held.get(writer, 0) >= clock for writer, clock in wanted.items())
