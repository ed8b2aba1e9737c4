"""Opens what a node has on disk, mends what can be mended, and refuses the rest with a sentence that says what to do.

    identity and lock -> journal -> a copy that was fetched and not installed yet -> state

Rules of this file:
- A damaged state is put aside where a peer can give another: the journal is sound, so no promise is lost. So is one
  that was found damaged while the node ran, when it has closed it: the next start fetches another.
- A damaged journal is refused: it may hold what nobody else knows that this node promised.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tallystick_node.config.values import NodeConfig
from tallystick_node.host import Host
from tallystick_node.storage.database import Database
from tallystick_node.storage.errors import DatabaseDamaged, StorageError
from tallystick_node.storage.identity import Identity
from tallystick_node.storage.install import STATE_NAME, discard, recover, set_aside
from tallystick_node.storage.journal import Journal

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Data:
    """What a node has on disk, open."""

    identity: Identity
    journal: Journal
    database: Database


def first_error(error: BaseException) -> BaseException:
    """Of a group, the one that took the others along."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@contextlib.contextmanager
def open_data(config: NodeConfig, host: Host) -> Iterator[Data]:
    """The data folder, until the context is left.

    Raises:
        StorageError: it is another node's, in use, or damaged.
    """
    folder, has_peers = config.data_folder, len(config.members) > 1
    with contextlib.ExitStack() as opened:
        identity = opened.enter_context(
            host.open_identity(folder, cluster_id=config.cluster_id, node_id=config.node_id)
        )
        journal = Journal.open(host.files, folder / "journal", segment_bytes=config.journal_segment_bytes)
        opened.callback(journal.close)
        _finish_install(folder, journal, has_peers=has_peers)
        if has_peers:
            opened.push(_putting_damage_aside(folder))
        database = _open_database(folder, host, has_peers=has_peers)
        opened.callback(database.close)
        _check_match(folder, journal, database)
        yield Data(identity, journal, database)


def _finish_install(folder: Path, journal: Journal, *, has_peers: bool) -> None:
    """What a former process fetched. Damaged since, it is of no use: a peer gives another, if it is still wanted."""
    try:
        if recover(folder, journal):
            log.info("installed the snapshot that was fetched before", extra={"event": "snapshot_installed"})
    except DatabaseDamaged as error:
        if not has_peers:
            raise
        discard(folder)
        log.warning("dropped a damaged snapshot", extra={"event": "snapshot_dropped", "why": str(error)})


def _open_database(folder: Path, host: Host, *, has_peers: bool) -> Database:
    try:
        return host.open_database(folder / STATE_NAME)
    except DatabaseDamaged as error:
        if not has_peers:
            raise
        _put_aside(folder, error)
        return host.open_database(folder / STATE_NAME)


def _putting_damage_aside(folder: Path) -> Callable[[object, BaseException | None, object], None]:
    """An exit of `open_data`, after the state is closed."""

    def leave(_kind: object, error: BaseException | None, _trace: object) -> None:
        found = first_error(error) if error is not None else None
        if isinstance(found, DatabaseDamaged) and found.path.name == STATE_NAME:
            _put_aside(folder, found)

    return leave


def _put_aside(folder: Path, error: DatabaseDamaged) -> None:
    damaged = set_aside(folder)
    log.error("state put aside", extra={"event": "state_put_aside", "path": str(damaged), "why": str(error)})


def _check_match(folder: Path, journal: Journal, database: Database) -> None:
    """The journal holds whatever the state machine has applied. Where the state lacks what the journal has dropped, it
    was put aside, and a peer's copy is fetched before anything is answered."""
    if database.applied_index > max(journal.last_index, 0):
        raise StorageError(
            f"{folder}: the state has applied entry {database.applied_index}, the journal has entries"
            f" {journal.first_index} to {journal.last_index}: a part of the folder is missing or of another time."
            " Restore the folder whole, or replace this node"
        )
