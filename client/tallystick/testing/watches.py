"""Watches against the log: each event that is wanted, once, in order, without a gap.

Rules of this file:
- The log is the truth: what was decided, in order of revision, whole over the range that is judged.
- A stream is what one subscription received: it began after a cursor and got as far as its last event or progress mark.
  Up to there nothing may be missing. Each answer of a subscription may be handed in as a stream of its own, too.
- A stream that follows another may begin at or before where that one got (it then gives the same again), never beyond.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise, takewhile

from tallystick.testing.history import JSON
from tallystick.testing.verdict import Report, Violation, conclude


@dataclass(frozen=True, slots=True)
class Event:
    """Something decided.

    Attributes:
        revision: where; each event has its own.
        key: what it is about, for filters: an agent.
        value: what it says.
        group: events of one append bear one name; empty: it stands alone.
    """

    revision: int
    key: str
    value: JSON = None
    group: str = ""


@dataclass(frozen=True, slots=True)
class Stream:
    """What a subscription received.

    Attributes:
        after: the cursor it was asked to begin after.
        events: in the order in which they came.
        cursor: the last progress mark, if there was one.
    """

    after: int
    events: Sequence[Event]
    cursor: int | None = None

    @property
    def reached(self) -> int:
        """The revision up to which it has told everything."""
        return max(self.after, *(event.revision for event in self.events), self.cursor or 0)


def check_watch(
    log: Sequence[Event],
    streams: Iterable[Stream],
    *,
    wanted: Callable[[Event], bool] = lambda _: True,
    reached: int | None = None,
    atomic: bool = False,
) -> Report:
    """Judges one watch.

    Args:
        log: what was decided, from the first cursor on.
        streams: what the watch received, in order, one for each time that it was resumed.
        wanted: the watch's filter.
        reached: the revision that it has to have got to; None: any.
        atomic: no stream may end within an append.

    Returns:
        A report with the rules `order`, `once`, `gap`, `filter`, `content`, `resume`, `atomic` and `reached`.

    Raises:
        ValueError: the log is not in order.
    """
    if any(later.revision <= earlier.revision for earlier, later in pairwise(log)):
        raise ValueError("the log has to be in order of revision, each once")
    received = list(streams)
    checked = sum(len(_told(stream, log)) + len(stream.events) for stream in received)
    return conclude("watch", checked, _violations(log, received, wanted, reached, atomic=atomic))


def _violations(
    log: Sequence[Event],
    streams: Sequence[Stream],
    wanted: Callable[[Event], bool],
    reached: int | None,
    *,
    atomic: bool,
) -> Iterator[Violation]:
    decided = {event.revision: event for event in log}
    got_to: int | None = None
    for stream in streams:
        if got_to is not None and stream.after > got_to:
            yield Violation("resume", f"resumed after {stream.after}, but only {got_to} had been reached")
        got_to = max(stream.reached, got_to or 0)
        yield from _order(stream)
        yield from _content(stream, decided, wanted)
        yield from _gaps(stream, log, wanted)
        if atomic:
            yield from _torn(stream, log, wanted)
    if reached is not None and (got_to is None or got_to < reached):
        yield Violation("reached", f"the watch got to {got_to} and not to {reached}")


def _order(stream: Stream) -> Iterator[Violation]:
    seen: set[int] = set()
    highest = stream.after
    for event in stream.events:
        if event.revision in seen:
            yield Violation("once", f"a second time: {event}")
        elif event.revision <= stream.after:
            yield Violation("order", f"before the cursor {stream.after}: {event}")
        elif event.revision < highest:
            yield Violation("order", f"after revision {highest}: {event}")
        seen.add(event.revision)
        highest = max(highest, event.revision)


def _content(stream: Stream, decided: dict[int, Event], wanted: Callable[[Event], bool]) -> Iterator[Violation]:
    for event in stream.events:
        if event.revision not in decided:
            yield Violation("content", f"never decided: {event}")
        elif decided[event.revision] != event:
            yield Violation("content", f"decided was {decided[event.revision]}, received was {event}")
        elif not wanted(event):
            yield Violation("filter", f"not wanted: {event}")


def _gaps(stream: Stream, log: Sequence[Event], wanted: Callable[[Event], bool]) -> Iterator[Violation]:
    received = {event.revision for event in stream.events}
    for event in _told(stream, log):
        if event.revision not in received and wanted(event):
            yield Violation("gap", f"missing, though the stream got to {stream.reached}: {event}")


def _told(stream: Stream, log: Sequence[Event]) -> Sequence[Event]:
    """The part of the log that the stream has told, or should have."""
    return log[bisect_right(log, stream.after, key=_revision) : bisect_right(log, stream.reached, key=_revision)]


def _revision(event: Event) -> int:
    return event.revision


def _torn(stream: Stream, log: Sequence[Event], wanted: Callable[[Event], bool]) -> Iterator[Violation]:
    groups = {event.group for event in stream.events if event.group}
    rest = islice(log, bisect_right(log, stream.reached, key=_revision), None)
    for event in takewhile(lambda event: event.group in groups, rest):  # an append is decided in one piece
        if wanted(event):
            yield Violation("atomic", f"the stream ended within an append, before {event}")
