"""Whether one mutation happened before another: looked for backwards, from the later one.

What who wrote a mutation knew: all before it in its log, all that the log shares with its parent, what any of these
says was read, and all that was known there in turn.

Rules of this file:
- Everything that a mutation knew was decided before it. So of two only the one that was decided first can have happened
  before the other; and what was decided before that one leads nowhere, and is not looked at.
- Logs are looked at from the newest back, so each is looked at once, as far forward as it is known at all.
- A search is cut into looks, for it runs on the loop's thread.
"""

from __future__ import annotations

import heapq
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from tallystick_node.core import rules
from tallystick_node.core.commands import Target
from tallystick_node.core.observation_records import Observation, Place
from tallystick_node.core.retention_records import Point
from tallystick_node.core.tables import LogRecord
from tallystick_node.storage.anchoring import is_lone, is_readable, oldest_seq, own_anchor, point_at
from tallystick_node.storage.lineage import find_log_numbered, lineage, log_numbered
from tallystick_node.storage.sql import Sql
from tallystick_node.storage.tables import SqlTables

LOOK_OBSERVATIONS: Final = 500
"""Observations of one look, roughly."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A mutation, as it was asked for; `place`: where it stands by itself."""

    target: Target
    point: Point
    place: Place


@dataclass(frozen=True, slots=True)
class Edge:
    """Who wrote the mutation at `seq` of one log had read another up to `other_seq`."""

    target: Target
    seq: int
    other: Target
    other_seq: int


@dataclass(frozen=True, slots=True)
class Found:
    """What came of a search.

    Attributes:
        is_before: the earlier one happened before the later one.
        path: by what: from the later one back. What a branch shares with its parent needs none.
        has_gaps: it is not found, but something that the later one knew is gone, or it was too much: it may have been.
    """

    is_before: bool
    path: tuple[Edge, ...] = ()
    has_gaps: bool = False


class _Way(NamedTuple):
    """How far a log is known, and from which: by an observation, or None: that one began at it."""

    seq: int
    of: int
    observation: Observation | None


class CausalityReads:
    """The reads, over the connection of the thread that applies."""

    def __init__(self, sql: Sql, tables: SqlTables) -> None:
        self._sql = sql
        self._tables = tables

    def log(self, target: Target) -> LogRecord | None:
        """What is known of a log; None: it does not exist."""
        return self._tables.log(target)

    def place(self, log: LogRecord, seq: int) -> Place | None:
        """Where the mutation at a seq of a log stands; None: it is not kept."""
        return self._tables.branches.place(log, seq)

    def point(self, target: Target, seq: int) -> Asked:
        """The mutation at a seq of a log; 0: at its end.

        Raises:
            NotFound: there is no such log, or no such mutation.
            Compacted: it is not kept any more.
        """
        log = rules.find_log(self._tables, target)
        if seq > log.seq or not log.seq:
            raise rules.seq_not_found(log.seq)
        seq = seq or log.seq
        line = lineage(self._sql, log)
        if not is_readable(self._sql, line, seq):
            raise rules.compacted(oldest_seq(self._sql, line))
        point = point_at(self._sql, line, seq)
        owner = next(stretch.log for stretch in line if seq > stretch.log.fork_seq)
        return Asked(target, point, Place(owner.number, seq, point.position, point.hash))

    def check_kept(self, asked: Asked) -> None:
        """What who wrote a mutation knew is kept, as far as it ever was told.

        Raises:
            Compacted: the mutations before it went, and what they said with them.
        """
        line = lineage(self._sql, rules.find_log(self._tables, asked.target))
        if is_lone(self._sql, line, asked.point.seq):
            raise rules.compacted(oldest_seq(self._sql, line))

    def search(self, earlier: Place, later: Place, limit: int) -> Generator[None, None, Found]:
        """Looks whether `earlier` happened before `later`, which was decided after it; yields between two looks.

        Args:
            limit: of what is looked at.
        """
        if later.log == earlier.log:
            return Found(is_before=True)
        targets = {earlier.log: log_numbered(self._sql, earlier.log).target}  # a log may go between two looks
        reached = {later.log: _Way(later.seq, 0, None)}
        waiting = [(-later.position, later.log, later.seq)]
        looked_at, has_gaps = 0, False
        while waiting:
            _, number, seq = heapq.heappop(waiting)
            if seq < reached[number].seq:
                continue  # it is known further by now
            log = find_log_numbered(self._sql, number)
            if log is None:
                has_gaps = True
                continue
            targets[number] = log.target
            has_gaps = has_gaps or self._is_cut(number, seq)
            for other, position, way in self._known(log, seq):
                looked_at += 1
                if looked_at % LOOK_OBSERVATIONS == 0:
                    yield
                if position >= earlier.position and (other not in reached or reached[other].seq < way.seq):
                    reached[other] = way
                    if other == earlier.log and way.seq >= earlier.seq:
                        return Found(is_before=True, path=_path(reached, targets, other))
                    heapq.heappush(waiting, (-position, other, way.seq))
            if looked_at >= limit:
                return Found(is_before=False, has_gaps=True)
        return Found(is_before=False, has_gaps=has_gaps)

    def _known(self, log: LogRecord, seq: int) -> Iterator[tuple[int, int, _Way]]:
        """What who wrote the mutation at a seq of a log knew directly: log, position at most, and how far."""
        if log.parent and log.fork_seq:
            yield log.parent, log.fork_position, _Way(min(seq, log.fork_seq), log.number, None)
        observations = self._tables.observations
        other = observations.next_other(log.number, 0)
        while other is not None:
            found = observations.at(log.number, other, seq)
            if found is not None:
                yield other, found.other_position, _Way(found.other_seq, log.number, found)
            other = observations.next_other(log.number, other)

    def _is_cut(self, number: int, seq: int) -> bool:
        """Whether something that the log said up to a seq may have gone with its oldest mutations."""
        anchor = own_anchor(self._sql, number)
        return anchor is not None and seq < anchor.point.seq


def _path(reached: Mapping[int, _Way], targets: Mapping[int, Target], number: int) -> tuple[Edge, ...]:
    edges: list[Edge] = []
    while reached[number].of:
        way = reached[number]
        if way.observation is not None:
            edges.append(Edge(targets[way.of], way.observation.seq, targets[number], way.seq))
        number = way.of
    return tuple(reversed(edges))
