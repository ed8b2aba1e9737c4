"""Takes a peer's copy of the state machine where this node's log begins behind what it has applied.

So it is with a node that was away for too long, with a new one, and with one whose state was put aside as damaged.

    wanted -> fetched from the leader, or else from another peer -> checked and staged -> state and journal exchanged

Rules of this file:
- Fetching and checking are done beside everything else; only the exchange stands between two cycles of consensus.
- Whatever goes wrong before the exchange leaves the node as it was; it is tried again as long as it is wanted.
- A state never goes back: what was read and watched here would be undone. A copy that the log has overtaken is dropped.
- What goes wrong in the exchange stops the node; the next start finishes it (`storage.install`).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tallystick_node.consensus.replica import Replica
from tallystick_node.consensus.runner import Runner
from tallystick_node.host import Host
from tallystick_node.machine import Machine, Outcomes
from tallystick_node.peers.identity import LocalNode
from tallystick_node.peers.snapshot_client import Fetched, SnapshotFailed, fetch_snapshot
from tallystick_node.peers.tls import PeerCredentials
from tallystick_node.storage.database import Database
from tallystick_node.storage.errors import DiskFull, StorageError
from tallystick_node.storage.install import INCOMING_PREFIX, discard, finish_install, stage, staged
from tallystick_node.storage.journal import Journal

RETRY_S: Final = 1.0
"""Between two attempts."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """What of this node a catch-up looks at and exchanges."""

    replica: Replica[Outcomes]
    runner: Runner[Outcomes]
    machine: Machine
    database: Database
    journal: Journal


class CatchUp:
    """See the module.

    Args:
        local, credentials, host: this node, as links have them.
        folder: its data folder.
        reserve_bytes: what is to be left free on the disk.
        endpoints: the peer endpoint of each node that may be asked, by id.
    """

    def __init__(
        self,
        parts: Parts,
        local: LocalNode,
        credentials: PeerCredentials | None,
        host: Host,
        folder: Path,
        reserve_bytes: int,
        endpoints: Callable[[], dict[str, str]],
    ) -> None:
        self._parts = parts
        self._local = local
        self._credentials = credentials
        self._host = host
        self._folder = folder
        self._reserve_bytes = reserve_bytes
        self._endpoints = endpoints
        self._numbers = itertools.count(1)

    async def run(self) -> None:
        """Catches up whenever it is wanted, until cancelled."""
        while True:
            await self._parts.runner.snapshot_is_wanted()
            if not await self._catch_up(self._parts.replica.wanted_index):
                await asyncio.sleep(RETRY_S)

    async def _catch_up(self, reach_index: int) -> bool:
        for peer_id, endpoint in self._whom_to_ask():
            incoming = self._folder / f"{INCOMING_PREFIX}{next(self._numbers)}"
            try:
                fetched = await self._fetch(peer_id, endpoint, reach_index, incoming)
                await asyncio.to_thread(stage, self._folder, incoming)
            except (SnapshotFailed, StorageError, DiskFull) as error:
                log.warning(
                    "no snapshot from a peer",
                    extra={"event": "snapshot_failed", "peer_id": peer_id, "why": str(error)},
                )
                with contextlib.suppress(FileNotFoundError):
                    await asyncio.to_thread(self._host.files.remove, incoming)  # or they would fill the disk
                continue
            await self._exchange(peer_id, fetched)
            return True
        return False

    def _whom_to_ask(self) -> list[tuple[str, str]]:
        """The leader first: it is never behind."""
        leader_id = self._parts.replica.kernel.leader_id
        endpoints = {node_id: at for node_id, at in self._endpoints().items() if node_id != self._local.node_id}
        return sorted(endpoints.items(), key=lambda item: (item[0] != leader_id, item[0]))

    async def _fetch(self, peer_id: str, endpoint: str, reach_index: int, incoming: Path) -> Fetched:
        log.info(
            "fetching a snapshot",
            extra={"event": "snapshot_fetching", "peer_id": peer_id, "reach_index": reach_index},
        )
        return await fetch_snapshot(
            self._local,
            peer_id,
            endpoint,
            self._credentials,
            reach_index,
            incoming,
            max_bytes=self._host.files.free_bytes(self._folder) - self._reserve_bytes,
            host=self._host,
        )

    async def _exchange(self, peer_id: str, fetched: Fetched) -> None:
        parts = self._parts
        await asyncio.to_thread(parts.database.hold_off)
        if not await parts.runner.exchange_state(lambda: adopt_staged(self._folder, parts.database, parts.journal)):
            log.info("a snapshot came too late", extra={"event": "snapshot_needless", "peer_id": peer_id})
            return
        parts.machine.replaced()
        log.info(
            "installed a snapshot",
            extra={
                "event": "snapshot_installed",
                "peer_id": peer_id,
                "index": fetched.index,
                "size_bytes": fetched.size_bytes,
            },
        )


def adopt_staged(folder: Path, database: Database, journal: Journal) -> bool:
    """Exchanges the state, and the journal where it has to be, for what is staged; False: it was of no use any more.

    Raises as `Database.adopt` and `storage.install.finish_install` do.
    """
    copy = staged(folder)
    if copy is None or copy.index <= database.applied_index:
        discard(folder)
        database.resume()
        return False
    database.adopt(lambda: _install(folder, journal))
    return True


def _install(folder: Path, journal: Journal) -> None:
    finish_install(folder, journal)
