"""What can be asked of steps: one, or a page of them, with what came of them.

Rules of this file: those of `reads.py`.
"""

from __future__ import annotations

import heapq
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from typing import NamedTuple

from tallystick_node.core import limits, rules
from tallystick_node.core.commands import Target
from tallystick_node.core.outcomes import Event, MutationDecided, StepRecord, StepStatus
from tallystick_node.core.steps import step_not_found
from tallystick_node.core.tables import LogRecord
from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.events import find_event, mutation_of
from tallystick_node.storage.pages import Page, take_page
from tallystick_node.storage.schema import MUTATION
from tallystick_node.storage.sql import Row, Sql
from tallystick_node.storage.step_rows import STEP_COLUMNS, step_of
from tallystick_node.storage.step_tables import SqlStepTables
from tallystick_node.storage.sums import event_sum, names_of
from tallystick_node.storage.tables import SqlTables
from tallystick_node.wire.errors import Malformed
from tallystick_node.wire.step_mutations import result_in

_STEPS = f"SELECT {STEP_COLUMNS} FROM steps AS s"  # noqa: S608
_END_COLUMNS = ("position", "log", "kind", "seq", "time_unix_ms", "actor", "hash", "body", "sum")
_STEPS_WITH_ENDS = (
    f"SELECT {STEP_COLUMNS},"  # noqa: S608
    + ", ".join(f"coalesce(e.{name}, r.{name})" for name in _END_COLUMNS)
    + " FROM steps AS s LEFT JOIN events AS e ON e.position = s.ended_position"
    " LEFT JOIN remains AS r ON r.position = s.ended_position"
)
_RESULTS = (
    "SELECT s.name, s.attempt, s.ended_position, s.ended_seq, s.ended_unix_ms, coalesce(e.actor, r.actor),"
    " coalesce(e.hash, r.hash), coalesce(e.body, r.body), coalesce(e.sum, r.sum)"
    " FROM steps AS s LEFT JOIN events AS e ON e.position = s.ended_position"
    " LEFT JOIN remains AS r ON r.position = s.ended_position"
    " WHERE s.log = ? AND s.name > ? AND s.status = ? AND s.ended_seq <= ? ORDER BY s.name"
)
_NONE = StepRecord("", 0, StepStatus.BEGUN, 0, 0, 0, 0, "", 0)
_STEP_WIDTH = STEP_COLUMNS.count(",") + 1


class StepRead(NamedTuple):
    """The newest attempt at a step, and the mutation that ended it, if it ended and was asked for."""

    record: StepRecord
    end: MutationDecided | None


class StepResult(NamedTuple):
    """What an attempt returned that was completed, as JSON text."""

    name: str
    attempt: int
    result: bytes


class StepReads:
    """The reads of steps, over the connection of the thread that applies."""

    def __init__(self, sql: Sql, tables: SqlTables, steps: SqlStepTables) -> None:
        self._sql = sql
        self._tables = tables
        self._steps = steps

    def step(self, target: Target, name: str) -> StepRead:
        """A step by its name.

        Raises:
            NotFound: the log does not exist, or the step was never begun.
        """
        record = self._steps.newest(rules.find_log(self._tables, target), name)
        if record is None:
            raise step_not_found(name)
        if not record.ended_position:
            return StepRead(record, None)
        event = find_event(self._sql, record.ended_position)
        if event is None:
            raise DatabaseDamaged(self._sql.path, f"what ended step {name!r} is not there")
        return StepRead(record, self._checked(record, event))

    def steps(self, target: Target, after: str, limit: int, *, with_ends: bool) -> Page[StepRead]:
        """A log's steps by name, those after a name.

        Raises:
            NotFound: the log does not exist.
        """
        log = rules.find_log(self._tables, target)
        with ExitStack() as stack:
            streams = [
                stack.enter_context(closing(self._newest(link, up_to, after, with_ends)))
                for link, up_to in self._steps.lineage(log)
            ]
            reads = streams[0] if len(streams) == 1 else _first_of_each(streams)
            return take_page(reads, limit, limits.PAGE_BYTES, _end_bytes)

    def results(self, target: Target, after: str, limit: int) -> Page[StepResult]:
        """What a log's completed steps returned, by name, those after a name; for who resumes an agent that did many.

        Raises:
            NotFound: the log does not exist.
        """
        log = rules.find_log(self._tables, target)
        with ExitStack() as stack:
            streams = [
                stack.enter_context(closing(self._results(link, up_to, after)))
                for link, up_to in self._steps.lineage(log)
            ]
            reads = streams[0] if len(streams) == 1 else heapq.merge(*streams)
            return take_page(reads, limit, limits.PAGE_BYTES, _result_bytes)

    def last_turn_end(self, log: LogRecord) -> int:
        """The seq at which a turn was ended last; 0: none was."""
        return self._steps.last_turn_end(log)

    def open_turn(self, log: LogRecord) -> int:
        """The seq at which the turn that is open began; 0: none is."""
        turn = self._steps.newest_turn(log)
        return turn.begun_seq if turn is not None and not turn.ended_seq else 0

    def _newest(self, log: LogRecord, up_to: int, after: str, with_ends: bool) -> Generator[StepRead, None, None]:
        """The newest attempts in one log at what was begun up to a seq, by name."""
        rows = self._sql.each(
            f"{_STEPS_WITH_ENDS if with_ends else _STEPS} WHERE s.log = ? AND s.name > ? AND s.begun_seq <= ?"
            " ORDER BY s.name, s.attempt",
            (log.number, after, up_to),
        )
        newest, event = _NONE, ()
        last = (after, limits.STEP_ATTEMPTS)
        with closing(rows):
            for row in rows:
                number, record = step_of(self._sql, row[:_STEP_WIDTH], up_to)
                key = (record.name, record.attempt)
                if number != log.number or key <= last:
                    raise DatabaseDamaged(self._sql.path, f"the steps of log {log.number} are not in order")
                if newest.name != record.name and newest is not _NONE:
                    yield StepRead(newest, self._end(log, newest, event))
                newest, event, last = record, row[_STEP_WIDTH:], key
        if newest is not _NONE:
            yield StepRead(newest, self._end(log, newest, event))

    def _results(self, log: LogRecord, up_to: int, after: str) -> Generator[StepResult, None, None]:
        """The results in one log of what had ended at a seq, by name. Its mutation proves each, so its own row need not
        be proven: the mutation is of this log, position, seq and time, and names the step and the attempt."""
        rows = self._sql.each(_RESULTS, (log.number, after, int(StepStatus.COMPLETED), up_to))
        last, named_by, names = after, "", names_of("", *log.target)
        with closing(rows):
            for name, attempt, position, seq, time_unix_ms, actor, hash_, body, stored in rows:
                try:
                    if actor != named_by:
                        named_by, names = actor, names_of(actor, *log.target)
                    summed = event_sum(position, log.number, MUTATION, seq, time_unix_ms, hash_, body, names)
                    is_sound = summed == stored and name > last
                    result = result_in(body, name, attempt)
                except (TypeError, Malformed):  # it is not there, or damage changed it
                    is_sound = False
                if not is_sound:
                    raise DatabaseDamaged(self._sql.path, f"what ended step {name!r} is not what was written")
                yield StepResult(name, attempt, result)
                last = name

    def _end(self, log: LogRecord, record: StepRecord, row: Row) -> MutationDecided | None:
        """What ended it, where the row has that; it is in the same log."""
        if not row or not record.ended_position:
            return None
        if row[0] is None:
            raise DatabaseDamaged(self._sql.path, f"what ended step {record.name!r} is not there")
        return self._checked(record, mutation_of(self._sql, log.target, row))

    def _checked(self, record: StepRecord, event: Event) -> MutationDecided:
        if not isinstance(event, MutationDecided) or event.position != record.ended_position:
            raise DatabaseDamaged(self._sql.path, f"what ended step {record.name!r} is another")
        return event


def _first_of_each(streams: list[Generator[StepRead, None, None]]) -> Iterator[StepRead]:
    """Of what each log has, by name; of a name that several have, what the first of them has."""
    last = ""
    for read in heapq.merge(*streams, key=lambda read: read.record.name):  # among equals the first stream goes first
        if read.record.name != last:
            last = read.record.name
            yield read


def _result_bytes(read: StepResult) -> int:
    return len(read.result)


def _end_bytes(read: StepRead) -> int:
    return len(read.end.raw) if read.end is not None else 0
