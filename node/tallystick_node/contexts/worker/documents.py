"""What a worker runs: the desk, on the folder of a node's documents."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tallystick_node.contexts.desk import damage
from tallystick_node.contexts.desk.desk import Desk
from tallystick_node.contexts.worker.process import Handler


def open_desk(folder: Path, random_bytes: Callable[[int], bytes] = os.urandom) -> Handler:
    """The documents in a folder.

    Raises:
        DatabaseDamaged, UnknownFormat: it cannot be opened.
    """
    return Desk(folder, random_bytes=random_bytes)


def put_aside(folder: Path) -> Path:
    """Renames the database, with what belongs to it, in place of one put aside before; where it is now."""
    return damage.put_aside(folder)
