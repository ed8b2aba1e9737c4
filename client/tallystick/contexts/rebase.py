"""Edits made again on another document: for those that cannot be merged as they are.

An update names ids. When those ids will never be (an update before it was refused, the epoch it was made in is gone),
the update is worth nothing, but what it did is known: keys set and deleted, elements put in and taken out, at places.
That is done again, as well as it fits. Concurrent edits of lists and texts may shift it; where its place is gone it is
left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import pycrdt

from tallystick.contexts.changes import plain
from tallystick.contexts.documents import Document, SharedType, guarded
from tallystick.contexts.events import KeysChanged, Told, listen
from tallystick.contexts.rows import Row
from tallystick.errors import Invalid, Reason

SCRATCH: Final = 3
"""The client id of documents that nobody edits."""

Step = Callable[[Document], None]


@dataclass(frozen=True, slots=True)
class Remake:
    """One edit, to be made again: the row it was, and what it did."""

    row: Row
    steps: tuple[Step, ...]

    def make(self, doc: Document) -> None:
        """Makes the edit, inside a transaction of the caller's.

        Raises:
            Invalid: `TYPE_CLASH`: a list has become something else.
        """
        for step in self.steps:
            step(doc)


def remade(before: bytes, rows: Sequence[Row], types: Mapping[str, SharedType]) -> list[Remake]:
    """The edits of these rows, as they can be made again.

    Args:
        before: the document that the first of them was made on.
        types: what the roots are.

    Raises:
        Corrupt: the updates do not fit the document.
    """
    doc = Document(SCRATCH)
    with guarded():
        doc.apply_update(before)
    steps: list[Step] = []
    stops = [_collect(doc, name, type(sample), steps) for name, sample in types.items()]
    out = []
    for row in rows:
        with guarded():
            doc.apply_update(row.update)
        out.append(Remake(row, tuple(steps)))
        steps.clear()
    for stop in stops:
        stop()
    return out


def content_with(content: bytes, updates: Iterable[bytes]) -> bytes:
    """The content of a document once it has taken these too.

    Raises:
        Corrupt: they do not fit.
    """
    doc = Document(SCRATCH)
    with guarded():
        for update in (content, *updates):
            if update:
                doc.apply_update(update)
        return doc.get_update()


def _collect(doc: Document, name: str, kind: type[SharedType], steps: list[Step]) -> Callable[[], None]:
    """Adds what happens to a root to the steps; what is returned ends that."""
    return listen(doc.get(name, type=kind), lambda told: steps.append(_step(name, kind, told)))


def _step(name: str, kind: type[SharedType], told: Told) -> Step:
    path = told.path
    if isinstance(told, KeysChanged):
        keys = {key: (change.is_set, _value(change.new)) for key, change in told.keys.items()}
        return lambda doc: _set_keys(_at(doc, name, kind, path), keys)
    delta = [{verb: _value(value) for verb, value in step.items()} for step in told.delta]
    return lambda doc: _splice(_at(doc, name, kind, path), delta)


def _value(value: object) -> object:
    """A value that can be put into another document; a shared type inside becomes one of the same kind."""
    if isinstance(value, pycrdt.Map):
        return pycrdt.Map({key: _value(item) for key, item in value.items()})
    if isinstance(value, pycrdt.Array):
        return pycrdt.Array([_value(item) for item in value])
    if isinstance(value, pycrdt.Text):
        return pycrdt.Text(str(value))
    if isinstance(value, list):
        return [_value(item) for item in value]
    return value


def _at(doc: Document, name: str, kind: type[SharedType], path: Sequence[str | int]) -> object:
    """What stands there; None: nothing does any more. Raises `Invalid` (`TYPE_CLASH`)."""
    here: object = doc.get(name, type=kind)
    if kind is pycrdt.Array and doc.holds_characters(name):
        raise Invalid(f"the root {name!r} holds text, and is no list", reason=Reason.TYPE_CLASH)
    for part in path:
        if isinstance(here, pycrdt.Map) and isinstance(part, str):
            here = here.get(part)
        elif isinstance(here, pycrdt.Array) and isinstance(part, int) and part < len(here):
            here = here[part]
        else:
            return None
    return here


def _set_keys(target: object, keys: Mapping[str, tuple[bool, object]]) -> None:
    if not isinstance(target, pycrdt.Map):
        return
    for key, (is_set, value) in keys.items():
        if is_set:
            target[key] = value
        elif key in target:
            del target[key]


def _splice(target: object, delta: Sequence[Mapping[str, object]]) -> None:
    if not isinstance(target, pycrdt.Array | pycrdt.Text):
        return
    at = 0
    for step in delta:
        size = _size(target)
        at = min(at, size)
        if isinstance(target, pycrdt.Text):
            at = _boundary(target, at)
        if "retain" in step:
            at += _count(step["retain"])
        elif "delete" in step:
            end = min(at + _count(step["delete"]), size)
            if isinstance(target, pycrdt.Text):
                end = _boundary(target, end)
            if end > at:
                del target[at:end]
        elif isinstance(target, pycrdt.Text):
            text = str(step["insert"])
            target.insert(at, text)
            at += len(text.encode())
        else:
            values = step["insert"] if isinstance(step["insert"], list) else [step["insert"]]
            for value in values:
                target.insert(at, value)
                at += 1


def _size(target: pycrdt.Array[object] | pycrdt.Text) -> int:
    return len(str(target).encode()) if isinstance(target, pycrdt.Text) else len(target)


def _boundary(text: pycrdt.Text, at: int) -> int:
    """The end of the character that this byte stands in."""
    data = str(text).encode()
    while at < len(data) and data[at] & 0xC0 == 0x80:
        at += 1
    return at


def _count(value: object) -> int:
    number = plain(value)
    return int(number) if isinstance(number, int | float) else 0
