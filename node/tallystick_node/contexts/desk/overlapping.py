"""Overlaps: found while merging, listed later.

Rules of this file:
- A row says who and where by ids alone. What they stand for is looked up when it is asked for: most are never asked.
- Each node finds its own, of its own order: the same edits may overlap under other numbers elsewhere.
- Bounded: structs compared (`Recent`), documents remembered, rows of a document. What is beyond is not found.
- All overlaps of an edit come in one page: the next one is asked for by number.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence

from tallystick.v1 import context_pb2
from tallystick.worker.v1 import worker_pb2
from tallystick_node.contexts.desk import limits as own
from tallystick_node.contexts.desk.authors import Authors
from tallystick_node.contexts.desk.layouts import Layouts
from tallystick_node.contexts.desk.library import Library, Loaded
from tallystick_node.contexts.desk.rows import DocumentRow, OverlapRow, Rows
from tallystick_node.contexts.ids import ContextId
from tallystick_node.contexts.updates.contents import value_at
from tallystick_node.contexts.updates.decode import Update, decode
from tallystick_node.contexts.updates.ids import Id
from tallystick_node.contexts.updates.overlaps import Recent
from tallystick_node.contexts.updates.state_vectors import StateVector


class _Remembered:
    """The last structs of a document, and how many overlaps were found since rows were removed."""

    __slots__ = ("found", "recent")

    def __init__(self) -> None:
        self.recent = Recent()
        self.found = own.OVERLAPS_TRIMMED


class OverlapFinder:
    """Finds overlaps of what is merged, and stores them."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._documents: OrderedDict[int, _Remembered] = OrderedDict()

    def note(self, row: DocumentRow, update: Update, known: StateVector, author: int | None) -> None:
        """Compares what was merged as the newest edit.

        Args:
            row: of the document, with the edit.
            update: with its structs.
            known: the state vector before it.
            author: whose edit it is; None: several are in it.
        """
        remembered = self._documents.pop(row.life, None) or _Remembered()
        self._documents[row.life] = remembered
        if len(self._documents) > own.OVERLAPS_DOCUMENTS:
            self._documents.popitem(last=False)
        for turn, overlap in enumerate(remembered.recent.merge(update, known, number=row.number, author=author)):
            first, second = overlap.first, overlap.second
            ids = (0, 0) if second is None else (second.struct.writer, second.struct.clock)
            self._rows.add_overlap(
                row.life,
                turn,
                OverlapRow(row.number, overlap.kind.value, first.number, first.struct.writer, first.struct.clock, *ids),
            )
            remembered.found += 1
        if remembered.found > own.OVERLAPS_TRIMMED:
            self._rows.keep_overlaps(row.life, own.OVERLAPS)
            remembered.found = 0

    def forget(self) -> None:
        """A batch was not stored: numbers that are remembered will be others'."""
        self._documents.clear()


class Overlaps:
    """Lists them."""

    def __init__(self, rows: Rows, library: Library, layouts: Layouts) -> None:
        self._rows = rows
        self._library = library
        self._layouts = layouts

    def listed(self, asked: worker_pb2.Overlaps) -> context_pb2.ListOverlapsResponse:
        """A page, oldest first. Raises RowDamaged, CrdtFailed, and as `Library.open`."""
        loaded = self._library.open(ContextId.of(asked.id))
        limit = min(asked.limit or own.HISTORY_PAGE, own.OVERLAPS_PAGE_AT_MOST)
        page, more = _page(self._rows.overlaps(loaded.row.life, asked.after_number), limit)
        response = context_pb2.ListOverlapsResponse(more=more)
        if page:
            response.overlaps.extend(self._told(loaded, page))
        return response

    def _told(self, loaded: Loaded, page: Sequence[OverlapRow]) -> Iterator[context_pb2.Overlap]:
        layout = self._layouts.of(loaded)
        ids = [Id(row.first_writer, row.first_clock) for row in page]
        ids += [Id(row.second_writer, row.second_clock) for row in page if row.second_writer]
        authors = Authors(self._rows, loaded.row, ids)
        for row in page:
            first, second = Id(row.first_writer, row.first_clock), Id(row.second_writer, row.second_clock)
            path = layout.path(second if row.second_writer else first) if layout is not None else None
            yield context_pb2.Overlap(
                number=row.number,
                path=pointer(path) if path is not None else "",
                first=authors.of(first),
                second=authors.of(second) if row.second_writer else self._edit(loaded.row, row.number),
                first_value=self._value(loaded.row, row.first_number, first),
                second_value=self._value(loaded.row, row.number, second) if row.second_writer else b"",
                kind=row.kind,
            )

    def _edit(self, row: DocumentRow, number: int) -> context_pb2.Edit:
        entry = next(self._rows.entries(row.life, number - 1, number), None)
        return context_pb2.Edit(number=number) if entry is None else entry.to_edit()

    def _value(self, row: DocumentRow, number: int, at: Id) -> bytes:
        """As JSON text; empty: not known."""
        entry = next(self._rows.entries(row.life, number - 1, number), None)
        if entry is None or entry.data is None or len(entry.data) > own.OVERLAP_UPDATE_BYTES:
            return b""
        for struct in decode(entry.data, with_structs=True).structs:
            if struct.writer == at.writer and struct.clock <= at.clock < struct.clock + struct.length:
                value = value_at(entry.data, struct, at.clock)
                text = b"" if value is None else json.dumps(value[0], ensure_ascii=False).encode()
                return text if len(text) <= own.OVERLAP_VALUE_BYTES else b""
        return b""


def pointer(path: Sequence[str]) -> str:
    """A JSON Pointer."""
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in path)


def _page(rows: Iterator[OverlapRow], limit: int) -> tuple[list[OverlapRow], bool]:
    """So many of them, with all of the last one's number, and whether there are more."""
    page: list[OverlapRow] = []
    for row in rows:
        if len(page) >= limit and row.number != page[-1].number:
            return page, True
        page.append(row)
    return page, False
