"""What a peer is given: a copy of the state machine as it is now, in a file that is gone afterwards."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tallystick_node.storage.database import Database
from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.install import EXPORT_PREFIX


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy on disk (`peers.snapshot_source.SnapshotFile`)."""

    path: Path
    index: int
    term: int
    size_bytes: int


class Copies:
    """Makes copies (`peers.snapshot_source.SnapshotSource`)."""

    def __init__(self, folder: Path, database: Database, on_damage: Callable[[DatabaseDamaged], None]) -> None:
        self._folder = folder
        self._database = database
        self._on_damage = on_damage
        self._numbers = itertools.count(1)

    @asynccontextmanager
    async def open(self, reach_index: int) -> AsyncIterator[Copy]:
        """A copy; what it reaches is seen from it. `reach_index` below what is applied costs no copy.

        Raises:
            DiskFull: there is no room for one.
            ExportStopped: this node's own state is about to be replaced.
            DatabaseDamaged: it cannot be read; `on_damage` has heard of it.
        """
        path = self._folder / f"{EXPORT_PREFIX}{next(self._numbers)}"
        if self._database.applied_index < reach_index:
            yield Copy(path, self._database.applied_index, self._database.applied_term, 0)
            return
        making = asyncio.ensure_future(asyncio.to_thread(self._database.export, path))
        try:
            made = await asyncio.shield(making)
            yield Copy(path, made.index, made.term, made.size_bytes)
        except DatabaseDamaged as error:
            self._on_damage(error)
            raise
        finally:
            if not making.done():
                await asyncio.wait((making,))  # a thread is not cancelled; what it writes is to be removed
            with suppress(OSError):
                path.unlink()
