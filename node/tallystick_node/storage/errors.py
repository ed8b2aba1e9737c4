"""What can go wrong with the disk.

OSError
└── DiskFull            no room: try again once there is
StorageError
├── JournalDamaged      the journal's bytes are not what was written: refuse to start
├── JournalBroken       a write or sync failed, or the journal is closed: this object is of no further use
├── DatabaseDamaged     the state machine's database is not what was written: stop
├── Quarantined         the node was taken out of service, for its state was not the others'
├── UnknownFormat       written by a newer build
├── WrongDataFolder     the folder belongs to another cluster or node
├── DataFolderInUse     another process holds the folder
└── IdentityDamaged     identity.json cannot be read
"""

from __future__ import annotations

from pathlib import Path


class DiskFull(OSError):
    """The disk, or the quota, has no room. Nothing was lost; the same write may be tried again later."""


class StorageError(Exception):
    """Any error of the storage that is not the operating system's."""


class JournalDamaged(StorageError):
    """The journal holds what nobody wrote, or lacks what somebody did.

    Attributes:
        file: the damaged segment.
        offset: where in it, in bytes.
        what: what is wrong there.
    """

    def __init__(self, file: Path, offset: int, what: str) -> None:
        super().__init__(f"{file} is damaged at byte {offset}: {what}")
        self.file = file
        self.offset = offset
        self.what = what


class JournalBroken(StorageError):
    """Writing, syncing or removing failed, so what the disk holds is not known; reopen the journal to find out."""


class DatabaseDamaged(StorageError):
    """The database holds what nobody wrote, or cannot be read or written.

    Attributes:
        path: the database.
        what: what is wrong.
    """

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"{path} is damaged: {what}")
        self.path = path
        self.what = what


class UnknownFormat(StorageError):
    """A file's format version is not one that this build reads."""


class WrongDataFolder(StorageError):
    """The data folder belongs to another cluster or node, or holds data without saying whose."""


class DataFolderInUse(StorageError):
    """Another process runs on the data folder."""


class IdentityDamaged(StorageError):
    """The data folder's identity.json cannot be read."""


class Quarantined(StorageError):
    """The data folder was closed because the node's state was not that of the others."""
