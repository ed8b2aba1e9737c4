"""Materialised states: when one is written, which are kept, and how a state is rebuilt from them.

Rules of this file:
- The cost of replaying is counted as bytes of mutations plus `_MUTATION_COST` for each. A snapshot is due after at
  least `_MIN_MUTATIONS` and a quarter of the state's size in cost, so writing snapshots costs a constant factor of
  writing the log, and reading the head costs a constant factor of reading the state.
- A snapshot is kept for good if the log has grown by the state's size in cost since the last kept one; another is
  dropped when the next is written. So reading far back is bounded like reading the head, and disk by the log.
- The rule sees only counters of the log record: replicas have the same snapshots.
- Nothing is believed unseen: a snapshot bears a digest (its sum covers all but the state, which the digest covers), and
  each replayed mutation must continue the hash chain.
"""

from __future__ import annotations

import hashlib
import struct
from contextlib import closing
from dataclasses import dataclass
from typing import Final, NamedTuple

from tallystick.errors import Refused
from tallystick_node.core.chain import NO_HASH, hash_mutation
from tallystick_node.core.document import Document
from tallystick_node.core.operations import apply_operation
from tallystick_node.core.tables import LogRecord
from tallystick_node.core.values import canonical_json, load_json
from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.sql import Sql
from tallystick_node.storage.sums import check_sum, row_sum
from tallystick_node.wire.errors import WireError
from tallystick_node.wire.mutations import decode_mutation

_MIN_MUTATIONS: Final = 128
_MUTATION_COST: Final = 256
_HEAD_SHARE: Final = 4


class Marks(NamedTuple):
    """Where a log's newest snapshot and its newest kept one are: seq, and the cost of the log up to there."""

    newest_seq: int = 0
    newest_cost: int = 0
    kept_seq: int = 0
    kept_cost: int = 0


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A state as it was at a seq: the hash of the mutation there, and how many mutations were replayed."""

    document: Document
    hash: bytes
    replayed: int


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
    if cost - marks.kept_cost >= log.state_bytes:
        return Marks(log.seq, cost, log.seq, cost)
    return marks._replace(newest_seq=log.seq, newest_cost=cost)


def rebuild(sql: Sql, log_number: int, seq: int) -> Rebuilt:
    """The state at a seq: the newest snapshot at or before it, and the mutations from there on.

    Raises:
        DatabaseDamaged: what is stored does not fit together.
    """
    document, chained, at = _load(sql, log_number, seq)
    start = at
    mutations = sql.each(
        "SELECT seq, time_unix_ms, actor, hash, body FROM events"
        " WHERE kind = 1 AND log = ? AND seq > ? AND seq <= ? ORDER BY seq",
        (log_number, at, seq),
    )
    with closing(mutations):
        for found, time_unix_ms, actor, stored_hash, raw in mutations:
            at += 1
            if found != at or not _continues(chained, at, time_unix_ms, actor, stored_hash, raw):
                raise DatabaseDamaged(sql.path, f"log {log_number}: the hash chain breaks at seq {at}")
            _replay(sql, log_number, at, document, raw)
            chained = stored_hash
    if at != seq:
        raise DatabaseDamaged(sql.path, f"log {log_number} ends at seq {at}, not at {seq}")
    return Rebuilt(document, chained, at - start)


def _load(sql: Sql, log_number: int, seq: int) -> tuple[Document, bytes, int]:
    row = sql.row(
        "SELECT log, seq, hash, digest, state, sum FROM snapshots WHERE log = ? AND seq <= ? ORDER BY seq DESC LIMIT 1",
        (log_number, seq),
    )
    if row is None:
        return Document.empty(), NO_HASH, 0
    log, at, chained, digest, state, stored = row
    check_sum(sql.path, f"log {log_number}: the snapshot at seq {at}", stored, log, at, chained, digest)
    if log != log_number or at > seq:
        raise DatabaseDamaged(sql.path, f"log {log_number}: looking for a snapshot leads to another")
    if type(state) is not bytes or hashlib.sha256(state).digest() != digest:
        raise DatabaseDamaged(sql.path, f"log {log_number}: the snapshot at seq {at} is not what was written")
    return Document(load_json(state), len(state)), chained, at


def _continues(previous: bytes, seq: int, time_unix_ms: int, actor: str, stored_hash: bytes, raw: bytes) -> bool:
    try:
        return hash_mutation(previous, seq, time_unix_ms, actor.encode(), raw) == stored_hash
    except (AttributeError, TypeError, struct.error):
        return False  # damage changed a type or a sign


def _replay(sql: Sql, log_number: int, seq: int, document: Document, raw: bytes) -> None:
    try:
        for operation in decode_mutation(raw).operations:
            apply_operation(document, operation)
    except (Refused, WireError) as error:
        raise DatabaseDamaged(sql.path, f"log {log_number}: seq {seq} cannot be applied: {error}") from error
    document.commit()
