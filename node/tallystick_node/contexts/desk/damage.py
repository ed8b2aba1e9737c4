"""A database that cannot be read: marked, put aside, begun anew.

Rules of this file:
- What SQLite found damaged while it ran is marked beside the file, for a second opening may not meet it at once.
- What is put aside is renamed, never removed; only the newest is kept. Other nodes have the documents.
- What is begun anew has logs of another name (`naming`), and counts from a number that is drawn from far above: one who
  holds a number alone is not told of something else.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tallystick_node.contexts.desk.digests import Sums
from tallystick_node.contexts.desk.naming import name_log
from tallystick_node.contexts.desk.rows import Rows
from tallystick_node.contexts.desk.tables import FILE_NAME
from tallystick_node.storage.errors import DatabaseDamaged

_MARK: Final = FILE_NAME + ".is-damaged"
_ASIDE: Final = FILE_NAME + ".damaged"
_FLOOR: Final = 2**24
_FLOOR_BYTES: Final = 3
"""Numbers begin between 2**24 and 2**25: a life has room for 2**32."""
_PARTS: Final = ("", "-wal", "-shm")


def open_rows(folder: Path, random_bytes: Callable[[int], bytes]) -> tuple[Rows, Sums, bytes]:
    """The database of a folder, the sums of its documents, and the name of its logs.

    Raises:
        DatabaseDamaged, UnknownFormat, DiskFull: see `Desk`.
    """
    path = folder / FILE_NAME
    if (folder / _MARK).exists():
        raise DatabaseDamaged(path, "it was found damaged when it was last in use")
    rows = Rows(folder)
    opened = False
    try:
        sums = Sums(rows.each_digest())
        if (folder / _ASIDE).exists() and not rows.floor():
            rows.raise_floor(_FLOOR + int.from_bytes(random_bytes(_FLOOR_BYTES), "big"))
            rows.commit()
        name = name_log(rows, folder, random_bytes)
        opened = True
    finally:
        if not opened:
            rows.close()
    return rows, sums, name


def mark(folder: Path) -> None:
    """The next one to open the database is told that it is damaged."""
    with contextlib.suppress(OSError):
        (folder / _MARK).touch()


def put_aside(folder: Path) -> Path:
    """Renames the database and what belongs to it: the next to open it begins an empty one. Where it is now."""
    for part in _PARTS:
        (folder / (_ASIDE + part)).unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            (folder / (FILE_NAME + part)).rename(folder / (_ASIDE + part))
    (folder / _ASIDE).touch()
    (folder / _MARK).unlink(missing_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return folder / _ASIDE
