"""Finds out that somebody else wrote under our writer ids: a replica that this one is an old copy of.

A file that is restored from a copy, or a machine that goes on from a snapshot, is in the past: it hands out ids, and
writes under ids, that were used since. Two updates under one id lose one side's writes for good.

Rules of this file:
- A node knows of an id what was sent from here, and nothing beyond it. If it knows more, the id was used elsewhere.
- That an id begins to be used on a stream is on disk before anything is sent under it. How far is known for this
  process alone: each process writes under ids of its own, so what an older one left is a part of what it sent.
- So a process that goes on from a snapshot of its machine, and sends on a stream that it takes for whole as much as its
  other life did, is not found out: nobody can tell the two apart by clocks.
- What is found out holds for spares too, here and in the client: they are as old.
"""

from __future__ import annotations

from collections.abc import Mapping

from tallystick.contexts.exchange import Exchange
from tallystick.contexts.holding import Holding
from tallystick.contexts.lib0 import read_state_vector
from tallystick.contexts.rebase import content_with
from tallystick.contexts.store import Store
from tallystick.contexts.supply import Supply
from tallystick.errors import Conflict, Reason


class Reuse:
    """See the module; of one replica."""

    def __init__(self, holding: Holding, store: Store) -> None:
        self._holding, self._store = holding, store
        self._sent: dict[int, int] = {}

    async def sends(self, writer: int) -> None:
        """Something made under this id is about to be sent.

        Raises:
            Unavailable: the store's disk is full or fails.
        """
        if writer not in self._sent and writer not in self._holding.sent_before:
            self._store.begin_sending(writer)
            await self._store.synced()
        self._sent[writer] = read_state_vector(self._holding.replica.state_vector()).get(writer, 0)

    def found(self, held: Mapping[int, int]) -> frozenset[int]:
        """Ids of ours that others used, by the clocks of what a node holds."""
        holding = self._holding
        ours = {row.writer for row in holding.outbox.rows} - holding.sent_before
        if holding.replica.has_writer:
            ours.add(holding.replica.writer)
        return frozenset(writer for writer in ours if held.get(writer, 0) > self._sent.get(writer, 0))

    async def leave(self, reused: frozenset[int], supply: Supply, *, is_moved: bool) -> Exchange:
        """These ids are never written under again: what was edited under them, and since, is made again under another.

        What the store no longer tells apart from what came is refused (`WRITER_IN_USE`).

        Args:
            is_moved: the node is in a later epoch; then it is all that waits.
        """
        await supply.drop()
        kept = await self._store.history()
        holding = self._holding
        guilty = (row.first_id or row.id for row in holding.outbox.rows if is_moved or row.writer in reused)
        first_id = next(guilty, holding.outbox.made_id + 1)
        known = {row.id for row in kept.rows}
        if any(row.id >= first_id and row.id not in known for row in kept.pending):
            error = Conflict("a copy of this replica wrote under its id", reason=Reason.WRITER_IN_USE)
            for row in holding.outbox.cut(first_id):
                holding.refused(row, error)
            return Exchange()
        before = content_with(kept.base, [row.update for row in kept.rows if not (row.is_local and row.id >= first_id)])
        return Exchange(before=before, again_from=first_id)
