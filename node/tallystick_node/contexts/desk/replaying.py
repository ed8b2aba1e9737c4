"""Does in one document what updates do in another that has the same content, under other ids.

Rules of this file:
- What an update changes is what pycrdt's observers say: keys set, elements inserted and deleted, by place. Outer types
  come before what is inside them, for the places are those of afterwards.
- Deterministic: the same updates on the same documents give the same insertions with the same ids, on any node.
- Where the two documents are not quite the same, places are bounded by what is there: no insertion is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from pycrdt import Array, Map, Text

from tallystick.errors import Conflict, Reason
from tallystick_node.contexts.desk.copying import insert_text, insert_values, own_value, set_key
from tallystick_node.contexts.desk.crdt import Crdt, guarded
from tallystick_node.contexts.desk.rendering import check_readable, roots_of

Path: TypeAlias = "tuple[str | int, ...]"

_KINDS: Final = (Map, Array, Text)


class _Change(NamedTuple):
    """What an observer said of one type."""

    root: str
    kind: type[Any]
    """Of the root."""
    path: Path
    keys: Mapping[str, Mapping[str, object]]
    delta: Sequence[Mapping[str, Any]]


def replay(source: Crdt, mirror: Crdt, updates: Iterable[bytes]) -> bytes:
    """Merges updates into a document, and makes the same changes in its mirror; those, as an update.

    Raises:
        CrdtFailed: pycrdt failed; neither document is of further use.
        Conflict: EPOCH_CONFLICT, they change what cannot be replayed (XML).
    """
    before = mirror.state_vector()
    for update in updates:
        for change in _observed(source, update):
            if change.kind not in _KINDS:
                raise Conflict("XML is not carried over into a new epoch", reason=Reason.EPOCH_CONFLICT)
            guarded(_do, mirror, change)
    return mirror.encode(before)


def _observed(source: Crdt, update: bytes) -> list[_Change]:
    """Merges an update, and says what it changed."""
    # Looked at in a copy: pycrdt takes a root for what it was first asked for as, and observers hear of nothing else. A
    # root that holds nothing yet shows its kind only once it does.
    copy, kinds = Crdt(), dict[str, type[Any]]()
    for step in (source.encode(), update):
        copy.apply_all((step,))
        kinds.update((name, type(root)) for name, root in guarded(roots_of, copy).items())
    check_readable(copy)
    copy.close()
    changes: list[_Change] = []

    def noting(name: str, kind: type[Any]) -> Callable[[list[Any]], None]:
        def note(events: list[Any]) -> None:
            for event in events:
                keys, delta = getattr(event, "keys", None) or {}, getattr(event, "delta", None) or ()
                changes.append(_Change(name, kind, tuple(event.path), keys, delta))

        return note

    roots = [source.doc.get(name, type=kind) for name, kind in sorted(kinds.items())]
    subscriptions = [
        root.observe_deep(noting(name, kind)) for root, (name, kind) in zip(roots, sorted(kinds.items()), strict=True)
    ]
    try:
        source.apply(update)
    finally:
        for root, subscription in zip(roots, subscriptions, strict=True):
            root.unobserve(subscription)
    return sorted(changes, key=lambda change: (change.root, len(change.path), repr(change.path)))


def _do(mirror: Crdt, change: _Change) -> None:
    target = mirror.doc.get(change.root, type=change.kind)
    for step in change.path:
        if isinstance(target, Map) and isinstance(step, str):
            target = target.get(step)
        elif isinstance(target, Array) and isinstance(step, int):
            target = target[step] if step < len(target) else None
    if isinstance(target, Map):
        _do_keys(target, change.keys)
    elif isinstance(target, Array):
        _do_elements(target, change.delta)
    elif isinstance(target, Text):
        _do_characters(target, change.delta)


def _do_keys(target: Map[Any], keys: Mapping[str, Mapping[str, object]]) -> None:
    for key, change in sorted(keys.items()):
        if change["action"] != "delete":
            set_key(target, key, change.get("newValue"))
        elif key in target:
            del target[key]


def _do_elements(target: Array[Any], delta: Sequence[Mapping[str, Any]]) -> None:
    at = 0
    for step in delta:
        if "retain" in step:
            at = min(at + int(step["retain"]), len(target))
        elif "insert" in step:
            insert_values(target, at, step["insert"])
            at += len(step["insert"])
        elif (end := min(at + int(step["delete"]), len(target))) > at:
            del target[at:end]


def _do_characters(target: Text, delta: Sequence[Mapping[str, Any]]) -> None:
    at = 0
    for step in delta:
        if "insert" in step:
            at += insert_text(target, at, step["insert"], step.get("attributes"))
            continue
        end = _whole(target, at + int(step.get("retain", step.get("delete", 0))))
        if "delete" in step:
            if end > at:
                del target[at:end]
            continue
        if end > at and step.get("attributes"):
            target.format(at, end, {key: own_value(mark) for key, mark in step["attributes"].items()})
        at = end


def _whole(target: Text, place: int) -> int:
    """A place that is there, and not inside a character: pycrdt counts bytes, and cuts where it is told."""
    place = min(place, len(target))
    characters = str(target).encode()
    if len(characters) != len(target):  # something embedded counts too; then places are those of equal content
        return place
    while 0 < place < len(characters) and characters[place] & 0xC0 == 0x80:
        place -= 1
    return place
