"""A checksum in each row of the state machine, for SQLite has none: what is read is what was written, or damage.

Rules of this file:
- A sum covers all other columns of its row, in the order in which the table has them; that of an event also its
  agent's names, which stand in another table, and that of a checkpoint also what it takes from its event.
- A row is believed only once its sum is checked, and that it is the one that was looked for: an index may lead to
  another. A mutation that the hash chain proves needs no other proof.
- A change of what a sum covers is a new format of the database.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any, TypeAlias

from tallystick_node.storage.errors import DatabaseDamaged

Column: TypeAlias = int | float | str | bytes | None
"""What SQLite may give; a float only where there is damage."""


def row_sum(*columns: Column) -> int:
    """CRC-32 of the columns: of the bytes one after the other, and then of everything else and of their lengths."""
    crc = 0
    others: list[object] = []
    for column in columns:
        if type(column) is bytes:
            crc = zlib.crc32(column, crc)
            others.append((len(column),))
        else:
            others.append(column)
    return zlib.crc32(repr(others).encode(), crc)


def names_of(actor: Column, *target: Column) -> bytes:
    """What `event_sum` wants to know of who did it and to whom: the same for all events of a command."""
    return repr((actor, target)).encode()


def event_sum(
    position: int, log: int, kind: int, seq: int, time_unix_ms: int, hash_: bytes, body: bytes, names: bytes
) -> int:
    """What `row_sum` is for other tables: a little less general, and four times as fast, for there are many events."""
    head = b"%d %d %d %d %d %d " % (position, log, kind, seq, time_unix_ms, len(body))
    return zlib.crc32(names, zlib.crc32(head, zlib.crc32(body, zlib.crc32(hash_))))


def step_sum(columns: tuple[Column, ...]) -> int:
    """What `row_sum` is for other tables, of the attempts at steps: of those there are many, and no bytes in them."""
    return zlib.crc32(repr(columns).encode())


def chunk_sum(columns: tuple[Any, ...]) -> int:
    """What `row_sum` is for other tables, of chunks: a payload may have many thousands."""
    number, namespace, hash_, size_bytes, holders, touched_unix_ms = columns
    head = b"%d %d %d %d " % (number, size_bytes, holders, touched_unix_ms)
    return zlib.crc32(namespace.encode(), zlib.crc32(head, zlib.crc32(hash_)))


def check_event(path: Path, stored: Column, row: tuple[Any, ...], *target: Column) -> None:
    """As `check_sum`, for the columns of a row of `events`, and the names that belong to it."""
    position, log, kind, seq, time_unix_ms, actor, hash_, body = row
    try:
        is_sound = event_sum(position, log, kind, seq, time_unix_ms, hash_, body, names_of(actor, *target)) == stored
    except TypeError:  # damage changed a type
        is_sound = False
    if not is_sound:
        raise DatabaseDamaged(path, f"the event at position {position} is not what was written")


def check_sum(path: Path, what: str, stored: Column, *columns: Column) -> None:
    """Raises DatabaseDamaged, naming `what`, where the columns are not those that were summed."""
    if row_sum(*columns) != stored:
        raise DatabaseDamaged(path, f"{what} is not what was written")
