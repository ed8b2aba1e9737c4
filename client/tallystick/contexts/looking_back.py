"""What changed since a cursor: from what the replica remembers, or else from what a node does.

Rules of this file:
- The replica's rows say who made what: the document of the cursor is built again, and the rows after it are applied one
  by one while somebody watches.
- A row that only deletes shows in no state vector: it counts as after the cursor once the cursor is reached. So a
  deletion may be told twice, and is never missed.
- Older than the rows: the node whose number the cursor carries is asked for the document as it was then, and authors
  come from its blame, as far as it knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tallystick.contexts.changes import Author, Change
from tallystick.contexts.cursor import Cursor
from tallystick.contexts.documents import Document, SharedType, guarded
from tallystick.contexts.lib0 import covers, read_state_vector
from tallystick.contexts.rebase import SCRATCH
from tallystick.contexts.records import BlameLine
from tallystick.contexts.rows import Kept, Row
from tallystick.contexts.watching import Watcher


def changes_since(kept: Kept, cursor: Cursor, types: Mapping[str, SharedType], actor: str) -> list[Change] | None:
    """What changed after the cursor; None: the rows do not reach back so far.

    Args:
        types: what the roots are.
        actor: of this replica.

    Raises:
        Corrupt: the rows do not fit together.
    """
    wanted = read_state_vector(cursor.state_vector)
    doc = _document(types, [kept.base])
    if not covers(wanted, read_state_vector(doc.get_state())):
        return None
    told: list[Change] = []
    watcher = Watcher(doc, told.extend)
    changes: list[Change] = []
    try:
        before = read_state_vector(doc.get_state())
        for row in kept.rows:
            was_reached = covers(before, wanted)
            with guarded():
                doc.apply_update(row.update)
            after = read_state_vector(doc.get_state())
            is_new = not covers(wanted, after) if after != before else was_reached
            if is_new:
                changes += [change.by(_author(row, actor)) for change in told]
            told.clear()
            before = after
    finally:
        watcher.close()
    return changes


def changes_between(
    old: bytes, new: bytes, types: Mapping[str, SharedType], blame: Sequence[BlameLine]
) -> list[Change]:
    """How one state of a document becomes a later one, by those whom the blame names.

    Raises:
        Corrupt: the states do not fit.
    """
    doc = _document(types, [old])
    told: list[Change] = []
    watcher = Watcher(doc, told.extend)
    try:
        with guarded():
            doc.apply_update(new)
    finally:
        watcher.close()
    by_path = {line.path: line.edit for line in blame}
    changes = []
    for change in told:
        edit = by_path.get(change.path)
        author = Author() if edit is None else Author(edit.actor, edit.cause, edit.time_unix_ms, edit.node_id)
        changes.append(change.by(author))
    return changes


def _document(types: Mapping[str, SharedType], updates: Sequence[bytes]) -> Document:
    doc = Document(SCRATCH)
    with guarded():
        for update in updates:
            if update:
                doc.apply_update(update)
    for name, sample in types.items():
        doc.get(name, type=type(sample))
    return doc


def _author(row: Row, actor: str) -> Author:
    return Author(row.actor or (actor if row.is_local else ""), row.cause, row.time_unix_ms, row.node_id, row.is_local)
