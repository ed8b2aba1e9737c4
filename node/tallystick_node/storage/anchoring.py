"""What is kept of a log whose oldest mutations went, along the past that it shares.

Rules of this file:
- A point belongs to the log of the line whose own mutations lead to it. From that log's anchor on all is kept; before
  it, single states are.
- A branch that has no anchor of its own needs its parent's rows up to where it began, so these are there; one that has,
  needs none of them, and its parent's may be gone.
- Rows that were gathered must be flushed before anything here is asked.
"""

from __future__ import annotations

from collections.abc import Sequence

from tallystick_node.core.chain import NO_HASH
from tallystick_node.core.retention_records import Anchor, KeptState, Point
from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.lineage import Stretch, find_mutation_at
from tallystick_node.storage.retention_rows import KEPT_SELECT, POINT_SELECT, anchor_of, kept_of, point_of
from tallystick_node.storage.sql import Sql

_START = Point(0, 0, 0, NO_HASH)


def own_anchor(sql: Sql, log_number: int) -> Anchor | None:
    """Where what is kept of a log's own mutations begins; None: all are."""
    row = sql.row("SELECT * FROM anchors WHERE log = ?", (log_number,))
    if row is None:
        return None
    found, anchor = anchor_of(sql, row)
    if found != log_number:
        raise DatabaseDamaged(sql.path, f"looking for the anchor of log {log_number} leads to another")
    return anchor


def oldest_anchor(sql: Sql, line: Sequence[Stretch]) -> Anchor | None:
    """The anchor behind which all of the line is kept; None: it is whole."""
    for stretch in line:
        anchor = own_anchor(sql, stretch.log.number)
        if anchor is not None and anchor.point.seq <= stretch.last_seq:
            return anchor
    return None


def oldest_seq(sql: Sql, line: Sequence[Stretch]) -> int:
    """From this seq on all of the line is kept; 0: it is whole."""
    anchor = oldest_anchor(sql, line)
    return anchor.point.seq if anchor is not None else 0


def is_readable(sql: Sql, line: Sequence[Stretch], seq: int) -> bool:
    """Whether the state at a seq of the line can be had."""
    return _covers(sql, line, seq) or _kept_point(sql, line, seq) is not None


def is_lone(sql: Sql, line: Sequence[Stretch], seq: int) -> bool:
    """Whether the state at a seq is kept, and the mutations that follow it are not."""
    return not _covers(sql, line, seq) and _kept_point(sql, line, seq) is not None


def point_at(sql: Sql, line: Sequence[Stretch], seq: int) -> Point:
    """What is known of the mutation at a seq, which is readable.

    Raises:
        DatabaseDamaged: it is not there.
    """
    if seq == 0:
        return _START
    mutation = find_mutation_at(sql, line, seq)
    if mutation is not None:
        return Point(seq, mutation.position, mutation.time_unix_ms, mutation.hash)
    point = _kept_point(sql, line, seq)
    if point is None:
        raise DatabaseDamaged(sql.path, f"log {line[0].log.number} lacks its mutation {seq}")
    return point


def kept_state(sql: Sql, log_number: int, seq: int) -> KeptState | None:
    """The newest state up to a seq that the log's own rows keep whole."""
    row = sql.row(f"{KEPT_SELECT} WHERE log = ? AND seq <= ? ORDER BY seq DESC LIMIT 1", (log_number, seq))
    if row is None:
        return None
    found, kept = kept_of(sql, row)
    if found != log_number or kept.point.seq > seq:
        raise DatabaseDamaged(sql.path, f"log {log_number}: looking for a kept state leads to another")
    return kept


def _covers(sql: Sql, line: Sequence[Stretch], seq: int) -> bool:
    """Whether all mutations are kept that follow the seq, in the log whose own lead to it."""
    for stretch in line:
        if seq > stretch.log.fork_seq or not stretch.log.parent:
            anchor = own_anchor(sql, stretch.log.number)
            return anchor is None or seq >= anchor.point.seq
    return False


def _kept_point(sql: Sql, line: Sequence[Stretch], seq: int) -> Point | None:
    """A state of exactly this seq, in any log of the line that has it."""
    for stretch in line:
        if not stretch.log.fork_seq <= seq <= stretch.last_seq:
            continue
        row = sql.row(f"{POINT_SELECT} WHERE log = ? AND seq = ?", (stretch.log.number, seq))
        if row is not None:
            found, point = point_of(sql, row)
            if (found, point.seq) != (stretch.log.number, seq):
                raise DatabaseDamaged(sql.path, f"log {stretch.log.number}: a kept state is another")
            return point
    return None
