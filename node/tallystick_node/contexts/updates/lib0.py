"""Numbers and strings as lib0 writes them, read from bytes that may be hostile.

- Every reader takes the bytes and a position and gives the value and the position after it.
- Reading past the end raises IndexError, which `decode` and its like turn into a refusal; slices are checked by hand,
  since Python gives a short slice without a word.
- A number has one encoding: a longer one for the same number is refused, and so is one beyond 64 bits. yrs would wrap
  it around at 32 bits.
- Strings must be UTF-8: yrs believes them unseen.
"""

from __future__ import annotations

from typing import Final

from tallystick.errors import Invalid, Reason

_LAST_SHIFT: Final = 56
"""Nine bytes of seven bits: 63 bits."""


def malformed(text: str) -> Invalid:
    """The refusal of bytes that are no update."""
    return Invalid(f"not an update: {text}", reason=Reason.MALFORMED_UPDATE)


def read_number(data: bytes, at: int) -> tuple[int, int]:
    """An unsigned number below 2^63."""
    byte = data[at]
    at += 1
    if byte < 0x80:
        return byte, at
    number = byte & 0x7F
    shift = 7
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            if byte == 0:
                raise malformed("a number is longer than it need be")
            return number, at
        if shift >= _LAST_SHIFT:
            raise malformed("a number has more than 63 bits")
        shift += 7


def skip_signed(data: bytes, at: int) -> int:
    """The position after a signed number of up to 63 bits and a sign."""
    byte = data[at]
    at += 1
    bits = 6
    while byte >= 0x80:
        byte = data[at]
        at += 1
        bits += 7
        if bits > 63:  # the tenth byte would hold a single bit more
            raise malformed("a number has more than 63 bits")
    if byte == 0 and bits > 6:
        raise malformed("a number is longer than it need be")
    return at


def read_string(data: bytes, at: int) -> tuple[str, int]:
    """A string.

    Raises:
        Invalid: it is longer than what is there.
        UnicodeDecodeError: it is not UTF-8.
    """
    size_bytes, at = read_number(data, at)
    end = at + size_bytes
    if end > len(data):
        raise malformed("a string is longer than the update")
    return data[at:end].decode(), end


def skip_bytes(data: bytes, at: int) -> int:
    """The position after a byte string."""
    size_bytes, at = read_number(data, at)
    if at + size_bytes > len(data):
        raise malformed("a byte string is longer than the update")
    return at + size_bytes


def write_number(out: bytearray, number: int) -> None:
    """Appends an unsigned number."""
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def utf16_length(text: str) -> int:
    """How many ids a text takes: Yjs counts UTF-16 units."""
    if text.isascii():
        return len(text)
    return len(text.encode("utf-16-le")) // 2
