"""Gives the committed bytes their meaning: decodes them, applies them, tells those who wait and those who watch.

This is where consensus, which knows no agents, and core, which knows no log, meet.

Rules of this file:
- A barrier (an empty command) changes nothing and has no outcome.
- Events are published after their transaction is committed, never before.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Sequence
from typing import TypeAlias

from tallystick_node.consensus.machine import CommittedEntry
from tallystick_node.core.outcomes import Event, Outcome
from tallystick_node.storage.database import Database
from tallystick_node.wire.commands import decode_command

Publish: TypeAlias = Callable[[Sequence[Event], int], None]
"""Called with the events of one application and the position reached."""


class Machine:
    """The state machine that consensus drives (`consensus.machine.StateMachine`)."""

    def __init__(self, database: Database, publish: Publish) -> None:
        self._database = database
        self._publish = publish
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._waiters = 0

    @property
    def applied_index(self) -> int:
        """The index of the last entry applied."""
        return self._database.applied_index

    @property
    def durable_index(self) -> int:
        """The applied index that is synced."""
        return self._database.durable_index

    @property
    def position(self) -> int:
        """The position reached in the decided history."""
        return self._database.position

    def apply(self, entries: Sequence[CommittedEntry]) -> list[list[Outcome | None]]:
        """Applies the entries in one transaction; an outcome for each command, None for a barrier.

        Raises:
            DiskFull: nothing was applied.
            WireError, DatabaseDamaged: this node must stop.
        """
        decoded = [
            (entry.index, entry.term, [decode_command(command) for command in entry.commands if command])
            for entry in entries
        ]
        applied = self._database.apply(decoded)
        events = [event for results in applied for result in results for event in result.events]
        if events:
            self._publish(events, self.position)
            self._release()
        outcomes: list[list[Outcome | None]] = []
        for entry, results in zip(entries, applied, strict=True):
            rest = iter(results)
            outcomes.append([next(rest).outcome if command else None for command in entry.commands])
        return outcomes

    async def reached(self, position: int) -> None:
        """Returns once this node has applied everything up to a position. Bound it with a timeout."""
        if self.position >= position:
            return
        self._waiters += 1
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (position, self._waiters, future))
        await future

    def _release(self) -> None:
        while self._waiting and (self._waiting[0][0] <= self.position or self._waiting[0][2].done()):
            _, _, future = heapq.heappop(self._waiting)
            if not future.done():
                future.set_result(None)
