"""An editor of a workload with its replica on a disk: it goes offline, edits on, is killed, comes back with its store.

Rules of this file:
- Its machine is a place of its own in the network, cut off and mended by itself.
- It is a process, and what ends it may be a kill: nothing of it runs after that, and what its store had committed is
  there the next time.
- What its store said is on its disk is never lost, as long as there is the document; and no node has lost what it
  follows.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Final

from tallystick.contexts.context import Context
from tallystick.contexts.local_store import LocalStore
from tallystick.errors import NotFound, Refused, Unavailable
from tallystick_node.sim.cluster import SimCluster
from tallystick_node.sim.editing import CALL_S, NAME, Editor, Edits
from tallystick_node.sim.loop import State

PLACE: Final = "laptop"
RETURN_S: Final = 60.0
"""Within which all that it has is at a majority, once all is healed."""
_LIFE_S: Final = (0.5, 6.0)
_OFFLINE: Final = 0.6
"""How often it loses its network, of its lives."""
_ONLINE: Final = 0.5
"""How often it has it again at the end of one."""
_KILLED: Final = 0.6


class Roamer:
    """See the module; `run` it, and in the end `come_back`."""

    def __init__(self, cluster: SimCluster, edits: Edits, rng: random.Random, folder: Path) -> None:
        self._cluster = cluster
        self._edits = edits
        self._rng = rng
        self._path = folder / f"{PLACE}.db"
        self._editor = Editor(cluster, edits, PLACE, rng, is_roaming=True)
        self._context: Context | None = None
        self._past: list[object] = []  # processes that are gone: nothing of them may end by being dropped

    async def run(self, ends_s: float) -> None:
        """Lives one life after another until then."""
        while self._cluster.now_s < ends_s:
            await asyncio.sleep(self._rng.uniform(0.1, 1.0))
            goes_offline_s = self._rng.uniform(0.0, 3.0) if self._rng.random() < _OFFLINE else None
            await self._live(self._cluster.now_s + self._rng.uniform(*_LIFE_S), goes_offline_s)
            if self._rng.random() < _ONLINE:
                self._mend()

    async def come_back(self) -> None:
        """Comes back with what it has, once all is healed; what was on its disk is at a majority then."""
        self._mend()
        try:
            async with (
                self._cluster.connect("demo", place=PLACE, actor=PLACE) as client,
                client.context(NAME, create=False, store=self._path) as context,
            ):
                await context.flush(timeout_s=RETURN_S)
                records = self._edits[context.guid]
        except NotFound:  # it is of a document that was deleted
            return
        except Unavailable:
            if not any(node.machine.has_lost_documents for node in self._cluster.nodes.values()):
                raise
            return  # what it made follows what it had heard of, and what the disk of a node has lost
        except Refused as error:
            records = self._editor.records
            records.wrong.append(f"an edit of {PLACE} was refused: {error}")
        records.quorum.update(records.disk)

    async def _live(self, ends_s: float, goes_offline_s: float | None) -> None:
        """One process, from its start to its end."""
        cluster = self._cluster
        process = cluster.loop.begin_process(PLACE)
        life = cluster.loop.create_task(self._work(ends_s), name=PLACE, context=process.context())
        if goes_offline_s is not None:
            await asyncio.wait((life,), timeout=goes_offline_s)
            cluster.trace.add(f"{PLACE} offline")
            for node_id in cluster.node_ids:
                cluster.network.cut(PLACE, node_id)
                cluster.network.cut(node_id, PLACE)
        if self._rng.random() < _KILLED:
            await asyncio.wait((life,), timeout=max(0.0, self._rng.uniform(0.0, ends_s - cluster.now_s)))
            cluster.trace.add(f"kill {PLACE}")
            process.state = State.GONE
            cluster.network.lose(PLACE, is_told=True)
            self._release()
            self._past.append((life, self._context))
        else:
            await life
        self._editor.keep_pending()

    async def _work(self, ends_s: float) -> None:
        try:
            async with self._cluster.connect("demo", place=PLACE, timeout_s=CALL_S, actor=PLACE) as client:
                self._context = client.context(NAME, create=False, store=self._path, timeout_s=CALL_S)
                async with self._context as context:
                    await self._editor.edit(context, ends_s)
        except Unavailable:  # it has nothing to begin with, or no writer id
            return
        except NotFound:  # what it has is of a document that was deleted
            self._path.unlink(missing_ok=True)

    def _release(self) -> None:
        """What the system does with the files of a process that ends: what was not committed is not there."""
        store = self._context._store if self._context is not None else None  # noqa: SLF001 - nobody else asks for it
        if isinstance(store, LocalStore):
            store._close()  # noqa: SLF001 - as above

    def _mend(self) -> None:
        self._cluster.trace.add(f"{PLACE} online")
        for node_id in self._cluster.node_ids:
            self._cluster.network.restore(PLACE, node_id)
            self._cluster.network.restore(node_id, PLACE)
