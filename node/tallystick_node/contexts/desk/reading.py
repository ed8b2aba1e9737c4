"""What a document is, was, and who made it: answers that change nothing.

Rules of this file:
- A document that is not stored is an empty one: whether it exists is decided elsewhere.
- A page of history is bounded by the caller and by `HISTORY_PAGE_AT_MOST`.
"""

from __future__ import annotations

from tallystick.errors import Compacted, Invalid, NotFound, Reason
from tallystick.v1 import context_pb2
from tallystick.worker.v1 import worker_pb2
from tallystick_node.contexts.desk import limits as own
from tallystick_node.contexts.desk.answers import cursor_of
from tallystick_node.contexts.desk.crdt import Crdt
from tallystick_node.contexts.desk.library import Library, Loaded
from tallystick_node.contexts.desk.parts import Outgoing
from tallystick_node.contexts.desk.rendering import render
from tallystick_node.contexts.desk.rows import Rows
from tallystick_node.contexts.ids import ContextId
from tallystick_node.contexts.updates import admission, state_vectors
from tallystick_node.contexts.updates import deletes as deletions


class Reader:
    """Answers from the documents of a library."""

    def __init__(self, rows: Rows, library: Library, outgoing: Outgoing) -> None:
        self._rows = rows
        self._library = library
        self._outgoing = outgoing

    def diff(self, diff: worker_pb2.Diff) -> worker_pb2.Data:
        """What a state vector lacks. Raises Invalid, Overloaded, and as `Library.open` and `at`."""
        loaded = self._library.open(ContextId.of(diff.id))
        # Decoded and encoded again: pycrdt is given no bytes of others.
        vector = state_vectors.decode(diff.state_vector)
        crdt = self.at(loaded, diff.at) if diff.HasField("at") else loaded.crdt
        data = self._outgoing.first(crdt.encode(state_vectors.encode(vector)))
        if not diff.HasField("at"):
            data.cursor.CopyFrom(cursor_of(loaded))
        if diff.with_edits:
            data.edits.extend(self._edits_behind(loaded, vector))
        return data

    def _edits_behind(self, loaded: Loaded, vector: dict[int, int]) -> list[context_pb2.Edit]:
        row = loaded.row
        found = []
        for entry in self._rows.entries(
            row.life, row.base_number, row.number, limit=own.EDITS_LOOKED_AT, newest_first=True
        ):
            edit = entry.to_edit()
            if edit.end_clock > vector.get(edit.writer, 0) or (edit.deletes and edit.clock == edit.end_clock):
                found.append(edit)
            if len(found) == own.EDITS_OF_DIFF:
                break
        return found[::-1]

    def describe(self, document: ContextId) -> worker_pb2.Described:
        """Its size and its cursor. Raises as `Library.open`."""
        loaded = self._library.open(document)
        size = loaded.size_bytes
        if size <= own.EXACT_BYTES:
            size = len(loaded.crdt.encode())
        stored = loaded.row.log_bytes + self._rows.state_bytes(loaded.row.life)
        return worker_pb2.Described(
            size=context_pb2.ContextSize(
                document_bytes=size,
                stored_bytes=stored,
                updates=loaded.row.number - loaded.row.base_number,
                writers=len(loaded.vector),
                tombstones=deletions.count(loaded.crdt.deletes()),
            ),
            cursor=cursor_of(loaded),
            digest=loaded.take_digest() if loaded.vector else b"",
        )

    def as_json(self, request: worker_pb2.AsJson) -> worker_pb2.Data:
        """The roots as JSON text. Raises Invalid, Overloaded, and as `Library.open` and `at`."""
        if request.content:
            crdt = content_of(request.content)
            return self._outgoing.first(render(crdt))
        loaded = self._library.open(ContextId.of(request.id))
        if request.HasField("at"):
            return self._outgoing.first(render(self.at(loaded, request.at)))
        data = self._outgoing.first(render(loaded.crdt))
        data.cursor.CopyFrom(cursor_of(loaded))
        return data

    def at(self, loaded: Loaded, at: context_pb2.At) -> Crdt:
        """A copy of a document as it was.

        Raises:
            NotFound: SEQ_NOT_FOUND, it has no such number yet.
            Compacted: it is older than what is kept.
            Invalid: a version: that is decided, so the caller has its content.
        """
        row = loaded.row
        if at.WhichOneof("at") == "number":
            number = at.number
            if number > row.number:
                raise NotFound(f"the update log ends at {row.number}", reason=Reason.SEQ_NOT_FOUND)
        elif at.WhichOneof("at") == "time_unix_ms":
            number = self._rows.number_at(row, at.time_unix_ms)
        else:
            raise Invalid("a number or a time is needed", reason=Reason.INVALID_REQUEST)
        if number < row.base_number:
            raise Compacted(f"the history begins at {row.base_number}", metadata={"oldest": str(row.base_number)})
        return self._library.at(row, number)

    def history(self, history: worker_pb2.History) -> context_pb2.HistoryResponse:
        """A page of edits. Raises as `Library.open`."""
        row = self._library.open(ContextId.of(history.id)).row
        limit = min(history.limit or own.HISTORY_PAGE, own.HISTORY_PAGE_AT_MOST)
        after = max(history.after_number, row.base_number)
        entries = self._rows.entries(row.life, after, row.number, actor=history.actor, limit=limit + 1)
        edits = [entry.to_edit() for entry in entries]
        return context_pb2.HistoryResponse(
            edits=edits[:limit], more=len(edits) > limit, first_number=row.base_number + 1
        )


def content_of(update: bytes) -> Crdt:
    """A document of its own, of an update that holds a whole one. Raises Invalid, QuotaExceeded, CrdtFailed."""
    bounds = admission.Bounds(update_bytes=own.DIFF_BYTES, writers=own.PEER_WRITERS)
    if admission.admit(update, {}, origin=admission.Origin.PEER, bounds=bounds).lacks:
        raise Invalid("the update is not a whole document", reason=Reason.MALFORMED_UPDATE)
    crdt = Crdt()
    crdt.apply_all((update,))
    return crdt
