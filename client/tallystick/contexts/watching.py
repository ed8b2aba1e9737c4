"""Turns what pycrdt tells of a transaction into changes.

Rules of this file:
- pycrdt's events are read where they are told, inside the transaction: later they are worth nothing.
- Only roots whose type is known can be watched; a root that becomes known is watched from then on.
- The root in which kinds are recorded is nobody's content: its changes only tell of new roots.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from tallystick._json import JSON
from tallystick._pointer import pointer
from tallystick.contexts.changes import Change, ChangeKind, plain
from tallystick.contexts.documents import Document, SharedType, content_of
from tallystick.contexts.events import KeysChanged, Spliced, Told, listen
from tallystick.contexts.views.roots import settle_roots
from tallystick.contexts.views.shapes import RESERVED


class Watcher:
    """Collects the changes of one document.

    Args:
        told: takes them, in order, while the transaction still ends.
    """

    def __init__(self, doc: Document, told: Callable[[list[Change]], None]) -> None:
        self._doc, self._told = doc, told
        self._has_new_kinds = False
        self._stops: list[Callable[[], None]] = []
        settle_roots(doc)
        for name, root in doc.typed.items():
            self.typed(name, root)

    def typed(self, name: str, root: SharedType) -> None:
        """Watches one more root."""
        if name == RESERVED:
            self._stops.append(listen(root, self._saw_kinds))
        else:
            self._stops.append(listen(root, lambda told: self._told(list(changes_of(name, told)))))

    def follow_kinds(self) -> list[Change]:
        """Watches roots whose kinds have become known: what is in them, for nothing told of it so far."""
        if not self._has_new_kinds:
            return []
        self._has_new_kinds = False
        known = set(self._doc.typed)
        settle_roots(self._doc)
        return [
            change
            for name, root in self._doc.typed.items()
            if name not in known
            for change in _whole(name, content_of(self._doc, name, root))
        ]

    def _saw_kinds(self, _told: Told) -> None:
        self._has_new_kinds = True

    def close(self) -> None:
        """Watches no more."""
        for stop in self._stops:
            stop()
        self._stops.clear()


def _whole(name: str, content: JSON) -> Iterator[Change]:
    """The changes that lead from nothing to this."""
    path = pointer(name)
    if isinstance(content, dict):
        for key, value in content.items():
            yield Change(path + pointer(key), ChangeKind.SET, new=value)
    elif isinstance(content, str | list) and content:
        yield Change(path + pointer(0), ChangeKind.INSERT, new=content, count=len(content))


def changes_of(root: str, told: Told) -> Iterator[Change]:
    """The changes that one event tells of."""
    path = pointer(root, *told.path)
    if isinstance(told, KeysChanged):
        for key, change in told.keys.items():
            here = path + pointer(key)
            if change.is_set:
                yield Change(here, ChangeKind.SET, old=plain(change.old), new=plain(change.new))
            else:
                yield Change(here, ChangeKind.DELETE, old=plain(change.old))
    elif told.text is not None:
        yield from _of_text(path, told.text, told)
    else:
        yield from _of_list(path, told.delta)


def _of_list(path: str, delta: Sequence[Mapping[str, object]]) -> Iterator[Change]:
    index = 0
    for step in delta:
        if "retain" in step:
            index += _count(step["retain"])
        elif "delete" in step:
            yield Change(path + pointer(index), ChangeKind.REMOVE, count=_count(step["delete"]))
        else:
            new = plain(step["insert"])
            count = len(new) if isinstance(new, list) else 1
            yield Change(path + pointer(index), ChangeKind.INSERT, new=new, count=count)
            index += count


def _of_text(path: str, after: bytes, told: Spliced) -> Iterator[Change]:
    """pycrdt counts bytes of UTF-8; `after` is the text as it is now."""
    at = 0
    for step in told.delta:
        if "retain" in step:
            at += _count(step["retain"])
            continue
        here = path + pointer(len(after[:at].decode(errors="replace")))
        if "delete" in step:
            yield Change(here, ChangeKind.REMOVE, count=_count(step["delete"]))
        else:
            new: JSON = plain(step["insert"])
            text = new if isinstance(new, str) else ""
            yield Change(here, ChangeKind.INSERT, new=new, count=len(text) or 1)
            at += len(text.encode()) or 1


def _count(value: object) -> int:
    return int(value) if isinstance(value, int | float) else 0
