"""Merging an update: checked, applied, put into the log.

Rules of this file:
- pycrdt sees nothing that was not admitted. If it fails all the same, the document in memory is dropped, and loaded
  again from what is stored; nothing of the update is.
- What is known already is neither applied nor stored; what needs what is not here is not applied. Of an update that
  repeats what is known, a client's, only what was new is stored and handed on: a node that does not know the rest yet
  would believe what it says of that.
- Quotas bind clients. What another node has merged is merged here too, or the two would never be equal.
- The log says who made what: a row for each edit, the last of which has the bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from tallystick.errors import Invalid, QuotaExceeded, Reason
from tallystick.v1 import context_pb2
from tallystick.worker.v1 import worker_pb2
from tallystick_node.contexts import limits
from tallystick_node.contexts.desk import limits as own
from tallystick_node.contexts.desk import standing
from tallystick_node.contexts.desk.crdt import CrdtFailed
from tallystick_node.contexts.desk.library import Library, Loaded, damaged
from tallystick_node.contexts.desk.overlapping import OverlapFinder
from tallystick_node.contexts.desk.rows import LAST_NUMBER, Rows
from tallystick_node.contexts.desk.schemas import Schemas
from tallystick_node.contexts.updates import deletes as deletions
from tallystick_node.contexts.updates import state_vectors
from tallystick_node.contexts.updates.admission import Admitted, Bounds, Origin, admit

ORIGINS: Final[Mapping[worker_pb2.Origin.ValueType, Origin]] = {
    worker_pb2.ORIGIN_CLIENT: Origin.CLIENT,
    worker_pb2.ORIGIN_WEB: Origin.WEB,
    worker_pb2.ORIGIN_PEER: Origin.PEER,
    worker_pb2.ORIGIN_SEED: Origin.SEED,
}

_CLIENT_BOUNDS: Final = Bounds()
_BOUNDS: Final[Mapping[Origin, Bounds]] = {
    Origin.CLIENT: _CLIENT_BOUNDS,
    Origin.WEB: _CLIENT_BOUNDS,
    Origin.PEER: Bounds(update_bytes=own.DIFF_BYTES, writers=own.PEER_WRITERS),
    Origin.SEED: Bounds(update_bytes=limits.DOCUMENT_BYTES),
}
_BOUND: Final = frozenset((Origin.CLIENT, Origin.WEB))
"""Whom the quota binds."""
_NO_DELETES: Final = b"\x00"


class Merger:
    """Merges into the documents of a library."""

    def __init__(self, rows: Rows, library: Library) -> None:
        self._rows = rows
        self._library = library
        self.overlaps = OverlapFinder(rows)
        self.schemas = Schemas()

    def merge(
        self,
        loaded: Loaded,
        update: bytes,
        origin: Origin,
        edit: context_pb2.Edit,
        now_unix_ms: int,
        *,
        edits: Sequence[context_pb2.Edit] = (),
        web_writers: Sequence[int] = (),
        schema: bytes = b"",
        may_clash: bool = False,
    ) -> worker_pb2.Merged:
        """Merges an update into a document.

        Args:
            edit: who made it; the rest of it is found out.
            edits: who made what, of what several made.
            schema: of the context; what breaks it is flagged.
            may_clash: what was merged before, and is made again here, is not refused for the schema.

        Raises:
            Invalid, QuotaExceeded: as `admit`; CONTEXT_QUOTA; as `standing.judge`; TYPE_CLASH, as `Schemas.check`;
                MALFORMED_UPDATE where pycrdt failed.
            Unavailable: CONTEXT_DAMAGED.
            DiskFull: and then nothing of the batch counts.
        """
        known = loaded.vector
        is_compared = len(update) <= own.OVERLAP_UPDATE_BYTES and origin is not Origin.SEED
        is_judged = origin in _BOUND and standing.is_judged(loaded, update)
        has_structs = is_compared or is_judged or (bool(schema) and origin in _BOUND)
        admitted = admit(
            update, known, origin=origin, writer=edit.writer, web_writers=web_writers, bounds=_BOUNDS[origin],
            with_structs=has_structs,
        )  # fmt: skip
        if admitted.lacks:
            return worker_pb2.Merged(
                number=loaded.row.number, lacks_state_vector=state_vectors.encode(loaded.vector) or b"\x00"
            )
        claims = sorted(admitted.claims)
        deleted = judged = None
        if admitted.is_novel:
            self._check_quota(loaded, update, origin)
            if schema and origin in _BOUND and not may_clash:
                self.schemas.check(schema, admitted.update)
            if is_judged:
                standing.judge(loaded, admitted, known)
            else:
                standing.follow(loaded, admitted, known, has_structs=has_structs)
            row = loaded.row
            judged = self.schemas.before(schema, row.life, row.number, loaded.size_bytes + len(update), loaded.crdt)
            deleted = self._apply(loaded, update, admitted)
        if deleted is None:
            return worker_pb2.Merged(
                number=loaded.row.number, state_vector=loaded.crdt.state_vector(), web_writers=claims
            )
        taken = self._taken(loaded, known) if admitted.repeats and origin in _BOUND else update
        self._library.bear(loaded)
        if judged is not None and not edits:
            del edit.flags[:]
            edit.flags.extend(self.schemas.flags(schema, loaded.row.life, loaded.row.number + 1, loaded.crdt, judged))
        stored = self._store(loaded, taken, admitted, deleted, edit, edits, now_unix_ms)
        if is_compared:
            self.overlaps.note(loaded.row, admitted.update, known, _author_of(admitted, edit, edits))
        is_checked = len(loaded.vector) <= own.CHECKED_WRITERS
        return worker_pb2.Merged(
            is_novel=True,
            number=loaded.row.number,
            state_vector=state_vectors.encode(loaded.vector) if is_checked else loaded.crdt.state_vector(),
            edit=stored,
            web_writers=claims,
            update=taken if taken is not update else b"",
        )

    def _taken(self, loaded: Loaded, known: Mapping[int, int]) -> bytes:
        """What was taken of an update that carries clocks that were known: what it says of those may be a lie."""
        try:
            return loaded.crdt.encode(state_vectors.encode(known))
        except CrdtFailed as error:
            self._library.drop(loaded.id.guid)
            raise Invalid(f"pycrdt refuses the update: {error}", reason=Reason.MALFORMED_UPDATE) from error

    def _check_quota(self, loaded: Loaded, update: bytes, origin: Origin) -> None:
        if loaded.row.number >= LAST_NUMBER - own.PEER_WRITERS:
            raise _quota("a document takes no more updates")
        if origin not in _BOUND or loaded.size_bytes + len(update) <= limits.DOCUMENT_BYTES:
            return
        if loaded.state_number < loaded.row.number:
            self.store_state(loaded)
        if loaded.size_bytes + len(update) > limits.DOCUMENT_BYTES:
            raise _quota(f"a document holds {limits.DOCUMENT_BYTES} bytes")

    def _apply(self, loaded: Loaded, update: bytes, admitted: Admitted) -> bytes | None:
        """What came to be deleted, encoded; None if nothing changed."""
        try:
            deleted = loaded.crdt.apply(update)
            if len(admitted.after) <= own.CHECKED_WRITERS or (deleted is None and admitted.written):
                loaded.crdt.check_vector(admitted.after)
        except CrdtFailed as error:
            self._library.drop(loaded.id.guid)
            raise Invalid(f"pycrdt refuses the update: {error}", reason=Reason.MALFORMED_UPDATE) from error
        loaded.vector = admitted.after
        return deleted

    def _store(
        self,
        loaded: Loaded,
        update: bytes,
        admitted: Admitted,
        deleted: bytes,
        edit: context_pb2.Edit,
        edits: Sequence[context_pb2.Edit],
        now_unix_ms: int,
    ) -> context_pb2.Edit:
        row = loaded.row
        row.merged_unix_ms = max(row.merged_unix_ms, now_unix_ms)
        known = list(self._known_deleting(loaded)) if any(_is_deleting(other) for other in edits) else []
        deletes = deletions.count(deletions.decode(deleted)) if deleted != _NO_DELETES else 0
        found = list(_edits_of(admitted, deletes, edit, edits, known))
        for other in found:
            row.number += 1
            other.merged_unix_ms = row.merged_unix_ms
            other.ClearField("number")
            self._rows.add(row.life, row.number, other, update if other is found[-1] else None)
        row.log_bytes += len(update)
        loaded.tail_updates += 1
        loaded.tail_bytes += len(update)
        stored = context_pb2.Edit()
        stored.CopyFrom(found[-1])
        stored.number = row.number
        return stored

    def _known_deleting(self, loaded: Loaded) -> Iterable[tuple[object, ...]]:
        row = loaded.row
        entries = self._rows.entries(
            row.life, row.base_number, row.number, limit=own.DELETING_EDITS_COMPARED, newest_first=True
        )
        for entry in entries:
            other = entry.to_edit()
            if _is_deleting(other):
                yield _identity(other)

    def store_state(self, loaded: Loaded) -> None:
        """Stores the document as it is, so that it is loaded from there. Raises Unavailable: CONTEXT_DAMAGED."""
        row = loaded.row
        try:
            loaded.crdt.check_vector(loaded.vector)
            state = loaded.crdt.encode()
        except CrdtFailed as error:
            self._library.drop(loaded.id.guid)
            raise damaged(loaded.id.guid) from error
        self._rows.put_state(row.life, row.number, state)
        self._rows.drop_states(row.life, row.base_number, row.number)
        loaded.state_number, loaded.state_bytes = row.number, len(state)
        loaded.tail_updates = loaded.tail_bytes = 0


def _author_of(admitted: Admitted, edit: context_pb2.Edit, edits: Sequence[context_pb2.Edit]) -> int | None:
    """The one writer whose edit it is; None: there are several, or nobody knows."""
    writers = set(admitted.written) | {other.writer for other in edits}
    return writers.pop() if len(writers) == 1 else edit.writer or None if not writers else None


def _edits_of(
    admitted: Admitted,
    deletes: int,
    edit: context_pb2.Edit,
    edits: Sequence[context_pb2.Edit],
    known_deleting: Sequence[tuple[object, ...]],
) -> Iterable[context_pb2.Edit]:
    """The edits of an update: those that are told, where they are new; and for what nobody is named, `edit`."""
    left = dict(admitted.written)
    known = set(known_deleting)
    for other in sorted(edits[-own.EDITS_OF_DIFF :], key=lambda other: (other.writer, other.clock)):
        if _is_deleting(other):
            if deletes and _identity(other) not in known:
                yield _copy(other)
            continue
        start, end = left.get(other.writer, (0, 0))
        first, last = max(start, other.clock), min(end, other.end_clock)
        if first >= last:
            continue
        if start < first:
            yield _part(edit, other.writer, start, first, 0)
        yield _part(other, other.writer, first, last, other.deletes)
        left[other.writer] = (last, end)
    rest = [(writer, start, end) for writer, (start, end) in left.items() if start < end]
    if len(rest) > own.EDITS_OF_DIFF:
        rest = rest[: own.EDITS_OF_DIFF]
    if not rest and not edits:
        rest = [(edit.writer, admitted.after.get(edit.writer, 0), admitted.after.get(edit.writer, 0))]
    for writer, start, end in rest:
        yield _part(edit, writer, start, end, 0 if edits else deletes)
    if not rest and edits:
        # The row that has the bytes comes last, whoever made what is in them.
        yield _part(edit, 0, 0, 0, 0)


def _is_deleting(edit: context_pb2.Edit) -> bool:
    return edit.deletes > 0 and edit.clock >= edit.end_clock


def _identity(edit: context_pb2.Edit) -> tuple[object, ...]:
    return (edit.writer, edit.clock, edit.deletes, edit.actor, edit.time_unix_ms, edit.node_id)


def _copy(edit: context_pb2.Edit) -> context_pb2.Edit:
    copy = context_pb2.Edit()
    copy.CopyFrom(edit)
    return copy


def _part(edit: context_pb2.Edit, writer: int, clock: int, end_clock: int, deletes: int) -> context_pb2.Edit:
    copy = _copy(edit)
    copy.writer, copy.clock, copy.end_clock, copy.deletes = writer, clock, end_clock, deletes
    return copy


def _quota(message: str) -> QuotaExceeded:
    return QuotaExceeded(message, reason=Reason.CONTEXT_QUOTA, metadata={"limit": str(limits.DOCUMENT_BYTES)})
