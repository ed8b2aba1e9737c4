"""How a state is rebuilt: from the newest snapshot before it, and the mutations from there on.

Rules of this file:
- Nothing is believed unseen: a snapshot bears a digest (its sum covers all but the state, which the digest covers), and
  each replayed mutation must continue the hash chain.
- A state that is kept for good (`anchoring.py`) serves as a snapshot does. Who asks for a state before the anchor of a
  log knows that it is kept.
- A branch that has no snapshot of its own is rebuilt from its parent's, and its mutations continue its parent's chain.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import TypeAlias

from tallystick.errors import Refused
from tallystick_node.core.chain import NO_HASH, hash_mutation
from tallystick_node.core.document import Document
from tallystick_node.core.operations import apply_operation
from tallystick_node.core.values import load_json
from tallystick_node.storage.anchoring import kept_state
from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.lineage import Stretch
from tallystick_node.storage.sql import Sql
from tallystick_node.storage.sums import check_sum
from tallystick_node.wire.errors import WireError
from tallystick_node.wire.mutations import decode_mutation


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A state as it was at a seq: the hash of the mutation there, and how many mutations were replayed."""

    document: Document
    hash: bytes
    replayed: int


_Start: TypeAlias = tuple[Document, bytes, int]
"""A state to begin with, the hash of its last mutation, and its seq."""


def rebuild(sql: Sql, line: Sequence[Stretch], seq: int) -> Rebuilt:
    """The state at a seq: the newest snapshot at or before it, and the mutations from there on.

    Raises:
        DatabaseDamaged: what is stored does not fit together.
    """
    stretches: list[tuple[int, int]] = []  # log numbers, and up to where they are replayed; newest first
    start: _Start | None = None
    for log, last_seq, _ in line:
        upto = min(seq, last_seq)
        if upto > log.fork_seq:
            stretches.append((log.number, upto))
        if upto >= log.fork_seq:
            start = _newest_start(sql, log.number, upto)
        if start is not None:
            break
    document, chained, first = start or (Document.empty(), NO_HASH, 0)
    at = first
    for log_number, upto in reversed(stretches):
        chained, at = _replay_stretch(sql, log_number, (at, upto), document, chained)
    return Rebuilt(document, chained, at - first)


def _replay_stretch(
    sql: Sql, log_number: int, seqs: tuple[int, int], document: Document, chained: bytes
) -> tuple[bytes, int]:
    """Apply one log's mutations after the one seq up to the other; the hash, and the seq, that they lead to."""
    at, last = seqs
    mutations = sql.each(
        "SELECT seq, time_unix_ms, actor, hash, body FROM events"
        " WHERE kind = 1 AND log = ? AND seq > ? AND seq <= ? ORDER BY seq",
        (log_number, at, last),
    )
    with closing(mutations):
        for found, time_unix_ms, actor, stored_hash, raw in mutations:
            at += 1
            if found != at or not _continues(chained, at, time_unix_ms, actor, stored_hash, raw):
                raise DatabaseDamaged(sql.path, f"log {log_number}: the hash chain breaks at seq {at}")
            _replay(sql, log_number, at, document, raw)
            chained = stored_hash
    if at != last:
        raise DatabaseDamaged(sql.path, f"log {log_number} ends at seq {at}, not at {last}")
    return chained, at


def _newest_start(sql: Sql, log_number: int, seq: int) -> _Start | None:
    """The newest snapshot or kept state of a log up to a seq; None: it has none."""
    snapshot, kept = _load(sql, log_number, seq), kept_state(sql, log_number, seq)
    if kept is None or (snapshot is not None and snapshot[2] >= kept.point.seq):
        return snapshot
    return Document(load_json(kept.state), len(kept.state)), kept.point.hash, kept.point.seq


def _load(sql: Sql, log_number: int, seq: int) -> _Start | None:
    """The newest snapshot of a log up to a seq; None: it has none."""
    row = sql.row(
        "SELECT log, seq, hash, digest, state, sum FROM snapshots WHERE log = ? AND seq <= ? ORDER BY seq DESC LIMIT 1",
        (log_number, seq),
    )
    if row is None:
        return None
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
