"""Cursors: what a replica holds, and whether this node's document has all of that.

Rules of this file:
- A document covers a cursor if its state vector does, and the deletions are the same or this node has the update log
  that the cursor's number is of, up to that number: its own, or another node's as far as `peers` knows.
- A number alone is not believed where there is a state vector too, and never one of a log of another name: a node whose
  documents were put back to an older state gives numbers again, under another name.
- Deletions do not show in state vectors. A cursor that names a log and no digest is covered by that log alone; one that
  names neither says nothing of deletions.
- A cursor of an older epoch is covered: each epoch begins with what all voters had, and what a node had beyond that it
  carried over. One of a newer epoch is not: this node's log is behind.
"""

from __future__ import annotations

from tallystick.v1 import context_pb2
from tallystick_node.contexts.hub.coverage import Coverage
from tallystick_node.contexts.ids import ContextId
from tallystick_node.contexts.updates import state_vectors


def is_covered(
    present: context_pb2.Cursor, document: ContextId, wanted: context_pb2.Cursor, node_id: str, coverage: Coverage
) -> bool:
    """Whether a document of this node, whose cursor is `present`, has what `wanted` says.

    Raises:
        Invalid: MALFORMED_UPDATE, no state vector.
    """
    if wanted.epoch and wanted.epoch < document.epoch:
        return True
    if wanted.epoch > document.epoch:
        return False
    if not (wanted.state_vector or wanted.number or wanted.deletes_digest):
        return True
    held, asked = state_vectors.decode(present.state_vector), state_vectors.decode(wanted.state_vector)
    if not state_vectors.covers(held, asked):
        return False
    if wanted.number and wanted.node_id == node_id:
        if present.log == wanted.log and present.number >= wanted.number:
            return True
    elif wanted.number and coverage.holds(wanted.node_id, document, wanted.number, wanted.log):
        return True
    says_deletions = bool(wanted.deletes_digest)
    if says_deletions and present.deletes_digest != wanted.deletes_digest:
        return False
    return says_deletions or not wanted.number
