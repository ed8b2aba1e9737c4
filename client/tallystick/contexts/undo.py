"""What this replica's author did can be undone, step by step; what others did stays.

Rules of this file:
- A step is a transaction. Undoing one is an edit like any other, and merges like any other.
- The last `UNDO_STEPS` steps are remembered, of this life of the replica.
- pycrdt's manager sees only roots that it was given before a transaction ends, and takes none while one is open. So the
  first edit of a root is added by hand, from the ids that it wrote.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pycrdt

from tallystick.contexts.documents import Document, SharedType, guarded
from tallystick.contexts.lib0 import read_state_vector, write_uint
from tallystick.contexts.limits import UNDO_STEPS

_FORGET_FROM: Final = 3
"""Times the steps that are remembered: with so many the older ones are forgotten, which costs a copy of the rest."""


class Undo:
    """The steps of one document.

    Args:
        origin: of the transactions that count as ours.
        unix_ms: a clock.
    """

    def __init__(self, doc: Document, origin: str, unix_ms: Callable[[], int]) -> None:
        self._doc, self._origin, self._unix_ms = doc, origin, unix_ms
        self._new: list[SharedType] = []
        self._steps = 0
        self._manager = self._make([], [])

    def typed(self, root: SharedType) -> None:
        """A root has become known, perhaps inside a transaction."""
        self._new.append(root)

    @property
    def has_new_roots(self) -> bool:
        """The next transaction to end has to be told of with `made`."""
        return bool(self._new)

    def made(self, before: bytes, after: bytes) -> None:
        """A local transaction has ended, between these state vectors, and new roots may have been made in it."""
        new, self._new = self._new, []
        seen = len(self._manager.undo_stack)
        for root in new:
            self._manager.expand_scope(root)
        if seen == self._steps:  # the manager has not seen it
            first, end = (read_state_vector(state).get(self._doc.client_id, 0) for state in (before, after))
            if end > first:
                item: pycrdt.StackItem[None] = pycrdt.StackItem(
                    self._doc._doc,  # noqa: SLF001 - a StackItem takes nothing else
                    pycrdt.IdSet(),
                    pycrdt.IdSet.decode(_one_range(self._doc.client_id, first, end)),
                )
                self._manager = self._make([*self._manager.undo_stack, item], [])
        self._steps = len(self._manager.undo_stack)

    def stepped(self) -> None:
        """A local transaction has ended, in roots that are known."""
        self._steps += 1
        if self._steps > _FORGET_FROM * UNDO_STEPS:
            self._manager = self._make(self._manager.undo_stack[-UNDO_STEPS:], self._manager.redo_stack)
            self._steps = len(self._manager.undo_stack)

    def undo(self) -> bool:
        """Undoes the last step; False: there is none."""
        with guarded():
            done = self._manager.undo()
        self._steps = len(self._manager.undo_stack)
        return done

    def redo(self) -> bool:
        """Does again what was undone last; False: nothing was."""
        with guarded():
            done = self._manager.redo()
        self._steps = len(self._manager.undo_stack)
        return done

    def roll_back(self) -> None:
        """Undoes the transaction that has just ended, for good."""
        redo = self._manager.redo_stack
        self.undo()
        self._manager = self._make(self._manager.undo_stack, redo)

    def _make(self, undo: list[pycrdt.StackItem[None]], redo: list[pycrdt.StackItem[None]]) -> pycrdt.UndoManager:
        manager = pycrdt.UndoManager(
            scopes=list(self._doc.typed.values()),
            capture_timeout_millis=0,
            timestamp=self._unix_ms,
            undo_stack=undo,
            redo_stack=redo,
        )
        manager.include_origin(self._origin)
        return manager


def _one_range(writer: int, first: int, end: int) -> bytes:
    return b"".join(map(write_uint, (1, writer, 1, first, end - first)))
