"""Who keeps the shared document of a workload: begins epochs of it, and now and then deletes it and makes another."""

from __future__ import annotations

import asyncio
import random
from typing import Final

from tallystick import Client
from tallystick.errors import NotFound, TallystickError
from tallystick_node.sim import contexts, editing
from tallystick_node.sim.cluster import SimCluster
from tallystick_node.sim.contexts import ContextRecords

PAUSE_S: Final = 5.0
"""Between two steps, on average."""
_DELETED: Final = 0.15
"""How often it is deleted, of all steps; the rest begin an epoch."""


class Keeper:
    """See the module; `run` it."""

    def __init__(self, cluster: SimCluster, records: ContextRecords, rng: random.Random) -> None:
        self._cluster = cluster
        self._records = records
        self._rng = rng

    async def run(self, client: Client, ends_s: float) -> None:
        """Keeps it until then; in the end there is one, if any node could be asked."""
        while self._cluster.now_s < ends_s:
            await asyncio.sleep(self._rng.expovariate(1 / PAUSE_S))
            try:
                if self._rng.random() < _DELETED:
                    await self._delete(client)
                else:
                    await client.stored_context(editing.NAME).compact()
            except NotFound:
                guid = self._rng.randbytes(16)
                self._records.asked[guid] = editing.NAME
                await contexts.create_as(client, self._records, guid, editing.NAME)
            except TallystickError:
                continue

    async def _delete(self, client: Client) -> None:
        found = await client.describe_context(editing.NAME)
        self._records.to_delete.add(found.guid)
        await client.delete_context(found.name, guid=found.guid)
        self._records.deleted.add(found.guid)
