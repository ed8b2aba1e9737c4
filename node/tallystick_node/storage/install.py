"""A copy of the state machine, come from a peer, takes the place of this node's own.

    state.db.incoming-*   while it is received; a crash leaves it, the next start removes it
    state.db.next         whole, checked and on disk: the point of no return
    state.db              the state machine
    state.db.export-*     a copy for a peer; a crash leaves it, the next start removes it
    state.db.damaged      what `set_aside` put away

Rules of this file:
- Each step is on disk before the next begins, and `finish_install` may be repeated from any of them: so a crash leaves
  the old state, or one that the next start makes into the new one.
- The journal never lacks an entry that the state lacks too: it begins anew before the state is moved, and only if it
  does not hold the copy's last entry. If it does, what it holds behind stays: this node may have acknowledged that.
- These files are the operating system's, like all of SQLite's; `files` is for tests.
"""

from __future__ import annotations

import contextlib
from contextlib import closing
from pathlib import Path
from typing import Final

from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.export import SnapshotFile
from tallystick_node.storage.files import FileSystem, RealFiles
from tallystick_node.storage.journal import Journal
from tallystick_node.storage.meta import load_meta
from tallystick_node.storage.schema import open_frozen
from tallystick_node.storage.verify import verify

STATE_NAME: Final = "state.db"
NEXT_NAME: Final = "state.db.next"
DAMAGED_NAME: Final = "state.db.damaged"
INCOMING_PREFIX: Final = "state.db.incoming-"
EXPORT_PREFIX: Final = "state.db.export-"
"""Files with these prefixes are removed by the next start."""

_BESIDE: Final = ("-wal", "-shm")
"""SQLite's own files beside a database. A write-ahead log beside another database than its own would destroy that."""


def stage(folder: Path, incoming: Path, *, files: FileSystem | None = None) -> SnapshotFile:
    """Look at all of a copy that was received, and make it the next state. Takes long if it is large: on a thread.

    A copy that was staged before and not installed is replaced. `incoming` lies in `folder`.

    Raises:
        DatabaseDamaged: it is not what a node wrote. It is left where it is.
        UnknownFormat: a build with another format wrote it.
        DiskFull, OSError: the disk says no. It is left where it is.
    """
    files = files or RealFiles()
    with closing(open_frozen(incoming)) as sql:
        verify(sql)
        meta = load_meta(sql)
    with closing(files.open_append(incoming)) as file:
        file.fdatasync()
    files.replace(incoming, folder / NEXT_NAME)
    files.sync_folder(folder)
    return SnapshotFile(meta.applied_index, meta.applied_term, files.size(folder / NEXT_NAME))


def staged(folder: Path, *, files: FileSystem | None = None) -> SnapshotFile | None:
    """What waits to be installed.

    Raises:
        DatabaseDamaged, UnknownFormat: it is not what was staged.
    """
    files = files or RealFiles()
    if NEXT_NAME not in files.list_names(folder):
        return None
    with closing(open_frozen(folder / NEXT_NAME)) as sql:
        meta = load_meta(sql)
    return SnapshotFile(meta.applied_index, meta.applied_term, files.size(folder / NEXT_NAME))


def finish_install(folder: Path, journal: Journal, *, files: FileSystem | None = None) -> bool:
    """Move what is staged into its place; whether it did. No connection to the state may be open: `Database.adopt`.

    Flushes the journal, so none of its flushes may be in flight. Where it begins behind the copy's index already, the
    copy is too old to be of use, and is removed.

    Raises:
        DatabaseDamaged, UnknownFormat: what is staged is not what was staged, or is of another history.
        DiskFull, JournalBroken, OSError: the disk says no. Call it again, or restart.
    """
    files = files or RealFiles()
    copy = staged(folder, files=files)
    if copy is None:
        return False
    if copy.index < journal.base_index:
        files.remove(folder / NEXT_NAME)
        files.sync_folder(folder)
        return False
    if copy.index == journal.base_index and copy.term != journal.base_term:
        raise DatabaseDamaged(folder / NEXT_NAME, f"entry {copy.index} has another term in this node's journal")
    _flush(journal)  # what it holds in memory only, a crash would take
    if not _holds(journal, copy):
        _restart(journal, copy)
    for suffix in _BESIDE:
        _remove(files, folder / (STATE_NAME + suffix))
    files.sync_folder(folder)
    files.replace(folder / NEXT_NAME, folder / STATE_NAME)
    files.sync_folder(folder)
    return True


def discard(folder: Path, *, files: FileSystem | None = None) -> None:
    """Remove what is staged: the state has come so far by itself."""
    files = files or RealFiles()
    _remove(files, folder / NEXT_NAME)
    files.sync_folder(folder)


def recover(folder: Path, journal: Journal, *, files: FileSystem | None = None) -> bool:
    """At every start, before the state is opened: clear away what a crash left, and `finish_install`."""
    files = files or RealFiles()
    names = files.list_names(folder)
    for name in names:
        if name.startswith((INCOMING_PREFIX, EXPORT_PREFIX)):
            files.remove(folder / name)
    if STATE_NAME not in names:
        for suffix in _BESIDE:
            _remove(files, folder / (STATE_NAME + suffix))
    return finish_install(folder, journal, files=files)


def set_aside(folder: Path, *, files: FileSystem | None = None) -> Path:
    """Put a damaged state away, so that the next opening begins an empty one; where it is now.

    Only with a sound journal, and where a peer can give a copy: what was applied is not in the journal any more. An
    older damaged state is replaced. No connection to the state may be open.
    """
    files = files or RealFiles()
    damaged = folder / DAMAGED_NAME
    for suffix in _BESIDE:
        _remove(files, folder / (DAMAGED_NAME + suffix))
    files.replace(folder / STATE_NAME, damaged)
    files.sync_folder(folder)
    with contextlib.suppress(FileNotFoundError):
        files.replace(folder / (STATE_NAME + "-wal"), folder / (DAMAGED_NAME + "-wal"))
    _remove(files, folder / (STATE_NAME + "-shm"))
    files.sync_folder(folder)
    return damaged


def _holds(journal: Journal, copy: SnapshotFile) -> bool:
    return copy.index <= journal.last_index and journal.term_at(copy.index) == copy.term


def _restart(journal: Journal, copy: SnapshotFile) -> None:
    if journal.hard_state.term < copy.term:
        journal.set_hard_state(copy.term, None)  # a log is never ahead of its node's term
    journal.restart_at(copy.index, copy.term)
    _flush(journal)


def _flush(journal: Journal) -> None:
    while (flush := journal.take_flush()) is not None:
        journal.write_flush(flush)
        journal.finish_flush(flush)


def _remove(files: FileSystem, path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        files.remove(path)
