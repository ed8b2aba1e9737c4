"""The replica: one pycrdt document, who edits it here, and what came from others.

Rules of this file:
- All of it belongs to one thread: that of the event loop. What others edited is applied in transactions of their own,
  never in the middle of one of ours.
- Every local transaction becomes one update, handed to `on_local` in the order in which they were made.
- pycrdt rolls nothing back. A transaction that raises is undone, and what goes out holds both: nothing of it is seen.
- A document that could not take an update is not used again: `replace` gives another one, under another writer id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final, NamedTuple

import pycrdt

from tallystick._json import JSON
from tallystick.contexts.changes import Change, differences
from tallystick.contexts.documents import Document, SharedType, content_of, guarded
from tallystick.contexts.limits import UPDATE_BYTES
from tallystick.contexts.undo import Undo
from tallystick.contexts.views.shapes import RESERVED
from tallystick.contexts.watching import Watcher
from tallystick.errors import Corrupt, Invalid, Reason, Unavailable

LOCAL: Final = "tallystick.local"
REMOTE: Final = "tallystick.remote"
NO_WRITER: Final = 2
"""The client id of a document that nobody may edit yet."""


class Made(NamedTuple):
    """A local edit, as it was made.

    Attributes:
        update: in Yjs's format v1.
        writer: whose ids it advances.
        cause: what led to it.
        changes: what it changed, if anybody watches.
    """

    update: bytes
    writer: int
    cause: str
    changes: tuple[Change, ...] = ()


class Replica:
    """One document and its writer; empty and without a writer at first.

    Args:
        on_local: takes every local edit.
        check: called before a local edit is begun; raises if none may be.
        unix_ms: a clock.
    """

    def __init__(self, on_local: Callable[[Made], None], check: Callable[[], None], unix_ms: Callable[[], int]) -> None:
        self._on_local, self._check, self._unix_ms = on_local, check, unix_ms
        self._cause = ""
        self._depth = 0
        self._made: list[bytes] = []
        self._changes: list[Change] = []
        self._is_remote = False
        self._is_broken = False
        self._writer: int | None = None
        self._watcher: Watcher | None = None
        self._states: tuple[bytes, bytes] | None = None
        self.generation = 0
        self.ended = asyncio.Event()  # no local transaction is open
        self._take(Document(NO_WRITER))

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

    @property
    def is_broken(self) -> bool:
        """Its document could not take an update: it waits for `replace`."""
        return self._is_broken

    def replace(self, writer: int | None, updates: Iterable[bytes]) -> list[Change]:
        """Another document in place of this one, with this content, under a writer id that was never used.

        Returns:
            What changed by that, if anybody watches.

        Raises:
            Corrupt: the content cannot be applied; the old document stays.
        """
        doc = Document(NO_WRITER if writer is None else writer)
        for update in updates:
            with guarded():
                doc.apply_update(update)
        for name, root in self.doc.typed.items():
            doc.get(name, type=type(root))
        is_watched = self._watcher is not None
        old = self.to_json() if is_watched else None
        self.close()
        self._writer, self._is_broken = writer, False
        self._take(doc)
        self.generation += 1
        if not is_watched:
            return []
        self.watch()
        return list(differences(old, self.to_json()))

    def transaction(self, cause: str = "") -> AbstractContextManager[None]:
        """One local edit; inside another one, part of that. If it raises, it is undone.

        Raises:
            Unavailable: there is no writer id.
            Corrupt: the document could not take an update.
        """
        return _LocalEdit(self, cause)

    def enter(self, cause: str) -> AbstractContextManager[object] | None:
        """Begins a transaction; None: inside another one. `leave` ends what is given. For `_LocalEdit` alone."""
        if self._depth:
            return None
        self._check_editable()
        self._depth, self._cause = 1, cause
        self.ended.clear()
        inner = self.doc.transaction(origin=LOCAL)
        try:
            inner.__enter__()
        except BaseException:
            self._left()
            raise
        return inner

    def leave(self, inner: AbstractContextManager[object], error: BaseException | None) -> None:
        """Ends it, by this error if there is one."""
        try:
            try:
                inner.__exit__(type(error) if error is not None else None, error, None)
            except BaseException as raised:
                self._failed(raised)
                raise
            if error is not None:
                self._failed(error)
            elif self._ended():
                self._check_size()
        finally:
            self._left()

    def apply(self, update: bytes) -> list[Change]:
        """Applies what others edited; no transaction is open.

        Returns:
            What changed by that, if anybody watches.

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
        changes, self._changes = self._changes, []
        if self._watcher is not None:
            changes += self._watcher.follow_kinds()
        return changes

    def state_vector(self) -> bytes:
        """What it holds, deletions aside, as Yjs encodes it."""
        return self.doc.get_state()

    def undo(self) -> bool:
        """Undoes the last local transaction; False: there is none."""
        return self._step(self._undo.undo, "undo")

    def redo(self) -> bool:
        """Does again what was undone last; False: nothing was."""
        return self._step(self._undo.redo, "redo")

    def watch(self) -> None:
        """From now on `Made.changes`, and what `apply` and `replace` return, say what changed."""
        if self._watcher is None:
            self._watcher = Watcher(self.doc, lambda changes: self._changes.extend(changes))

    def to_json(self) -> dict[str, JSON]:
        """The content of the roots whose types are known, as pycrdt has it."""
        return {name: content_of(self.doc, name, root) for name, root in self.doc.typed.items() if name != RESERVED}

    def close(self) -> None:
        """Ends the observation: pycrdt would keep the document alive."""
        if self._watcher is not None:
            self._watcher.close()
            self._watcher = None
        self.doc.on_typed = None
        self.doc.unobserve(self._subscription)

    def _take(self, doc: Document) -> None:
        self.doc = doc
        self._undo = Undo(doc, LOCAL, self._unix_ms)
        doc.on_typed = self._typed
        self._subscription = doc.observe(self._seen)

    def _typed(self, name: str, root: SharedType) -> None:
        self._undo.typed(root)
        if self._watcher is not None:
            self._watcher.typed(name, root)

    def _failed(self, error: BaseException) -> None:
        if type(error).__name__ == "PanicException":
            self._is_broken = True
            raise Corrupt(f"pycrdt: {error}") from error
        if self._ended():
            self._undo.roll_back()

    def _left(self) -> None:
        self._depth = 0
        self.ended.set()
        self._hand_on()

    def _ended(self) -> bool:
        """Tells the undo manager of what a transaction made; False: nothing."""
        states, self._states = self._states, None
        if states is not None:
            self._undo.made(*states)
        elif self._made:
            self._undo.stepped()
        return bool(self._made)

    def _check_size(self) -> None:
        size_bytes = sum(map(len, self._made))
        if size_bytes > UPDATE_BYTES:
            self._undo.roll_back()
            raise too_large(size_bytes)

    def _check_editable(self) -> None:
        self._check_sound()
        self._check()
        _ = self.writer

    def _check_sound(self) -> None:
        if self._is_broken:
            raise Corrupt("this replica's document could not take an update; it is being fetched anew")

    def _step(self, step: Callable[[], bool], cause: str) -> bool:
        self._check_editable()
        if self._depth:
            raise Unavailable("no step can be undone inside a transaction")
        self._depth, self._cause = 1, cause
        try:
            return step()
        finally:
            self._depth = 0
            self._hand_on()

    def _seen(self, event: pycrdt.TransactionEvent) -> None:
        if self._is_remote:
            return
        self._made.append(event.update)
        if self._undo.has_new_roots:
            self._states = (_state(event, "before_state"), _state(event, "after_state"))
        if not self._depth:  # somebody edits the pycrdt document by itself
            self._hand_on()

    def _hand_on(self) -> None:
        made, self._made = self._made, []
        changes, self._changes = tuple(self._changes), []
        cause, self._cause = self._cause, ""
        if not made:
            return
        with guarded():
            update = made[0] if len(made) == 1 else pycrdt.merge_updates(*made)
        self._on_local(Made(update, self.writer, cause, changes))


class _LocalEdit(AbstractContextManager[None]):
    """`Replica.transaction`. A class, since a generator costs more than all else that an edit of one key does."""

    __slots__ = ("_cause", "_inner", "_replica")

    def __init__(self, replica: Replica, cause: str) -> None:
        self._replica, self._cause = replica, cause
        self._inner: AbstractContextManager[object] | None = None

    def __enter__(self) -> None:
        self._inner = self._replica.enter(self._cause)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._inner is not None:
            self._replica.leave(self._inner, error)


def _state(event: pycrdt.TransactionEvent, name: str) -> bytes:
    """A state vector of the event; pycrdt's types do not tell of it."""
    state: bytes = getattr(event, name)
    return state


def too_large(size_bytes: int) -> Invalid:
    """What is said of an edit that no node takes."""
    return Invalid(
        f"one edit of {size_bytes} bytes: it is taken back",
        reason=Reason.TOO_LARGE,
        metadata={"limit": str(UPDATE_BYTES)},
    )
