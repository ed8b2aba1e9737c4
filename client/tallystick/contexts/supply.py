"""Writer ids for one replica: the one that it writes under, and spares for later starts without a node."""

from __future__ import annotations

import asyncio

from tallystick._backoff import wait_s
from tallystick._calls import Calls
from tallystick.contexts.holding import Holding
from tallystick.contexts.limits import SPARES
from tallystick.contexts.standing import Standing
from tallystick.contexts.store import Store
from tallystick.contexts.writers import Writers
from tallystick.errors import Corrupt, TallystickError, Unavailable, Undecided


class Supply:
    """See the module.

    Attributes:
        has_spares: the store has all that it keeps.
    """

    def __init__(self, calls: Calls, writers: Writers, holding: Holding, store: Store, standing: Standing) -> None:
        self._calls, self._writers, self._holding = calls, writers, holding
        self._store, self._standing = store, standing
        self.has_spares = False

    async def fresh(self, *, is_needed: bool) -> int | None:
        """An id for the document that is about to take its place; None: there is none now, and `run` goes on asking.

        Raises:
            Unavailable, Undecided: there is none, and one is needed.
        """
        try:
            return await self._writers.take()
        except (Unavailable, Undecided):
            if is_needed:
                raise
            return None

    async def drop(self) -> None:
        """All that is at hand may have been used elsewhere: none of it is given."""
        self._writers.drop()
        await self._store.drop_spares()
        self.has_spares = False

    async def run(self) -> None:
        """Gets a writer for a replica that has none, and spares; ends once there are all."""
        attempt, holding = 0, self._holding
        while True:
            try:
                await holding.until(lambda: holding.guid != b"" and self._standing.has_caught_up)
                if not holding.replica.has_writer:
                    writer = await self._writers.take()
                    await holding.idle()
                    holding.take_writer(writer)
                if not self._store.is_durable:
                    return
                missing = SPARES - await self._store.spares()
                await self._store.put_spares([await self._writers.take() for _ in range(missing)])
                self.has_spares = True
            except (Unavailable, Undecided, Corrupt):
                if holding.error is not None:
                    return
                await asyncio.sleep(wait_s(attempt, self._calls.outside.rng))
                attempt += 1
            except TallystickError:  # the context has ended, or ids are refused: edits say so
                return
            else:
                return
