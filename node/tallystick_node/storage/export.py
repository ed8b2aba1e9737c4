"""A copy of the state machine's database at one applied index, made beside those who apply.

Rules of this file:
- The copy is one read transaction: what is applied meanwhile is not in it, and does not make it begin again.
- Who applies waits for nothing; a checkpoint does not come past the copy's index until it is done.
- It is on disk when `export` returns. What a crash leaves of it bears `EXPORT_PREFIX` in its name and is removed by the
  next start (`install.recover`), if the caller put it into the data folder under such a name.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tallystick_node.storage.errors import StorageError
from tallystick_node.storage.files import FileSystem, RealFiles
from tallystick_node.storage.meta import load_meta
from tallystick_node.storage.sql import Sql

STEP_PAGES: Final = 256
"""Copied at once, 1 MiB: between two steps it looks whether it is to stop."""


class ExportStopped(StorageError):
    """The database was about to be closed or replaced: there is no copy. Try again later."""


@dataclass(frozen=True, slots=True)
class SnapshotFile:
    """A copy of the state machine: the last entry applied in it, and the size of the file."""

    index: int
    term: int
    size_bytes: int


def export(source: Sql, target: Path, should_stop: Callable[[], bool]) -> SnapshotFile:
    """Copy what `source` sees now; a `target` that exists is replaced. `source` belongs to the caller's thread.

    Raises:
        ExportStopped: `should_stop` said so; nothing is left of it.
        DiskFull: there is no room; nothing is left of it.
        DatabaseDamaged: the database cannot be read.
    """
    files = RealFiles()
    target.unlink(missing_ok=True)
    done = False

    def look() -> None:
        if should_stop():
            raise ExportStopped(f"the copy of {source.path} was stopped")

    source.execute("BEGIN")
    try:
        meta = load_meta(source)  # from here on this connection sees what it saw here
        source.copy_to(target, STEP_PAGES, look)
        _sync(files, target)
        done = True
    finally:
        source.execute("ROLLBACK")
        if not done:
            target.unlink(missing_ok=True)
    return SnapshotFile(meta.applied_index, meta.applied_term, files.size(target))


def _sync(files: FileSystem, path: Path) -> None:
    with closing(files.open_append(path)) as file:
        file.fdatasync()
    files.sync_folder(path.parent)
