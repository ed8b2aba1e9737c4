"""Ids: a writer and one of its clocks, in the bounds that yrs and JavaScript can hold."""

from __future__ import annotations

from typing import NamedTuple

from ..limits import LAST_CLOCK, LAST_WRITER
from .lib0 import malformed, read_number


class Id(NamedTuple):
    """One element that was ever inserted."""

    writer: int
    clock: int


def check_writer(writer: int) -> None:
    """Raises Invalid (MALFORMED_UPDATE) if no writer can have this id."""
    if writer > LAST_WRITER:
        raise malformed(f"the writer {writer} is beyond {LAST_WRITER}")


def check_end(end: int) -> None:
    """Raises Invalid (MALFORMED_UPDATE) if no clock can go up to here."""
    if end > LAST_CLOCK:
        raise malformed(f"a clock goes up to {end}, beyond {LAST_CLOCK}")


def read_id(data: bytes, at: int) -> tuple[Id, int]:
    """An id, and the position after it."""
    writer, at = read_number(data, at)
    if writer > LAST_WRITER:
        check_writer(writer)
    clock, at = read_number(data, at)
    if clock >= LAST_CLOCK:
        check_end(clock + 1)
    return Id(writer, clock), at
