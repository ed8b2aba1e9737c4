"""Documents taken apart, for whoever asks where an id stands.

Rules of this file:
- The last one is kept: pages and roots of one document are asked for one after another.
- A document beyond `LAYOUT_BYTES` is not taken apart: nothing else is answered meanwhile.
"""

from __future__ import annotations

from tallystick_node.contexts.desk import limits as own
from tallystick_node.contexts.desk.library import Loaded
from tallystick_node.contexts.updates.layout import Layout


class Layouts:
    """See the module."""

    def __init__(self) -> None:
        self._last: tuple[tuple[int, int], Layout] | None = None

    def of(self, loaded: Loaded) -> Layout | None:
        """Of a document; None: it is too large. Raises CrdtFailed."""
        if loaded.state_bytes > own.LAYOUT_BYTES:
            return None
        key = (loaded.row.life, loaded.row.number)
        if self._last is None or self._last[0] != key or not loaded.row.life:
            document = loaded.crdt.encode()
            if len(document) > own.LAYOUT_BYTES:
                return None
            self._last = (key, Layout(document))
        return self._last[1]

    def forget(self) -> None:
        """What was numbered is so no more."""
        self._last = None
