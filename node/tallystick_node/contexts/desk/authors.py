"""Who wrote an id: from the log, the newest edits first.

Rules of this file:
- Bounded by `EDITS_LOOKED_AT` rows. Of what is older, or was moved into the base, only the writer is known.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable

from tallystick.v1 import context_pb2
from tallystick_node.contexts.desk import limits as own
from tallystick_node.contexts.desk.rows import DocumentRow, Rows
from tallystick_node.contexts.updates.ids import Id


class Authors:
    """Who wrote these ids."""

    def __init__(self, rows: Rows, row: DocumentRow, ids: Iterable[Id]) -> None:
        """Looks for them. Raises RowDamaged."""
        lowest: dict[int, int] = {}
        for writer, clock in ids:
            lowest[writer] = min(clock, lowest.get(writer, clock))
        found: dict[int, list[context_pb2.Edit]] = {}
        entries = rows.entries(row.life, row.base_number, row.number, limit=own.EDITS_LOOKED_AT, newest_first=True)
        left = set(lowest)
        while left and (entry := next(entries, None)) is not None:
            edit = entry.to_edit()
            if edit.writer in lowest and edit.clock < edit.end_clock:
                found.setdefault(edit.writer, []).append(edit)
                if edit.clock <= lowest[edit.writer]:
                    left.discard(edit.writer)
        self._edits = {writer: sorted(some, key=lambda edit: edit.clock) for writer, some in found.items()}

    def of(self, at: Id) -> context_pb2.Edit:
        """The edit that wrote an id; where it is not known, one that names the writer alone."""
        edits = self._edits.get(at.writer, [])
        place = bisect.bisect_right(edits, at.clock, key=lambda edit: edit.clock) - 1
        if place >= 0 and at.clock < edits[place].end_clock:
            return edits[place]
        after = edits[place + 1].clock if place + 1 < len(edits) else at.clock + 1
        return context_pb2.Edit(writer=at.writer, clock=at.clock, end_clock=after)
