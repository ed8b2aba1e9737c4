"""Copies what is in a document into another, as fresh insertions of the other's writer.

Rules of this file:
- Each insertion is a transaction of its own: one large one is quadratic.
- Nested types are copied as types, so that what is edited inside them goes on to merge.
- A root that two kinds of content have found their way into keeps both.
- Lists inside others must be readable (`unreadable`): the caller has looked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias, cast

from pycrdt import Array, Map, Text, XmlElement, XmlFragment, XmlText

from tallystick_node.contexts.desk.crdt import Crdt
from tallystick_node.contexts.desk.rendering import Root, root_of, roots_of

Shared: TypeAlias = "Root | XmlElement | XmlText"

_CHUNK: Final = 1000
_SAFE: Final = 2.0**53
_TYPES: Final = (Map, Array, Text, XmlFragment, XmlElement, XmlText)


def copy_roots(source: Crdt, target: Crdt) -> None:
    """Inserts all that is in one document into another, empty one. pycrdt may raise anything."""
    for name, root in sorted(roots_of(source).items()):
        fill(target.doc.get(name, type=type(root)), root)
        if isinstance(root, Map):
            other = root_of(source, name, "list")
            if isinstance(other, (Text, XmlFragment)) or (isinstance(other, Array) and len(other)):
                fill(target.doc.get(name, type=type(other)), other)


def fill(target: Shared, source: Shared) -> None:
    """Inserts the content of one type into another of its kind, which is empty."""
    if isinstance(target, Map) and isinstance(source, Map):
        for key in sorted(source.keys()):
            set_key(target, key, source[key])
    elif isinstance(target, Array) and isinstance(source, Array):
        insert_values(target, 0, list(source))
    elif isinstance(target, (Text, XmlText)) and isinstance(source, (Text, XmlText)):
        for value, attributes in source.diff():
            insert_text(target, len(target), value, attributes)
        if isinstance(target, XmlText) and isinstance(source, XmlText):
            _set_attributes(target, source)
    elif isinstance(target, (XmlFragment, XmlElement)) and isinstance(source, (XmlFragment, XmlElement)):
        if isinstance(target, XmlElement) and isinstance(source, XmlElement):
            _set_attributes(target, source)
        for child in source.children:
            fill(target.children.append(_empty(child)), child)


def set_key(target: Map[Any], key: str, value: object) -> None:
    """Sets a key, to a copy where the value is a type."""
    if isinstance(value, _TYPES):
        target[key] = _empty(value)
        fill(target[key], value)
    else:
        target[key] = own_value(value)


def insert_values(target: Array[Any], index: int, values: Iterable[object]) -> None:
    """Inserts values from an index on, copies where they are types."""
    plain: list[object] = []
    for value in values:
        if isinstance(value, _TYPES) or len(plain) == _CHUNK:
            index = _insert_plain(target, index, plain)
            plain = []
        if isinstance(value, _TYPES):
            target.insert(index, _empty(value))
            fill(target[index], value)
            index += 1
        else:
            plain.append(own_value(value))
    _insert_plain(target, index, plain)


def _insert_plain(target: Array[Any], index: int, plain: list[object]) -> int:
    if plain:
        target[index:index] = plain
    return index + len(plain)


def insert_text(target: Text | XmlText, index: int, value: object, attributes: Mapping[str, object] | None) -> int:
    """Inserts characters or an embedded value; its length, as the text counts."""
    before = len(target)
    # Without marks it would take those of what stands before it; with none at all it has none.
    marks = {key: own_value(mark) for key, mark in sorted((attributes or {}).items())}
    if isinstance(value, str):
        target.insert(index, value, marks)
    else:
        target.insert_embed(index, own_value(value), marks)
    return len(target) - before


def own_value(value: object) -> object:
    """A plain value as it was written: pycrdt gives integers as floats, and bytes as bytearrays."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _SAFE:
        return int(value)
    if isinstance(value, bytearray):
        return bytes(value)
    if isinstance(value, dict):
        return {key: own_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [own_value(item) for item in value]
    return value


def _empty(value: Shared) -> Any:
    """A new one of its kind."""
    if isinstance(value, XmlElement):
        return XmlElement(value.tag)
    return type(value)()


def _set_attributes(target: XmlElement | XmlText, source: XmlElement | XmlText) -> None:
    attributes = cast("Iterable[tuple[str, Any]]", source.attributes)
    for key, value in sorted(attributes, key=lambda pair: pair[0]):
        target.attributes[key] = value
