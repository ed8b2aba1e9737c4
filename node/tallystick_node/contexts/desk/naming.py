"""The name of the update logs of a database: numbers of a log of another name are others.

    contexts.db        the name, and a mark of who opened it last
    contexts.opening   the same mark

Rules of this file:
- Each opening leaves another mark in both. Where they differ, the database is not the one that was opened last: it is
  an old copy, or was begun anew, and gives numbers again. Then its logs get another name.
- A copy of the whole folder has both marks, and is not found out.
- Between the two writes of an opening a crash costs a name, and nothing else.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tallystick_node.contexts.desk.rows import RowDamaged, Rows
from tallystick_node.storage.errors import DiskFull

BESIDE_NAME: Final = "contexts.opening"

_NAME_BYTES: Final = 8


def name_log(rows: Rows, folder: Path, random_bytes: Callable[[int], bytes]) -> bytes:
    """The name for as long as the database is open. Where the disk is full it is not kept."""
    path = folder / BESIDE_NAME
    beside = b""
    with contextlib.suppress(OSError):
        beside = path.read_bytes()
    stored = None
    with contextlib.suppress(RowDamaged):
        stored = rows.log_name()
    is_last = stored is not None and stored[1] == beside
    name = stored[0] if stored is not None and is_last else random_bytes(_NAME_BYTES)
    opening = random_bytes(_NAME_BYTES)
    try:
        rows.put_log_name(name, opening)
        rows.commit()
    except DiskFull:
        rows.roll_back()
        return name
    with contextlib.suppress(OSError):
        _write(path, opening)
    return name


def _write(path: Path, data: bytes) -> None:
    unfinished = path.with_name(path.name + ".new")
    with unfinished.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
