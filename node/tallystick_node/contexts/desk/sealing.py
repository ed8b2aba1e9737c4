"""What was sealed, as the base of an epoch says it, and what a node had beyond that.

Rules of this file:
- A base says in the reserved root what it was made of: the state vector, and what was deleted. If that is more than
  `SEALED_DELETES_BYTES`, only the state vector: deletions beyond the seal are then lost.
- An update beyond the seal has ids that were not sealed, or does nothing but delete, and something that was not
  deleted. What straddles the seal counts as beyond.
- The content at the seal is known here only if what lies within it is all of it, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from pycrdt import Map

from tallystick.v1 import context_pb2
from tallystick_node.contexts.desk.crdt import Crdt
from tallystick_node.contexts.desk.library import Loaded
from tallystick_node.contexts.desk.rendering import RESERVED_ROOT
from tallystick_node.contexts.desk.rows import Entry, Rows
from tallystick_node.contexts.updates import deletes as deletions
from tallystick_node.contexts.updates import state_vectors
from tallystick_node.contexts.updates.decode import decode
from tallystick_node.contexts.updates.deletes import Deletes

SEALED_DELETES_BYTES: Final = 8 * 1024
"""What a base says of deletions at most: every replica holds it until the next epoch."""

_VECTOR: Final = "sealed"
_DELETES: Final = "sealed_deletes"
"""Keys in the reserved root."""


class Sealed(NamedTuple):
    """What a base was made of."""

    vector: Mapping[int, int]
    deletes: Deletes | None
    """None: it does not say."""


class Late(NamedTuple):
    """An update beyond the seal."""

    update: bytes
    edit: context_pb2.Edit | None
    """None: several are in it."""


class Beyond(NamedTuple):
    """A document, parted by a seal."""

    old_state: bytes
    """The content at the seal; empty: it is not known here."""
    state: bytes
    """What lies within the seal here; nothing is said if that is all."""
    later: tuple[Late, ...]
    """The rest, in the order in which it came."""


def mark(crdt: Crdt, vector: Mapping[int, int], deletes: Deletes) -> None:
    """Says in a base what was sealed. pycrdt may raise anything."""
    marks: Map[object] = crdt.doc.get(RESERVED_ROOT, type=Map)
    marks[_VECTOR] = state_vectors.encode(vector)
    encoded = deletions.encode(deletes)
    if len(encoded) <= SEALED_DELETES_BYTES:
        marks[_DELETES] = encoded


def sealed_of(base: bytes) -> Sealed:
    """What a base says. Raises CrdtFailed; Invalid: it is damaged."""
    crdt = Crdt()
    crdt.apply_all((base,))
    marks: Map[object] = crdt.doc.get(RESERVED_ROOT, type=Map)
    vector, deletes = (_bytes_at(marks, key) for key in (_VECTOR, _DELETES))
    return Sealed(
        {} if vector is None else state_vectors.decode(vector), None if deletes is None else deletions.decode(deletes)
    )


def parted(rows: Rows, before: Loaded, base: bytes) -> Beyond:
    """A document that is loaded, parted by the seal of the epoch that follows. Raises RowDamaged, CrdtFailed."""
    sealed = sealed_of(base)
    if before.vector == sealed.vector and sealed.deletes in (None, before.crdt.deletes()):
        return Beyond(before.crdt.encode(), b"", ())
    within = Crdt()
    later: list[Late] = []
    row = before.row
    if (found := rows.state(row.life, row.base_number)) is not None:
        within.apply_all((found[1],))
    several = False
    for entry in rows.entries(row.life, row.base_number, row.number):
        if entry.data is None:
            several = True
            continue
        if _is_within(entry.data, sealed):
            within.apply_all((entry.data,))
        else:
            later.append(Late(entry.data, None if several else _edit_of(entry)))
        several = False
    state = within.encode()
    is_all = within.vector() == sealed.vector and sealed.deletes in (None, within.deletes())
    return Beyond(state if is_all else b"", b"" if not later else state, tuple(later))


def _edit_of(entry: Entry) -> context_pb2.Edit:
    edit = entry.to_edit()
    for field in ("number", "flags"):
        edit.ClearField(field)
    return edit


def _is_within(update: bytes, sealed: Sealed) -> bool:
    decoded = decode(update)
    ranges = {writer: some[-1][1] for writer, some in decoded.ranges.items() if some}
    if any(end > sealed.vector.get(writer, 0) for writer, end in ranges.items()):
        return False
    return bool(ranges) or sealed.deletes is None or not deletions.minus(decoded.deletes, sealed.deletes)


def _bytes_at(marks: Map[object], key: str) -> bytes | None:
    value = marks.get(key) if key in marks else None
    return bytes(value) if isinstance(value, (bytes, bytearray)) else None
