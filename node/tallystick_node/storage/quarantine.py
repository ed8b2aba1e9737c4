"""A node whose state is not the others' must not serve or vote again: its data folder says so.

    quarantined.json   format, why, at_index

Rules of this file:
- The file is on disk before `quarantine` returns. While it is there the folder is closed, even if it cannot be read.
- Nothing here lifts a quarantine. Which of the replicas is wrong, and why, is for people to find out.
"""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Final

from tallystick_node.storage.errors import Quarantined
from tallystick_node.storage.files import FileSystem, RealFiles

FORMAT_VERSION: Final = 1
QUARANTINE_NAME: Final = "quarantined.json"

_HELP: Final = (
    'Keep the folder for whoever looks into it, and replace the node: docs/how-to/members.md, "Replace a lost node"'
)


def quarantine(folder: Path, why: str, at_index: int, *, files: FileSystem | None = None) -> None:
    """Close the data folder for good: because of `why`, seen at the applied index `at_index`.

    Raises:
        DiskFull, OSError: the disk says no; the node must stop all the same.
    """
    files = files or RealFiles()
    unfinished = folder / (QUARANTINE_NAME + ".new")
    content = {"format": FORMAT_VERSION, "why": why, "at_index": at_index}
    with closing(files.open_append(unfinished)) as file:
        file.truncate(0)
        file.write(json.dumps(content, indent=2).encode() + b"\n")
        file.fdatasync()
    files.replace(unfinished, folder / QUARANTINE_NAME)
    files.sync_folder(folder)


def check_not_quarantined(folder: Path) -> None:
    """Raises Quarantined, with the reason, if the folder is closed."""
    path = folder / QUARANTINE_NAME
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    raise Quarantined(f"{path}: this node was taken out of service: {_reason(data)}. {_HELP}")


def _reason(data: bytes) -> str:
    try:
        found: object = json.loads(data)
    except ValueError:
        found = None
    if not isinstance(found, dict) or found.get("format") != FORMAT_VERSION:
        return "the reason cannot be read"
    return f"{found.get('why')} (at entry {found.get('at_index')})"
