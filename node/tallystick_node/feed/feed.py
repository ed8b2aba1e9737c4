"""The feed: hands what was decided to those who watch, each event once and in order.

Rules of this file:
- No queue for a subscriber: each has a cursor. It reads the shared ring; behind the ring, pages of the history; and
  when it has caught up it waits. A slow reader costs nothing but its cursor, and nothing can overflow.
- A batch's cursor stands behind everything that was looked at, wanted or not, so that a resume never looks twice.
- Between two looks a reader that has not caught up lets the event loop serve others.
- All runs on one event loop. What is applied is published before the loop serves anything else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Final, Protocol

from tallystick.errors import Compacted, Invalid, Overloaded, Reason, Unavailable
from tallystick_node.core.outcomes import Event
from tallystick_node.feed.batch import BATCH_BYTES, BATCH_EVENTS, Batch, Filter, collect
from tallystick_node.feed.ring import Ring
from tallystick_node.feed.waiters import Waiter, Waiters

MARK_AFTER_EVENTS: Final = 10_000
"""Events that a reader did not want, after which it is told how far it has come."""


class History(Protocol):
    """The decided history as stored, of all namespaces."""

    @property
    def position(self) -> int:
        """Position of the newest event that is applied; 0 before the first."""
        ...

    def events(self, after_position: int, limit: int, max_bytes: int = ...) -> Sequence[Event]:
        """The events after a position, oldest first. Empty only if there is nothing after it."""
        ...

    def newest_gone(self, namespace: str, agent: str | None, prefix: str | None) -> int:
        """The position of the newest event that retention removed, of an agent of the namespace, of those whose names
        begin so, or of all; 0: none was."""
        ...


class Feed:
    """What was decided, to those who watch.

    Args:
        history: where what is no longer in the ring is read; its `position` is where the feed begins.
        ring_events: events kept in memory.
        ring_bytes: content kept in memory.
        replay_limit_events: how far behind the head a cursor may stand.
        max_subscribers: watches at one time.
        progress_s: a watch hears of its cursor at least this often, in seconds.
    """

    def __init__(
        self,
        history: History,
        *,
        ring_events: int = 10_000,
        ring_bytes: int = 8 * 1024 * 1024,
        replay_limit_events: int = 1_000_000,
        max_subscribers: int = 1000,
        progress_s: float = 5.0,
    ) -> None:
        self._history = history
        self._ring = Ring(history.position, ring_events, ring_bytes)
        self._replay_limit_events = replay_limit_events
        self._max_subscribers = max_subscribers
        self._progress_s = progress_s
        self._waiters = Waiters()
        self._subscribers = 0
        self._closed = False

    @property
    def subscribers(self) -> int:
        """Watches that are under way."""
        return self._subscribers

    def publish(self, events: Sequence[Event], position: int) -> None:
        """Tell of what was applied: its events, and the head position that it led to.

        Events that do not lead from the last position to this one (a snapshot took their place) are read from the
        history instead.

        Raises:
            ValueError: the position falls: a bug of the caller.
        """
        if position < self._ring.head:
            raise ValueError(f"position {position} was published after {self._ring.head}")
        if self._ring.extend(events, position):
            self._waiters.wake(events)
        else:
            self._waiters.wake_all()

    def watch(self, wanted: Filter, after: int | None = None) -> AsyncGenerator[Batch, None]:
        """What is wanted of the events after a position, or from this call on.

        Ends only with an error, or when the caller closes it (`contextlib.aclosing`). All errors come from iterating.

        Raises:
            Compacted: the cursor is further behind than is replayed, or retention removed something that is wanted
                behind it; `metadata["oldest"]` is the oldest one possible. Also later, for a reader that falls so far
                behind.
            Invalid: `INVALID_REQUEST`, the cursor is ahead of what this node has applied: wait for that before.
            Overloaded: too many watches.
            Unavailable: `STOPPING`, the feed was closed.
        """
        return self._watch(wanted, self._ring.head if after is None else after)

    def close(self) -> None:
        """End all watches."""
        self._closed = True
        self._waiters.wake_all()

    async def _watch(self, wanted: Filter, cursor: int) -> AsyncGenerator[Batch, None]:
        self._admit(cursor)
        self._subscribers += 1
        try:
            now_s = asyncio.get_running_loop().time
            told, told_at_s = cursor, now_s()
            while True:
                self._check(cursor)
                events, cursor = self._look(wanted, cursor)
                caught_up = cursor >= self._ring.head
                if not caught_up:
                    # A long replay, or a reader that never has to wait, must not keep the loop to itself.
                    await asyncio.sleep(0)
                if events or cursor - told >= MARK_AFTER_EVENTS or now_s() - told_at_s >= self._progress_s:
                    yield Batch(events, cursor)
                    told, told_at_s = cursor, now_s()
                elif caught_up:
                    cursor = await self._wait(wanted, cursor, told_at_s + self._progress_s - now_s())
        finally:
            self._subscribers -= 1

    def _admit(self, cursor: int) -> None:
        if cursor > self._history.position:
            raise Invalid(
                f"the cursor {cursor} is ahead of {self._history.position}, the newest event here",
                metadata={"field": "after", "newest": str(self._history.position)},
            )
        if self._subscribers >= self._max_subscribers:
            raise Overloaded(
                f"{self._subscribers} watches are under way at this node, no more are taken",
                metadata={"limit": str(self._max_subscribers)},
            )

    def _check(self, cursor: int) -> None:
        if self._closed:
            raise Unavailable("this node is stopping", reason=Reason.STOPPING)
        oldest = self._ring.head - self._replay_limit_events
        if cursor < oldest:
            raise Compacted(
                f"the cursor {cursor} is older than {oldest}, the oldest that can be replayed",
                metadata={"oldest": str(oldest)},
            )

    def _look(self, wanted: Filter, cursor: int) -> Batch:
        """The next events after the cursor, from the ring or from the history."""
        if cursor >= self._ring.floor:
            return collect(self._ring.after(cursor), wanted, cursor)
        gone = self._history.newest_gone(wanted.namespace, wanted.agent, wanted.prefix)
        if cursor < gone:
            raise Compacted(
                f"the cursor {cursor} is older than {gone}: what was decided up to there is not all kept",
                metadata={"oldest": str(gone)},
            )
        page = self._history.events(cursor, BATCH_EVENTS, BATCH_BYTES)
        if not page:  # what stood between went with a deleted agent
            return Batch((), max(cursor, self._history.position))
        return collect(page, wanted, cursor)

    async def _wait(self, wanted: Filter, cursor: int, timeout_s: float) -> int:
        """Wait for something that is wanted, at most so long; where to look on from."""
        waiter = self._waiters.add(wanted)
        timer = asyncio.get_running_loop().call_later(timeout_s, self._time_out, waiter)
        try:
            return max(cursor, await waiter)
        finally:
            timer.cancel()
            self._waiters.remove(wanted, waiter)

    def _time_out(self, waiter: Waiter) -> None:
        """Nothing wanted has come up to now. Not `wait_for`: it would cancel the waiter, and what is published before
        the reader has its turn would be missed; with the head of this moment, the reader looks at it."""
        if not waiter.done():
            waiter.set_result(self._ring.head)
