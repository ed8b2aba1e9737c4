"""Two replicas of one history: what is decided depends neither on batches and caches, nor on who crashed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from hypothesis import strategies as st

from tallystick_node.core.commands import Command
from tallystick_node.core.outcomes import Applied
from tallystick_node.storage.database import Database
from tests.unit.database_support import rows_digest


def check_replicas(
    history: Sequence[Command], data: st.DataObject, *, term_at: Callable[[int], int] = lambda index: 1
) -> None:
    """One applies each command by itself; the other in drawn batches, without a cache, and crashes between some."""
    with tempfile.TemporaryDirectory() as folder:
        one_by_one = Database.open(Path(folder) / "one.db")
        entries = [(index, term_at(index), [command], None) for index, command in enumerate(history, start=1)]
        singly = [result for entry in entries for result in one_by_one.apply([entry])]
        other = Database.open(Path(folder) / "other.db", state_cache_bytes=0)
        together: list[list[Applied]] = []
        while other.applied_index < len(history):
            size = data.draw(st.integers(1, len(history)))
            together += other.apply(entries[other.applied_index : other.applied_index + size])
            if data.draw(st.booleans()):
                other = crash(other, Path(folder) / f"copy{other.applied_index}" / "other.db")
        assert together == singly
        assert other.applied_index == one_by_one.applied_index
        assert (other.digest, other.position) == (one_by_one.digest, one_by_one.position)
        assert rows_digest(other.path) == rows_digest(one_by_one.path)
        assert other.reads.events(0, 1000) == one_by_one.reads.events(0, 1000)
        one_by_one.close()
        other.close()


def crash(database: Database, path: Path) -> Database:
    """What a process finds that begins where this one died."""
    path.parent.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(f"{database.path}{suffix}", f"{path}{suffix}")
    reopened = Database.open(path)
    database.close()
    return reopened
