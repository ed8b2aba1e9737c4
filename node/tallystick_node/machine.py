"""Gives the committed bytes their meaning: decodes them, applies them, tells those who wait and those who watch.

This is where consensus, which knows no agents, and core, which knows no log, meet.

Rules of this file:
- What was proposed holds commands, and has an outcome for each: one, those of a batch, or none (nothing changes).
- Events are published after their transaction is committed, never before.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Sequence
from typing import TypeAlias

from tallystick_node.consensus.machine import CommittedEntry
from tallystick_node.core.commands import Command
from tallystick_node.core.outcomes import Applied, Event, LeaseChanged, LeaseRecord, Outcome
from tallystick_node.storage.database import Database
from tallystick_node.wire.commands import decode_commands

Publish: TypeAlias = Callable[[Sequence[Event], int], None]
"""Called with the events of one application and the position reached."""

HeardLeases: TypeAlias = Callable[[Sequence[LeaseRecord]], None]
"""Called with how leases are now of which something was decided: of a renewal there is no event."""

Outcomes: TypeAlias = tuple[Outcome, ...]
"""Of the commands of one thing proposed."""


class Machine:
    """The state machine that consensus drives (`consensus.machine.StateMachine`)."""

    def __init__(self, database: Database, publish: Publish, heard_leases: HeardLeases | None = None) -> None:
        self._database = database
        self._publish = publish
        self._heard_leases = heard_leases
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
    def members(self) -> bytes | None:
        """Who is of the cluster, as far as it was ever changed."""
        return self._database.members

    def digest_at(self, index: int) -> bytes | None:
        """The digest of all that was decided up to an applied index."""
        return self._database.digest_at(index)

    @property
    def position(self) -> int:
        """The position reached in the decided history."""
        return self._database.position

    def apply(self, entries: Sequence[CommittedEntry]) -> list[list[Outcomes]]:
        """Applies the entries in one transaction; for each thing proposed, the outcomes of its commands.

        Raises:
            DiskFull: nothing was applied.
            WireError, DatabaseDamaged: this node must stop.
        """
        decoded = [[decode_commands(data) if data else [] for data in entry.commands] for entry in entries]
        applied = self._database.apply(
            [
                (entry.index, entry.term, [command for commands in proposals for command in commands], entry.members)
                for entry, proposals in zip(entries, decoded, strict=True)
            ]
        )
        events = [event for results in applied for result in results for event in result.events]
        if events:
            self._publish(events, self.position)
            self._release()
        self._hear_leases(applied)
        return [_by_proposal(proposals, results) for proposals, results in zip(decoded, applied, strict=True)]

    def replaced(self) -> None:
        """A snapshot took the place of what was applied: who waits and who watches hears of the position reached."""
        self._publish((), self.position)
        self._release()

    async def reached(self, position: int) -> None:
        """Returns once this node has applied everything up to a position. Bound it with a timeout."""
        if self.position >= position:
            return
        self._waiters += 1
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (position, self._waiters, future))
        try:
            await future
        except asyncio.CancelledError:  # its caller waits no longer: do not keep it until its position comes
            self._waiting = [waiting for waiting in self._waiting if not waiting[2].done()]
            heapq.heapify(self._waiting)
            raise

    def _hear_leases(self, applied: Sequence[Sequence[Applied]]) -> None:
        if self._heard_leases is not None:
            outcomes = (result.outcome for results in applied for result in results)
            records = [outcome.record for outcome in outcomes if isinstance(outcome, LeaseChanged)]
            if records:
                self._heard_leases(records)

    def _release(self) -> None:
        while self._waiting and (self._waiting[0][0] <= self.position or self._waiting[0][2].done()):
            _, _, future = heapq.heappop(self._waiting)
            if not future.done():
                future.set_result(None)


def _by_proposal(proposals: Sequence[Sequence[Command]], results: Sequence[Applied]) -> list[Outcomes]:
    rest = iter(results)
    return [tuple(next(rest).outcome for _ in commands) for commands in proposals]
