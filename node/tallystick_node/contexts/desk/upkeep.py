"""Keeps documents quick to load and their history bounded, a bounded piece at a time.

Rules of this file:
- The base of a document is a state and the number it is of; the history begins behind it.
- Moving updates into the base merges them one by one into a copy: merging encoded updates is quadratic in their number.
"""

from __future__ import annotations

from tallystick_node.contexts import limits
from tallystick_node.contexts.desk import limits as own
from tallystick_node.contexts.desk.crdt import CrdtFailed
from tallystick_node.contexts.desk.library import Library, Loaded, damaged
from tallystick_node.contexts.desk.merging import Merger
from tallystick_node.contexts.desk.rows import RowDamaged, Rows


class Upkeep:
    """Looks after the documents of a library.

    Args:
        history_updates, history_bytes: what is kept of the history of a document.
    """

    def __init__(
        self,
        rows: Rows,
        library: Library,
        merger: Merger,
        *,
        history_updates: int = limits.HISTORY_UPDATES,
        history_bytes: int = limits.HISTORY_BYTES,
    ) -> None:
        self._rows = rows
        self._library = library
        self._merger = merger
        self._history_updates = history_updates
        self._history_bytes = history_bytes

    def tend(self, touched: list[Loaded]) -> None:
        """One piece of work on one of these, if one needs it badly. Raises DiskFull; Unavailable: CONTEXT_DAMAGED."""
        for loaded in touched:
            if loaded.wants_state:
                self._library.touch(loaded)
                self._merger.store_state(loaded)
                return
            if self._excess(loaded, own.FOLD_SLACK) > 0:
                self._fold(loaded)
                return

    def squash(self, guid: bytes) -> tuple[bool, bool]:
        """Stores the state of a document, or moves one chunk of its history into its base: whether anything was done,
        and whether there is more to do. Raises as `tend`."""
        loaded = self._library.find(guid)
        if loaded is None:
            return False, False
        if self._excess(loaded) > 0:
            self._fold(loaded)
            return True, self._excess(loaded) > 0
        if loaded.tail_updates < own.STATE_UPDATES:
            return False, False
        self._library.touch(loaded)
        self._merger.store_state(loaded)
        return True, False

    def _excess(self, loaded: Loaded, slack: int = 0) -> int:
        """How many updates are to be moved, beyond one part in `slack` of the bound."""
        row = loaded.row
        kept = row.number - row.base_number
        updates_bound = self._history_updates + (self._history_updates // slack if slack else 0)
        bytes_bound = self._history_bytes + (self._history_bytes // slack if slack else 0)
        if kept > updates_bound:
            return kept - self._history_updates
        if row.log_bytes > bytes_bound:
            # As if all were of one size; the next look corrects it. At least one, and the newest stays.
            return min(kept - 1, max(1, kept * (row.log_bytes - self._history_bytes) // row.log_bytes))
        return 0

    def _fold(self, loaded: Loaded) -> None:
        row = loaded.row
        upto = row.base_number + min(self._excess(loaded), own.FOLD_UPDATES)
        try:
            crdt = self._library.at(row, upto)
            state = crdt.encode()
        except (RowDamaged, CrdtFailed) as error:
            raise damaged(loaded.id.guid) from error
        self._library.touch(loaded)
        self._rows.put_state(row.life, upto, state)
        row.log_bytes = max(0, row.log_bytes - self._rows.cut(row.life, upto))
        self._rows.drop_states(row.life, -1, upto)
        row.base_number = upto
        if loaded.state_number < upto:  # there was none, or an older one
            self._library.drop(loaded.id.guid)
