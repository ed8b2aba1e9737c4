"""Local edits on their way: in order, until a majority has them.

Rules of this file:
- An edit stays until its `QUORUM` ack: a node that took it may be gone before it has told the others, and then it is
  sent to another. Sending twice does no harm.
- Edits that wait together, of one writer, epoch and cause, are sent as one update (`Group`). A group that is refused is
  sent again one by one, so that only the guilty one is refused.
- Edits that a node has synced are merged with their neighbours when there are many: a partition may be long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import pycrdt

from tallystick.contexts.documents import guarded
from tallystick.contexts.limits import (
    GROUP_BYTES,
    GROUP_SPAN_MS,
    GROUP_UPDATES,
    OUTBOX_BYTES,
    OUTBOX_UPDATES,
    UNANSWERED,
)
from tallystick.contexts.rows import Level, Row
from tallystick.errors import Overloaded

MERGE_FROM: Final = 1024
"""With so many edits waiting, those that a node has are merged."""


@dataclass(frozen=True, slots=True)
class Group:
    """What is sent as one update.

    Attributes:
        number: 1, 2, ... of the stream.
        rows: the edits in it, in order.
        sent_s: when it was sent.
    """

    number: int
    rows: tuple[Row, ...]
    update: bytes
    sent_s: float

    @property
    def last_id(self) -> int:
        """Of its newest edit."""
        return self.rows[-1].id


class Outbox:
    """The edits of one replica that are not acknowledged by a majority."""

    def __init__(self) -> None:
        self._rows: deque[Row] = deque()  # sent ones first
        self._size_bytes = 0
        self._unsent: deque[Row] = deque()
        self._sent: deque[Group] = deque()  # no node has acknowledged these
        self._synced: deque[tuple[int, int]] = deque()  # number and last id of those that a node has
        self._next = 1
        self._merges_at = MERGE_FROM
        self.local_id = 0
        self.made_id = 0

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def rows(self) -> tuple[Row, ...]:
        """All of them, oldest first."""
        return tuple(self._rows)

    @property
    def has_unsent(self) -> bool:
        """There is something to send."""
        return bool(self._unsent)

    @property
    def quorum_id(self) -> int:
        """All edits up to this one are at QUORUM, or were refused."""
        return self.first_id - 1

    @property
    def first_id(self) -> int:
        """Of its oldest edit; with none, above all."""
        return _first_id(self._rows[0]) if self._rows else self.made_id + 1

    def check_room(self) -> None:
        """Refuses another edit.

        Raises:
            Overloaded: too much waits.
        """
        if self._size_bytes >= OUTBOX_BYTES or len(self._rows) >= OUTBOX_UPDATES:
            raise Overloaded(
                f"{len(self._rows)} edits of {self._size_bytes} bytes wait for a majority: no more are taken",
                metadata={"limit": str(OUTBOX_BYTES), "limit_updates": str(OUTBOX_UPDATES)},
            )

    def add(self, row: Row) -> None:
        """Takes an edit."""
        self._rows.append(row)
        self._unsent.append(row)
        self._size_bytes += len(row.update)
        self.made_id = row.id
        if len(self._rows) >= self._merges_at:
            self._merge()
            self._merges_at = max(MERGE_FROM, 2 * len(self._rows))  # each row is looked at a few times, not each time

    def restart(self) -> None:
        """A new stream: everything is sent again, in order."""
        self._sent.clear()
        self._synced.clear()
        self._unsent = deque(self._rows)
        self._next = 1

    def next_group(self, now_s: float, through_id: int | None = None) -> Group | None:
        """What to send next, of edits up to this one; None: nothing, or too much is unanswered."""
        if not self._unsent or len(self._sent) >= UNANSWERED:
            return None
        if through_id is not None and self._unsent[0].id > through_id:
            return None
        rows = [self._unsent.popleft()]
        size_bytes = len(rows[0].update)
        while self._unsent and len(rows) < GROUP_UPDATES and _fits(rows[0], self._unsent[0]):
            if through_id is not None and self._unsent[0].id > through_id:
                break
            size_bytes += len(self._unsent[0].update)
            if size_bytes > GROUP_BYTES:
                break
            rows.append(self._unsent.popleft())
        group = Group(self._next, tuple(rows), _merged(rows), now_s)
        self._next += 1
        self._sent.append(group)
        return group

    def waits_since_s(self) -> float | None:
        """When the oldest group that no node has acknowledged was sent; None: there is none."""
        return self._sent[0].sent_s if self._sent else None

    def acked(self, number: int, level: Level) -> None:
        """This group of the stream and all before it have reached a level."""
        while self._sent and self._sent[0].number <= number:
            group = self._sent.popleft()
            self._synced.append((group.number, group.last_id))
            self.local_id = max(self.local_id, group.last_id)
            for row in group.rows:
                row.level = max(row.level, Level.LOCAL)
        if level is Level.QUORUM:
            last_id = 0
            while self._synced and self._synced[0][0] <= number:
                last_id = self._synced.popleft()[1]
            self._drop(last_id)

    def done(self, through_id: int) -> None:
        """Edits up to this one need nothing more: the document was decided anew, with them."""
        self._drop(through_id)
        self.local_id = max(self.local_id, through_id)

    def group(self, number: int) -> Group | None:
        """A group that was sent and not acknowledged, by its number."""
        return next((group for group in self._sent if group.number == number), None)

    def cut(self, from_id: int) -> list[Row]:
        """Takes out this edit and all after it; the stream has to be restarted."""
        out = [row for row in self._rows if row.id >= from_id]
        kept = [row for row in self._rows if row.id < from_id]
        self._rows = deque(kept)
        self._size_bytes = sum(len(row.update) for row in kept)
        self.restart()
        return out

    def _drop(self, through_id: int) -> None:
        while self._rows and self._rows[0].id <= through_id:
            self._size_bytes -= len(self._rows.popleft().update)
        while self._unsent and self._unsent[0].id <= through_id:
            self._unsent.popleft()

    def _merge(self) -> None:
        """Merges what a node has synced and a majority has not. Groups on the stream keep their own rows."""
        kept: deque[Row] = deque()
        run: list[Row] = []
        for row in self._rows:
            if run and not (row.level is Level.LOCAL and _fits(run[0], row) and len(run) < GROUP_UPDATES):
                kept.append(_as_one(run))
                run = []
            run.append(row)
        kept.extend([_as_one(run)] if run else [])
        self._rows = kept
        self._size_bytes = sum(len(row.update) for row in kept)


def _fits(first: Row, other: Row) -> bool:
    """They may go together."""
    return (
        first.writer == other.writer
        and first.epoch == other.epoch
        and first.cause == other.cause
        and not (first.goes_alone or other.goes_alone)
        and abs(other.time_unix_ms - first.time_unix_ms) <= GROUP_SPAN_MS
    )


def _merged(rows: Iterable[Row]) -> bytes:
    updates = [row.update for row in rows]
    if len(updates) == 1:
        return updates[0]
    with guarded():
        return pycrdt.merge_updates(*updates)


def _as_one(rows: list[Row]) -> Row:
    if len(rows) == 1 or rows[0].level is not Level.LOCAL:
        return rows[0]
    last = rows[-1]
    return Row(
        id=last.id,
        update=_merged(rows),
        is_local=True,
        writer=last.writer,
        epoch=last.epoch,
        time_unix_ms=last.time_unix_ms,
        actor=last.actor,
        cause=last.cause,
        level=Level.LOCAL,
        first_id=_first_id(rows[0]),
    )


def _first_id(row: Row) -> int:
    return row.first_id or row.id
