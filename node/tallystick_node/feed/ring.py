"""The newest events, in memory: one copy for all who watch.

Rules of this file:
- It holds every event with a position in (`floor`, `head`], without gaps.
- Bounded in events and in bytes; the oldest go first. An event larger than the bound is not held.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tallystick_node.core.outcomes import Event
from tallystick_node.feed.batch import counted_bytes


class Ring:
    """Events by position: the one at `position` lies in the slot `position % max_events`."""

    def __init__(self, position: int, max_events: int, max_bytes: int) -> None:
        self._slots: list[Event | None] = [None] * max_events
        self._max_bytes = max_bytes
        self._size_bytes = 0
        self._floor = position
        self._head = position

    @property
    def head(self) -> int:
        """Position of the newest event that was published."""
        return self._head

    @property
    def floor(self) -> int:
        """What comes after this position is held."""
        return self._floor

    @property
    def size_bytes(self) -> int:
        """What the held events count."""
        return self._size_bytes

    def extend(self, events: Sequence[Event], position: int) -> bool:
        """Move the head to `position`. False if these events do not lead there from the old head: then none is held."""
        if not self._leads_to(events, position):
            self._drop_to(self._head)
            self._floor = self._head = position
            return False
        for event in events:
            if event.position - self._floor > len(self._slots):
                self._drop_to(event.position - len(self._slots))
            self._slots[event.position % len(self._slots)] = event
            self._head = event.position
            self._size_bytes += counted_bytes(event)
        while self._size_bytes > self._max_bytes:
            self._drop_to(self._floor + 1)
        return True

    def after(self, cursor: int) -> Iterator[Event]:
        """The events after a cursor that is not before the floor. Valid until something is published."""
        for position in range(cursor + 1, self._head + 1):
            event = self._slots[position % len(self._slots)]
            if event is not None:  # always so within the range; said for the type
                yield event

    def _leads_to(self, events: Sequence[Event], position: int) -> bool:
        if len(events) != position - self._head:
            return False
        return all(event.position == expected for expected, event in enumerate(events, self._head + 1))

    def _drop_to(self, floor: int) -> None:
        for position in range(self._floor + 1, floor + 1):
            slot = position % len(self._slots)
            event = self._slots[slot]
            if event is not None:
                self._size_bytes -= counted_bytes(event)
                self._slots[slot] = None
        self._floor = floor
