"""One document in pycrdt's hands.

Rules of this file:
- Only what was admitted (`contexts.updates`), or stored after that, is applied.
- A failed apply is not undone by pycrdt: after `CrdtFailed` this object is of no further use.
- An observer lives as long as its subscription, and is taken off when the document is let go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, ParamSpec, TypeVar

from pycrdt import Doc, Snapshot, Subscription, TransactionEvent

from tallystick.errors import Invalid
from tallystick_node.contexts.updates import deletes as deletions
from tallystick_node.contexts.updates import state_vectors
from tallystick_node.contexts.updates.deletes import Ranges

_NOBODY: Final = 0
"""The writer id of a document that only merges."""

FEW_DELETES: Final = 256
"""Ranges of deletions of which a digest costs no more than an edit."""

_PENDING_DELETES: Final = 1000
"""Deletions that wait to be added up; beyond it they are read from the document again."""
_P = ParamSpec("_P")
_T = TypeVar("_T")


class CrdtFailed(Exception):
    """pycrdt failed."""


def guarded(call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Calls into pycrdt. Raises CrdtFailed for whatever pycrdt raises."""
    try:
        return call(*args, **kwargs)
    except Exception as error:
        raise CrdtFailed(str(error)) from error
    except BaseException as error:
        # A panic of Rust arrives as pyo3_runtime.PanicException, which no module exports.
        if type(error).__name__ != "PanicException":
            raise
        raise CrdtFailed(f"panic: {error}") from error


class Crdt:
    """A document that merges."""

    def __init__(self, writer: int = _NOBODY) -> None:
        self.doc: Doc[Any] = Doc(client_id=writer)
        self._event: bytes | None = None
        self._subscription: Subscription | None = self.doc.observe(self._note)
        self._deletes: dict[int, Ranges] | None = {}
        self._pending: list[bytes] = []

    def _note(self, event: TransactionEvent) -> None:
        self._event = event.delete_set  # type: ignore[attr-defined]  # the stub forgets it

    def _take_event(self) -> bytes | None:
        event, self._event = self._event, None
        return event

    def close(self) -> None:
        """Lets go of the observer, which would keep memory otherwise."""
        if self._subscription is not None:
            self.doc.unobserve(self._subscription)
            self._subscription = None

    def apply(self, update: bytes) -> bytes | None:
        """Merges an update: the deletions that came with it, encoded; None if nothing changed. Raises CrdtFailed."""
        self._event = None
        guarded(self.doc.apply_update, update)
        deleted = self._take_event()
        if deleted is not None and self._deletes is not None and deleted != b"\x00":
            self._pending.append(deleted)
            if len(self._pending) > _PENDING_DELETES:
                self._deletes, self._pending = None, []
        return deleted

    def apply_all(self, updates: Iterable[bytes]) -> None:
        """Merges many, one after another: one transaction over many is slow where it is large. Raises CrdtFailed."""
        self._deletes, self._pending = None, []
        for update in updates:
            guarded(self.doc.apply_update, update)

    def state_vector(self) -> bytes:
        """As Yjs encodes it, writers in any order."""
        return guarded(self.doc.get_state)

    def check_vector(self, expected: Mapping[int, int]) -> None:
        """Raises CrdtFailed if its state vector is another: not all was applied."""
        if self.vector() != expected:
            raise CrdtFailed("its state vector is not what was merged")

    def vector(self) -> dict[int, int]:
        """The state vector."""
        try:
            return state_vectors.decode(self.state_vector())
        except Invalid as error:
            raise CrdtFailed(f"its state vector cannot be read: {error}") from error

    def encode(self, state_vector: bytes = b"") -> bytes:
        """The document as one update, or what a state vector lacks of it and all deletions. Raises CrdtFailed."""
        return guarded(self.doc.get_update, state_vector or None)

    @property
    def has_few_deletes(self) -> bool:
        """Whether what is deleted is known, and little."""
        if self._deletes is None or len(self._deletes) > FEW_DELETES:
            return False
        return sum(map(len, self._deletes.values())) + len(self._pending) <= FEW_DELETES

    def deletes(self) -> dict[int, Ranges]:
        """All that is deleted in it. Raises CrdtFailed."""
        try:
            if self._deletes is None:
                snapshot = guarded(lambda: Snapshot.from_doc(self.doc).encode())
                self._deletes = deletions.read(snapshot, 0)[0]
            if self._pending:
                self._deletes = deletions.merge(self._deletes, _added_up(self._pending))
        except (Invalid, IndexError) as error:
            raise CrdtFailed(f"its deletions cannot be read: {error}") from error
        self._pending = []
        return self._deletes


def _added_up(encoded: Iterable[bytes]) -> dict[int, Ranges]:
    """Deletions together, in one pass over each."""
    found: dict[int, list[tuple[int, int]]] = {}
    for some in encoded:
        for writer, ranges in deletions.decode(some).items():
            found.setdefault(writer, []).extend(ranges)
    return {writer: deletions.normalised(ranges) for writer, ranges in found.items()}
