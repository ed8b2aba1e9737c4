"""The seam to the storage: where the snapshot comes from that a peer asks for."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol


class SnapshotFile(Protocol):
    """A copy of the state machine in a file, which nobody changes."""

    @property
    def path(self) -> Path:
        """Where it is."""
        ...

    @property
    def index(self) -> int:
        """The last entry that it has applied."""
        ...

    @property
    def term(self) -> int:
        """The term of that entry."""
        ...

    @property
    def size_bytes(self) -> int:
        """The size of the file."""
        ...


class SnapshotSource(Protocol):
    """Makes copies; asked for one at a time."""

    def open(self, reach_index: int) -> AbstractAsyncContextManager[SnapshotFile]:
        """A consistent copy of what is applied, made on entering and removed on leaving; cancelled on entering, it
        leaves nothing.

        One that reaches less than `reach_index` is of no use to the caller; none is sent then.

        Raises:
            DiskFull: there is no room for a copy.
            StorageError: there is none to be had at the moment.
        """
        ...
