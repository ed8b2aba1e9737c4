"""The past of a log, where it is a branch: its own rows, then those of its parent up to where it began, and so on.

Rules of this file:
- A log's number is higher than its parent's, so that a walk ends, whatever is damaged.
- Of a parent a branch sees the mutations up to its `fork_seq`, and the checkpoints that were taken before it began.
  So seqs and positions rise along the whole of it, and a name of a checkpoint stands for one.
- Rows that were gathered must be flushed before anything here is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import NamedTuple

from tallystick_node.core.outcomes import CheckpointTaken, MutationDecided
from tallystick_node.core.tables import LogRecord
from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.events import CHECKPOINT_SELECT, MUTATION_SELECT, checkpoint_of, mutation_of
from tallystick_node.storage.log_rows import LOG_SELECT, log_of
from tallystick_node.storage.sql import MAX_INTEGER, Row, Sql


class Stretch(NamedTuple):
    """What a log has of one log: its own mutations up to `last_seq`, its own checkpoints before a position."""

    log: LogRecord
    last_seq: int
    before: int


def lineage(sql: Sql, log: LogRecord) -> list[Stretch]:
    """The log, and those whose past it shares, newest first.

    Raises:
        DatabaseDamaged: a parent is not there, or not what it was.
    """
    stretches = [Stretch(log, log.seq, MAX_INTEGER)]
    while log.parent:
        child, log = log, log_numbered(sql, log.parent)
        if log.number >= child.number or log.seq < child.fork_seq or log.target[:2] != child.target[:2]:
            raise DatabaseDamaged(sql.path, f"log {child.number} cannot have begun at log {log.number}")
        _, last_seq, before = stretches[-1]
        stretches.append(Stretch(log, min(last_seq, child.fork_seq), min(before, child.fork_position)))
    return stretches


def mutation_at(sql: Sql, line: Sequence[Stretch], seq: int) -> MutationDecided:
    """The mutation at a seq, which the log has.

    Raises:
        DatabaseDamaged: it does not.
    """
    mutation = find_mutation_at(sql, line, seq)
    if mutation is None:
        raise DatabaseDamaged(sql.path, f"log {line[0].log.number} lacks its mutation {seq}")
    return mutation


def find_mutation_at(sql: Sql, line: Sequence[Stretch], seq: int) -> MutationDecided | None:
    """The mutation at a seq from 1 on; None: it is not kept."""
    log = next(stretch.log for stretch in line if seq > stretch.log.fork_seq)
    return own_mutation(sql, log, seq)


def own_mutation(sql: Sql, log: LogRecord, seq: int) -> MutationDecided | None:
    """The mutation at a seq of a log's own; None: it is not there."""
    row = sql.row(f"{MUTATION_SELECT} AND log = ? AND seq = ?", (log.number, seq))
    if row is None:
        return None
    mutation = mutation_of(sql, log.target, row)
    if mutation.seq != seq:
        raise DatabaseDamaged(sql.path, f"looking for mutation {seq} leads to {mutation.seq}")
    return mutation


def newest_seq(sql: Sql, line: Sequence[Stretch], fits: Callable[[MutationDecided], bool], low: int = 0) -> int:
    """The seq of the newest mutation after `low` that fits, where all before it do too; `low`: none does. Halves."""
    high = line[0].last_seq
    while low < high:
        middle = (low + high + 1) // 2
        if fits(mutation_at(sql, line, middle)):
            low = middle
        else:
            high = middle - 1
    return low


def mutations_after(
    sql: Sql, line: Sequence[Stretch], after_seq: int, limit: int
) -> Generator[MutationDecided, None, None]:
    """The mutations after a seq, oldest first, of each stretch at most so many. Close it when done."""
    for log, last_seq, _ in reversed(line):
        rows = sql.each(
            f"{MUTATION_SELECT} AND log = ? AND seq > ? AND seq <= ? ORDER BY seq LIMIT ?",
            (log.number, min(after_seq, MAX_INTEGER), last_seq, limit),
        )
        with closing(rows):
            for row in rows:
                yield mutation_of(sql, log.target, row)


def checkpoints_after(
    sql: Sql, line: Sequence[Stretch], after_position: int, limit: int
) -> Generator[CheckpointTaken, None, None]:
    """The checkpoints after a position, oldest first, of each stretch at most so many. Close it when done."""
    for log, last_seq, before in reversed(line):
        rows = sql.each(
            f"{CHECKPOINT_SELECT} WHERE c.log = ? AND c.position > ? AND c.position < ? AND c.seq <= ?"
            " ORDER BY c.position LIMIT ?",
            (log.number, min(after_position, MAX_INTEGER), before, last_seq, limit),
        )
        with closing(rows):
            for row in rows:
                yield checkpoint_of(sql, log.number, log.target, row)


def checkpoint_named(sql: Sql, line: Sequence[Stretch], name: str) -> CheckpointTaken | None:
    """The checkpoint of that name."""
    for stretch in line:
        row = sql.row(f"{CHECKPOINT_SELECT} WHERE c.log = ? AND c.name = ?", (stretch.log.number, name))
        taken = _taken(sql, stretch, row)
        if taken is not None and taken.name != name:
            raise DatabaseDamaged(sql.path, f"looking for checkpoint {name!r} leads to {taken.name!r}")
        if taken is not None and taken.seq <= stretch.last_seq and taken.position < stretch.before:
            return taken
    return None


def newest_checkpoint(sql: Sql, line: Sequence[Stretch], seq: int) -> CheckpointTaken | None:
    """The newest checkpoint at or before a seq."""
    for stretch in line:
        row = sql.row(
            f"{CHECKPOINT_SELECT} WHERE c.log = ? AND c.seq <= ? AND c.position < ?"
            " ORDER BY c.seq DESC, c.position DESC LIMIT 1",
            (stretch.log.number, min(seq, stretch.last_seq), stretch.before),
        )
        taken = _taken(sql, stretch, row)
        if taken is not None and (taken.seq > seq or taken.position >= stretch.before):
            raise DatabaseDamaged(sql.path, f"looking for a checkpoint up to {seq} leads to one at {taken.seq}")
        if taken is not None:
            return taken
    return None


def _taken(sql: Sql, stretch: Stretch, row: Row | None) -> CheckpointTaken | None:
    return checkpoint_of(sql, stretch.log.number, stretch.log.target, row) if row is not None else None


def log_numbered(sql: Sql, number: int) -> LogRecord:
    """The log at which a branch began.

    Raises:
        DatabaseDamaged: it is not there.
    """
    found = find_log_numbered(sql, number)
    if found is None:
        raise DatabaseDamaged(sql.path, f"there is no log {number}, and a branch began at it")
    return found


def find_log_numbered(sql: Sql, number: int) -> LogRecord | None:
    """The log of that number; None: it is gone."""
    row = sql.row(f"{LOG_SELECT} WHERE l.number = ?", (number,))
    if row is None:
        return None
    found = log_of(sql, row).record
    if found.number != number:
        raise DatabaseDamaged(sql.path, f"looking for log {number} leads to {found.number}")
    return found
