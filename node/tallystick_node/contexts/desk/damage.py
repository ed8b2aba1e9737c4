"""A database that cannot be read: marked, put aside, begun anew.

Rules of this file:
- What SQLite found damaged while it ran is marked beside the file, for a second opening may not meet it at once.
- What is put aside is renamed, never removed; only the newest is kept. Other nodes have the documents.
- Numbers of a node's update log are never given twice, or edits would seem to be where they are not: what is begun
  anew counts from the seconds of the clock on, which lie above any number there was.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Final

from tallystick_node.contexts.desk.digests import Sums
from tallystick_node.contexts.desk.rows import Rows
from tallystick_node.contexts.desk.tables import FILE_NAME
from tallystick_node.storage.errors import DatabaseDamaged

_MARK: Final = FILE_NAME + ".is-damaged"
_ASIDE: Final = FILE_NAME + ".damaged"
_PARTS: Final = ("", "-wal", "-shm")


def open_rows(folder: Path) -> tuple[Rows, Sums]:
    """The database of a folder, and the sums of its documents.

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
            rows.raise_floor(int(time.time()))
            rows.commit()
        opened = True
    finally:
        if not opened:
            rows.close()
    return rows, sums


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
