"""Counts the time of leases where this node leads, and proposes the end of those that were not renewed.

That a lease has ended is decided in the log, never by a clock: what is proposed here names the epoch and the mark that
the time was counted from, and ends nothing that was renewed since. That two never write at once does not hang on what
is here; that no holder is given up too early, and no dead one waited for too long, does.

Rules of this file:
- A lease has its whole time from the moment at which this node, leading, applied its acquisition or a renewal. One that
  this node did not see as leader has its whole time from when it began to lead: it cannot judge what was before.
- Time in which this node stood still does not count: nobody could renew through it.
- One entry for each lease that is held, which `limits.LEASES_HELD` bounds, and at most as many again that are void.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from tallystick.errors import TallystickError
from tallystick_node.core.commands import ExpireLease, Target
from tallystick_node.core.outcomes import LeaseRecord
from tallystick_node.storage.pages import Page
from tallystick_node.wire.commands import encode_command, join_commands

log = logging.getLogger(__name__)

TICK_S: Final = 0.25
"""How often time is counted: a lease ends up to this much late."""

STOOD_STILL_S: Final = 1.0
"""Of a longer pause between two counts only this much counts: this node stood still."""

EXPIRED_AT_ONCE: Final = 200
"""Ends proposed in one go; the others come with the next."""

PROPOSE_TIMEOUT_S: Final = 2.0
"""How long an end may take to be decided."""

RETRY_S: Final = 1.0
"""When an end is proposed again that was not decided."""

HELD_PAGE: Final = 200
"""Leases looked up in one go when this node begins to lead."""

_VOID_SPARE: Final = 1000
"""Void entries that are kept in any case."""

HeldPage: TypeAlias = Callable[[Target | None, int], Page[LeaseRecord]]
"""The leases that are held, after a name, at most so many."""

Propose: TypeAlias = Callable[[bytes, float], Awaitable[object]]
"""Has encoded commands decided, within so many seconds; raises TallystickError where they are not."""


@dataclass(slots=True)
class _Counted:
    """A lease whose time is counted."""

    epoch: int
    mark: int
    due_s: float


class LeaseKeeper:
    """See the module.

    Args:
        leading: the term that this node leads, as far as it knows; None: it does not.
        clock: seconds that never go back.
        unix_ms: stamps what is proposed.
    """

    def __init__(
        self,
        held: HeldPage,
        propose: Propose,
        leading: Callable[[], int | None],
        clock: Callable[[], float],
        unix_ms: Callable[[], int],
    ) -> None:
        self._held = held
        self._propose = propose
        self._leading = leading
        self._clock = clock
        self._unix_ms = unix_ms
        self._term: int | None = None
        self._awake_s = 0.0
        self._looked_s = clock()
        self._counted: dict[Target, _Counted] = {}
        self._dues: list[tuple[float, Target]] = []
        """A heap with an entry for each that is counted, no later than it is due, and void ones."""

    async def run(self) -> None:
        """Counts until it is cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            await self.look()

    async def look(self) -> None:
        """Counts the time since it looked last, and proposes the end of those whose time is up."""
        self._count_time()
        term = self._leading()
        if term != self._term:
            self.forget()
            self._term = term
            if term is not None:
                await self._begin()
        if self._term is not None:
            await self._expire()

    def heard(self, records: Sequence[LeaseRecord]) -> None:
        """How leases are now that something was decided of them, renewals among it, in order."""
        if self._term is None:
            return
        for record in records:
            if record.is_held:
                self._count(record)
            else:
                self._counted.pop(record.target, None)

    def forget(self) -> None:
        """Everything may be otherwise: as if this node did not lead. The next count begins anew."""
        self._term = None
        self._counted.clear()
        self._dues.clear()

    def _count_time(self) -> None:
        now_s = self._clock()
        self._awake_s += min(now_s - self._looked_s, STOOD_STILL_S)
        self._looked_s = now_s

    def _now_s(self) -> float:
        """The time that counts."""
        return self._awake_s + min(self._clock() - self._looked_s, STOOD_STILL_S)

    async def _begin(self) -> None:
        """This node leads from now on: all that are held have their whole time before them."""
        after: Target | None = None
        while self._term is not None:
            page = self._held(after, HELD_PAGE)
            for record in page.items:
                if record.target not in self._counted:  # else something was decided of it meanwhile
                    self._count(record)
            if not page.more:
                return
            after = page.items[-1].target
            await asyncio.sleep(0)

    def _count(self, record: LeaseRecord) -> None:
        counted = self._counted.get(record.target)
        if counted is not None and (counted.epoch, counted.mark) == (record.epoch, record.mark):
            return
        due_s = self._now_s() + record.ttl_ms / 1000
        self._counted[record.target] = _Counted(record.epoch, record.mark, due_s)
        if counted is None or counted.due_s > due_s:  # else its entry comes up before it is due, and is put back
            self._push(due_s, record.target)

    def _push(self, due_s: float, target: Target) -> None:
        heapq.heappush(self._dues, (due_s, target))
        if len(self._dues) > 2 * len(self._counted) + _VOID_SPARE:
            self._dues = [(counted.due_s, each) for each, counted in self._counted.items()]
            heapq.heapify(self._dues)

    def _due(self) -> list[tuple[Target, _Counted]]:
        """Those whose time is up; they come again after `RETRY_S`, unless something is decided of them."""
        now_s = self._now_s()
        found: list[tuple[Target, _Counted]] = []
        while self._dues and self._dues[0][0] <= now_s and len(found) < EXPIRED_AT_ONCE:
            _, target = heapq.heappop(self._dues)
            counted = self._counted.get(target)
            if counted is None:
                continue
            if counted.due_s <= now_s:
                found.append((target, counted))
                counted.due_s = now_s + RETRY_S
            self._push(counted.due_s, target)
        return found

    async def _expire(self) -> None:
        due = self._due()
        if not due:
            return
        now_ms = self._unix_ms()
        commands = [encode_command(ExpireLease(now_ms, target, each.epoch, each.mark)) for target, each in due]
        try:
            for data in join_commands(commands):
                await self._propose(data, PROPOSE_TIMEOUT_S)
        except TallystickError as error:
            log.info(
                "leases did not expire yet",
                extra={"event": "leases_not_expired", "count": len(due), "why": str(error)},
            )
