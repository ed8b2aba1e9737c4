"""What a worker runs: the desk, on the folder of a node's documents."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tallystick_node.contexts.worker.process import Handler

DATABASE_NAME: Final = "contexts.db"
DAMAGED_NAME: Final = "contexts.db.damaged"
_COMPANIONS: Final = ("-wal", "-shm")


def open_desk(folder: Path) -> Handler:
    """The documents in a folder.

    Raises:
        DatabaseDamaged, UnknownFormat: it cannot be opened.
    """
    raise NotImplementedError(f"the desk is not built yet: {folder}")


def put_aside(folder: Path) -> Path:
    """Renames the database, with its write-ahead log, in place of one put aside before; where it is now."""
    for companion in _COMPANIONS:
        (folder / (DAMAGED_NAME + companion)).unlink(missing_ok=True)
        source = folder / (DATABASE_NAME + companion)
        if source.exists():
            source.replace(folder / (DAMAGED_NAME + companion))
    return (folder / DATABASE_NAME).replace(folder / DAMAGED_NAME)
