"""Whose data folder this is, and that one process has it.

    identity.json   format, cluster_id, node_id, created, data_id, incarnation
    LOCK            held (flock) while a process runs on the folder; holds its pid

Rules of this file:
- A folder is bound to one cluster and one node for good, by the first opening; a copy of it has the same `data_id`.
- `incarnation` is on disk before it is handed out: no two runs on a folder have the same.
- Data without an identity is refused: whose it is cannot be known.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final

from tallystick_node.storage.errors import DataFolderInUse, IdentityDamaged, UnknownFormat, WrongDataFolder
from tallystick_node.storage.files import RealFiles
from tallystick_node.storage.quarantine import check_not_quarantined

FORMAT_VERSION: Final = 1
IDENTITY_NAME: Final = "identity.json"
LOCK_NAME: Final = "LOCK"

_UNFINISHED_NAME: Final = IDENTITY_NAME + ".new"
_NOT_DATA: Final = frozenset({LOCK_NAME, _UNFINISHED_NAME, "lost+found"})
_MAX_LOCK_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class _Stored:
    """What identity.json holds, in its order."""

    format: int
    cluster_id: str
    node_id: str
    created: str
    data_id: str
    incarnation: int


class Identity:
    """A data folder that this process holds until `close`.

    Attributes:
        cluster_id: the cluster it belongs to.
        node_id: the node of that cluster.
        created: when the folder was begun, ISO 8601 in UTC.
        data_id: 16 random bytes in hex, made with the folder.
        incarnation: counts the openings of the folder, from 1.
    """

    def __init__(self, stored: _Stored, lock_fd: int) -> None:
        self.cluster_id: str = stored.cluster_id
        self.node_id: str = stored.node_id
        self.created: str = stored.created
        self.data_id: str = stored.data_id
        self.incarnation: int = stored.incarnation
        self._lock_fd: int | None = lock_fd

    def close(self) -> None:
        """Let another process have the folder. Again does nothing."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def __enter__(self) -> Identity:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_identity(folder: Path, *, cluster_id: str, node_id: str) -> Identity:
    """Take the folder for this process; created, and bound to cluster and node, where it is new.

    Raises:
        DataFolderInUse: another process has it.
        WrongDataFolder: it is bound to another cluster or node, or holds data and no identity.
        Quarantined: it was closed, for its state was not that of the others.
        IdentityDamaged, UnknownFormat: identity.json cannot be read.
        DiskFull, OSError: the disk says no.
    """
    files = RealFiles()
    files.make_folder(folder)
    lock_fd = _lock(folder)
    with contextlib.ExitStack() as undo:
        undo.callback(os.close, lock_fd)
        stored = _read(folder / IDENTITY_NAME)
        if stored is None:
            _check_empty(files, folder)
            stored = _new(cluster_id, node_id)
        _check_owner(folder, stored, cluster_id, node_id)
        check_not_quarantined(folder)
        stored = replace(stored, incarnation=stored.incarnation + 1)
        _write(files, folder, stored)
        undo.pop_all()
    return Identity(stored, lock_fd)


def _lock(folder: Path) -> int:
    path = folder / LOCK_NAME
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError:
        pid = os.pread(fd, _MAX_LOCK_BYTES, 0).decode(errors="replace").strip() or "not known"
        os.close(fd)
        raise DataFolderInUse(
            f"{folder} is in use by another process (pid {pid}): stop it, or give this node a folder of its own"
        ) from None
    except OSError:
        os.close(fd)
        raise
    return fd


def _check_empty(files: RealFiles, folder: Path) -> None:
    data = [name for name in files.list_names(folder) if name not in _NOT_DATA]
    if data:
        raise WrongDataFolder(
            f"{folder} holds {data[0]} but no {IDENTITY_NAME}: whose data it is cannot be known. "
            f"Restore {IDENTITY_NAME}, or start with an empty folder"
        )


def _check_owner(folder: Path, stored: _Stored, cluster_id: str, node_id: str) -> None:
    if (stored.cluster_id, stored.node_id) != (cluster_id, node_id):
        raise WrongDataFolder(
            f"{folder} belongs to node {stored.node_id!r} of cluster {stored.cluster_id!r}, and this is node "
            f"{node_id!r} of cluster {cluster_id!r}: give it its own data folder, or the ids that this one has"
        )


def _new(cluster_id: str, node_id: str) -> _Stored:
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return _Stored(FORMAT_VERSION, cluster_id, node_id, created, secrets.token_hex(16), 0)


def _read(path: Path) -> _Stored | None:
    try:
        found: object = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise IdentityDamaged(f"{path} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise IdentityDamaged(f"{path} does not hold an object")
    if found.get("format") != FORMAT_VERSION:
        raise UnknownFormat(f"{path} has format {found.get('format')!r}, and this build reads {FORMAT_VERSION} only")

    def text(name: str) -> str:
        value: object = found.get(name)
        if not isinstance(value, str) or not value:
            raise IdentityDamaged(f"{path} lacks {name}")
        return value

    incarnation: object = found.get("incarnation")
    if not isinstance(incarnation, int) or incarnation < 1:
        raise IdentityDamaged(f"{path} lacks incarnation")
    return _Stored(FORMAT_VERSION, text("cluster_id"), text("node_id"), text("created"), text("data_id"), incarnation)


def _write(files: RealFiles, folder: Path, stored: _Stored) -> None:
    unfinished = folder / _UNFINISHED_NAME
    file = files.open_append(unfinished)
    try:
        file.truncate(0)
        file.write(json.dumps(asdict(stored), indent=2).encode() + b"\n")
        file.fdatasync()
    finally:
        file.close()
    files.replace(unfinished, folder / IDENTITY_NAME)
    files.sync_folder(folder)
