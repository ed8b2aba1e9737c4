"""Restore: the content as it was, as one new edit.

Rules of this file:
- The difference is made in a copy, under a writer id that nobody used, and merged as any edit is: what it writes is
  bounded as an edit is, and what others edit meanwhile merges with it.
- Asked again under the same writer id, nothing is done again.
- What the reserved root says stays: kinds are never taken back, others may be writing by them.
"""

from __future__ import annotations

from pycrdt import Map

from tallystick.errors import Conflict, Reason
from tallystick.worker.v1 import worker_pb2
from tallystick_node.contexts.desk import limits as own
from tallystick_node.contexts.desk.copying import fill
from tallystick_node.contexts.desk.crdt import Crdt, guarded
from tallystick_node.contexts.desk.differing import empty, make_equal
from tallystick_node.contexts.desk.library import Library, Loaded
from tallystick_node.contexts.desk.merging import Merger
from tallystick_node.contexts.desk.reading import Reader, content_of
from tallystick_node.contexts.desk.rendering import RESERVED_ROOT, check_readable, roots_of
from tallystick_node.contexts.desk.rows import Rows
from tallystick_node.contexts.ids import ContextId
from tallystick_node.contexts.updates.admission import Origin


class Restorer:
    """Restores the documents of a library."""

    def __init__(self, rows: Rows, library: Library, merger: Merger, reader: Reader) -> None:
        self._rows = rows
        self._library = library
        self._merger = merger
        self._reader = reader

    def restore(self, restore: worker_pb2.Restore) -> worker_pb2.Done:
        """Makes the content what it was; whether that changed anything, and the edit.

        Raises:
            NotFound, Compacted: as `Reader.at`.
            Conflict: WRITER_IN_USE, something else was written under the writer id.
            Invalid: INVALID_VALUE, a list cannot be read; TOO_LARGE, the difference is more than one edit may write.
            QuotaExceeded, Unavailable: as `Merger.merge`.
        """
        loaded = self._library.open(ContextId.of(restore.id))
        edit = restore.edit
        edit.writer = restore.writer
        if restore.writer in loaded.vector:
            return self._done_before(loaded, restore)
        if restore.WhichOneof("to") == "content":
            wanted = content_of(restore.content)
        else:
            wanted = self._reader.at(loaded, restore.at)
        made = self._difference(loaded, wanted, restore.writer)
        merged = self._merger.merge(
            loaded, made, Origin.CLIENT, edit, restore.now_unix_ms, schema=restore.schema, may_clash=True
        )
        if merged.is_novel:
            merged.update = made
        return worker_pb2.Done(changed=merged.is_novel, merged=merged)

    def _difference(self, loaded: Loaded, wanted: Crdt, writer: int) -> bytes:
        check_readable(wanted)
        copy = Crdt(writer)
        try:
            copy.apply_all((loaded.crdt.encode(),))
            check_readable(copy)
            before = copy.state_vector()
            guarded(_restore_roots, copy, wanted)
            return copy.encode(before)
        finally:
            copy.close()
            wanted.close()

    def _done_before(self, loaded: Loaded, restore: worker_pb2.Restore) -> worker_pb2.Done:
        row, edit = loaded.row, restore.edit
        for entry in self._rows.entries(
            row.life, row.base_number, row.number, actor=edit.actor, limit=own.EDITS_LOOKED_AT, newest_first=True
        ):
            known = entry.to_edit()
            if known.writer == restore.writer:
                is_all = known.clock == 0 and known.end_clock == loaded.vector[restore.writer]
                if not is_all or known.cause != edit.cause:
                    break
                merged = worker_pb2.Merged(number=row.number, state_vector=loaded.crdt.state_vector(), edit=known)
                return worker_pb2.Done(changed=True, merged=merged)
        raise Conflict(
            f"writer {restore.writer} has written in this context",
            reason=Reason.WRITER_IN_USE,
            metadata={"writer": str(restore.writer)},
        )


def _restore_roots(copy: Crdt, wanted: Crdt) -> None:
    here, there = roots_of(copy), roots_of(wanted)
    for name in sorted(here.keys() | there.keys()):
        if name == RESERVED_ROOT:
            continue
        root, goal = here.get(name), there.get(name)
        if root is not None and (goal is None or type(goal) is not type(root)):
            empty(root)
            root = None
        if goal is None:
            continue
        if root is None:
            fill(copy.doc.get(name, type=type(goal)), goal)
        else:
            make_equal(root, goal)
    if RESERVED_ROOT in there:
        _add_missing(copy, there[RESERVED_ROOT])


def _add_missing(copy: Crdt, wanted: object) -> None:
    """What the reserved root said of roots that it says nothing of now."""
    marks: Map[object] = copy.doc.get(RESERVED_ROOT, type=Map)
    if isinstance(wanted, Map):
        for key in sorted(wanted.keys()):
            if key.startswith("roots/") and key not in marks:
                marks[key] = wanted[key]
