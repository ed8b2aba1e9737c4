"""Materialised states: when one is written, and which are kept. `rebuilding.py` rebuilds a state from them.

Rules of this file:
- The cost of replaying is counted as bytes of mutations plus `_MUTATION_COST` for each. A snapshot is due after at
  least `_MIN_MUTATIONS` and a quarter of the state's size in cost, so writing snapshots costs a constant factor of
  writing the log, and reading the head costs a constant factor of reading the state.
- A snapshot is kept for good if the log has grown by twice the state's size in cost since the last kept one; another is
  dropped when the next is written. So reading far back is bounded like reading the head, and disk by half the log. Of a
  state that only grows, as a conversation does, none is kept: replaying its log costs no more than reading it.
- The rule sees only counters of the log record: replicas have the same snapshots.
- A branch begins without one: it counts from where it began, and until its first one is due its parent's serve.
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

from tallystick_node.core.document import Document
from tallystick_node.core.tables import LogRecord
from tallystick_node.core.values import canonical_json
from tallystick_node.storage.sql import Sql
from tallystick_node.storage.sums import row_sum

_MIN_MUTATIONS: Final = 128
_MUTATION_COST: Final = 256
_HEAD_SHARE: Final = 4
_KEPT_STATES: Final = 2


class Marks(NamedTuple):
    """Where a log's newest snapshot and its newest kept one are: seq, and the cost of the log up to there."""

    newest_seq: int = 0
    newest_cost: int = 0
    kept_seq: int = 0
    kept_cost: int = 0


def marks_of_branch(log: LogRecord) -> Marks:
    """Those of a branch that begins: the first snapshot of its own is due when it has grown as much as any log must."""
    cost = _MUTATION_COST * log.seq
    return Marks(log.seq, cost, log.seq, cost)


def write_if_due(sql: Sql, log: LogRecord, document: Document, marks: Marks) -> Marks:
    """Write a snapshot of the log's head if one is due; the marks from then on."""
    cost = log.log_bytes + _MUTATION_COST * log.seq
    if log.seq - marks.newest_seq < _MIN_MUTATIONS or cost - marks.newest_cost < log.state_bytes // _HEAD_SHARE:
        return marks
    if marks.newest_seq != marks.kept_seq:
        sql.execute("DELETE FROM snapshots WHERE log = ? AND seq = ?", (log.number, marks.newest_seq))
    state = canonical_json(document.root)
    digest = hashlib.sha256(state).digest()
    head = (log.number, log.seq, log.hash, digest)
    sql.execute("INSERT INTO snapshots VALUES (?, ?, ?, ?, ?, ?)", (*head, state, row_sum(*head)))
    if cost - marks.kept_cost >= _KEPT_STATES * log.state_bytes:
        return Marks(log.seq, cost, log.seq, cost)
    return marks._replace(newest_seq=log.seq, newest_cost=cost)
