"""What a node's SQLite database is after its process was killed, or its power cut.

The database is real, in a scratch folder. What SQLite promises is applied to its files by hand: a commit is in the
write-ahead log, unsynced; a checkpoint syncs the log and moves it home. So a killed process leaves both files as they
are, and a power cut leaves the log with all frames that a checkpoint synced and a random number of those behind.

Rules of this file:
- The log's salts change when it begins anew, which is how its frames are told from older ones (SQLite's file format 4).
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tallystick_node.storage.database import Database

_WAL_HEADER: Final = struct.Struct(">IIII8sII")
_FRAME_HEADER: Final = struct.Struct(">II8sII")


@dataclass(frozen=True, slots=True)
class _Wal:
    """The write-ahead log's frames of its present run."""

    salts: bytes = b""
    frames: int = 0
    frame_bytes: int = 0

    def end_of(self, frames: int) -> int:
        """Where so many frames end."""
        return _WAL_HEADER.size + frames * self.frame_bytes if self.salts else 0


class SimDatabase(Database):
    """A database that knows which of its frames are synced."""

    synced: _Wal = _Wal()

    def checkpoint(self) -> None:
        """See `Database`."""
        super().checkpoint()
        self.synced = _read_wal(_wal_path(self.path))

    def kill(self, rng: random.Random | None) -> None:
        """Ends it as a killed process does; with `rng`, as a power cut does."""
        wal_path = _wal_path(self.path)
        if not self.path.exists():  # it was found damaged and set aside, and nothing has taken its place yet
            self.close()
            return
        home = self.path.read_bytes()
        wal = wal_path.read_bytes() if wal_path.exists() else b""
        found = _read_wal(wal_path)
        self.close()  # moves the log home: what it should not have done is put back
        if rng is not None:
            kept = self.synced.frames if self.synced.salts == found.salts else 0
            wal = wal[: found.end_of(rng.randint(min(kept, found.frames), found.frames))]
        self.path.write_bytes(home)
        if wal:
            wal_path.write_bytes(wal)
        self.path.with_name(self.path.name + "-shm").unlink(missing_ok=True)


def _wal_path(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _read_wal(path: Path) -> _Wal:
    if not path.exists():
        return _Wal()
    data = path.read_bytes()
    if len(data) < _WAL_HEADER.size:
        return _Wal()
    _, _, page_bytes, _, salts, _, _ = _WAL_HEADER.unpack_from(data)
    frame_bytes = _FRAME_HEADER.size + page_bytes
    frames = 0
    while (at := _WAL_HEADER.size + frames * frame_bytes) + frame_bytes <= len(data):
        if _FRAME_HEADER.unpack_from(data, at)[2] != salts:
            break
        frames += 1
    return _Wal(salts, frames, frame_bytes)
