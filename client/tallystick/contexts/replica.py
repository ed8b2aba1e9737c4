"""The replica: one pycrdt document, who edits it here, and what came from others.

Rules of this file:
- All of it belongs to one thread: that of the event loop. What others edited is applied in transactions of their own,
  never in the middle of one of ours.
- Every local transaction becomes one update, handed to `on_local` in the order in which they were made.
- A document that could not take an update is not used again: `replace` gives another one, under another writer id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import pycrdt

from tallystick.contexts.documents import Document, guarded
from tallystick.errors import Corrupt, Unavailable

LOCAL: Final = "tallystick.local"
REMOTE: Final = "tallystick.remote"
NO_WRITER: Final = 2
"""The client id of a document that nobody may edit yet."""


@dataclass(frozen=True, slots=True)
class Made:
    """A local edit, as it was made.

    Attributes:
        update: in Yjs's format v1.
        writer: whose ids it advances.
        cause: what led to it.
    """

    update: bytes
    writer: int
    cause: str


class Replica:
    """One document and its writer; empty and without a writer at first.

    Args:
        on_local: takes every local edit.
        check: called before a local edit is begun; raises if none may be.
    """

    def __init__(self, on_local: Callable[[Made], None], check: Callable[[], None]) -> None:
        self._on_local = on_local
        self._check = check
        self._cause = ""
        self._depth = 0
        self._made: list[bytes] = []
        self._is_remote = False
        self._is_broken = False
        self._writer: int | None = None
        self.generation = 0
        self.doc = Document(NO_WRITER)
        self._subscription = self.doc.observe(self._seen)

    @property
    def writer(self) -> int:
        """Its writer id.

        Raises:
            Unavailable: it has none.
        """
        if self._writer is None:
            raise Unavailable(
                "no edit without a writer id: the store has none to spare, and no node that could give one answers"
            )
        return self._writer

    @property
    def has_writer(self) -> bool:
        """It can be edited."""
        return self._writer is not None

    @property
    def is_editing(self) -> bool:
        """A local transaction is open: nothing of others can be applied now."""
        return self._depth > 0

    def replace(self, writer: int | None, updates: Iterable[bytes]) -> None:
        """Another document in place of this one, with this content, under a writer id that was never used.

        Raises:
            Corrupt: the content cannot be applied; the old document stays.
        """
        doc = Document(NO_WRITER if writer is None else writer)
        for update in updates:
            with guarded():
                doc.apply_update(update)
        self.doc.unobserve(self._subscription)
        self.doc, self._writer, self._is_broken = doc, writer, False
        self._subscription = doc.observe(self._seen)
        self.generation += 1

    @contextmanager
    def transaction(self, cause: str = "") -> Iterator[None]:
        """One local edit; inside another one, part of that.

        Raises:
            Unavailable: there is no writer id.
            Corrupt: the document could not take an update.
        """
        if self._depth:
            yield
            return
        self._check_sound()
        self._check()
        _ = self.writer
        self._depth, self._cause = 1, cause
        try:
            with self.doc.transaction(origin=LOCAL):
                yield
        finally:
            self._depth = 0
            self._hand_on()

    def apply(self, update: bytes) -> None:
        """Applies what others edited; no transaction is open.

        Raises:
            Corrupt: pycrdt cannot: `replace` the document.
        """
        self._check_sound()
        self._is_remote = True
        try:
            with guarded(), self.doc.transaction(origin=REMOTE):
                self.doc.apply_update(update)
        except Corrupt:
            self._is_broken = True
            raise
        finally:
            self._is_remote = False

    def close(self) -> None:
        """Ends the observation: pycrdt would keep the document alive."""
        self.doc.unobserve(self._subscription)

    def _check_sound(self) -> None:
        if self._is_broken:
            raise Corrupt("this replica's document could not take an update; it is being fetched anew")

    def _seen(self, event: pycrdt.TransactionEvent) -> None:
        if self._is_remote:
            return
        self._made.append(event.update)
        if not self._depth:  # somebody edits the pycrdt document by itself
            self._hand_on()

    def _hand_on(self) -> None:
        made, self._made = self._made, []
        for update in made:
            self._on_local(Made(update, self.writer, self._cause))
        self._cause = ""
