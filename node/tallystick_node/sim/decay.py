"""What becomes of the documents of a node that is down: a byte rots, an old copy takes their place, or they are gone.

Rules of this file:
- Rot is in a row or anywhere in the file: one document is damaged by it, or all of them, or nothing that matters.
- An old copy and a loss are whole: no check of the file's own can see them.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from tallystick_node.contexts.desk.tables import FILE_NAME

_KEPT: Final = "kept"
"""The folder beside theirs in which a copy is."""
_COLUMNS: Final = (("updates", "data"), ("states", "state"), ("updates", "edit"), ("documents", "guid"))


def rot(folder: Path, rng: random.Random) -> str:
    """Flips a bit; where, or "" if there is nothing."""
    path = folder / FILE_NAME
    if not path.exists():
        return ""
    table, column = rng.choice(_COLUMNS)
    if rng.random() < 0.5 and _rot_row(path, table, column, rng):
        return f"{table}.{column}"
    data = bytearray(path.read_bytes())
    place = _flip(data, rng)
    path.write_bytes(data)
    return str(place)


def _rot_row(path: Path, table: str, column: str, rng: random.Random) -> bool:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        rows = connection.execute(
            f"SELECT rowid, {column} FROM {table} WHERE length({column}) > 0 ORDER BY rowid"  # noqa: S608 - names of ours
        ).fetchall()
        if not rows:
            return False
        number, value = rng.choice(rows)
        rotten = bytearray(value)
        _flip(rotten, rng)
        connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (bytes(rotten), number))  # noqa: S608
    return True


def _flip(data: bytearray, rng: random.Random) -> int:
    place = rng.randrange(len(data))
    data[place] ^= 1 << rng.randrange(8)
    return place


def keep(folder: Path) -> bool:
    """Copies them, in place of a former copy; whether there were any."""
    if not folder.exists():
        return False
    shutil.rmtree(folder.with_name(_KEPT), ignore_errors=True)
    shutil.copytree(folder, folder.with_name(_KEPT))
    return True


def bring_back(folder: Path) -> bool:
    """Puts the copy in their place; whether there was one."""
    kept = folder.with_name(_KEPT)
    if not kept.exists():
        return False
    shutil.rmtree(folder, ignore_errors=True)
    kept.rename(folder)
    return True


def lose(folder: Path) -> bool:
    """Removes them; whether there were any."""
    if not folder.exists():
        return False
    shutil.rmtree(folder)
    return True
