"""A document as JSON.

Rules of this file:
- Canonical: equal documents have equal bytes, whatever order their parts came in.
- A root's kind is what the root map `tallystick` says under `roots/<name>`; else it shows in its content: keys make a
  map, characters a text, other elements a list. A root without content is left out unless its kind is known.
- What a view makes of its root (a counter's sum, ...) is the client's; here is what the root holds.
- Floats that are integers are integers; bytes are `{"$bytes": base64}`; what JSON has no word for is null.
"""

from __future__ import annotations

import base64
import json
import math
from typing import Any, Final, TypeAlias, TypeVar

from pycrdt import Array, Map, Text, XmlElement, XmlFragment, XmlText

from tallystick_node.contexts.desk.crdt import Crdt, guarded

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

RESERVED_ROOT: Final = "tallystick"
_KINDS: Final = "roots/"
Root: TypeAlias = "Map[Any] | Array[Any] | Text | XmlFragment"
_Root = TypeVar("_Root", Map[Any], Array[Any], Text, XmlFragment)

_MAPS: Final = frozenset(("map", "counter", "set", "register", "board"))
_ALL: Final = _MAPS | {"list", "text"}
_SAFE: Final = 2.0**53


def render(crdt: Crdt, *, with_reserved: bool = False) -> bytes:
    """The roots of a document, as canonical JSON. Raises CrdtFailed."""
    return json.dumps(
        guarded(to_json, crdt, with_reserved=with_reserved),
        ensure_ascii=False,
        sort_keys=True,
        separators=(",", ":"),
        allow_nan=False,
    ).encode()


def to_json(crdt: Crdt, *, with_reserved: bool = False) -> dict[str, Json]:
    """The roots of a document. pycrdt may raise anything."""
    with crdt.doc.transaction():
        names = set(crdt.doc.keys())
        kinds = _kinds(crdt) if RESERVED_ROOT in names else {}
        found: dict[str, Json] = {}
        for name in names | set(kinds):
            if name != RESERVED_ROOT or with_reserved:
                root = root_of(crdt, name, kinds.get(name, ""))
                if root is not None:
                    found[name] = plain(root)
        return found


def root_of(crdt: Crdt, name: str, kind: str) -> Root | None:
    """A root in its kind; None if it is empty and of no known kind."""
    if kind:
        if kind in _MAPS:
            return _as(crdt, name, Map)
        return _as(crdt, name, Text) if kind == "text" else _as(crdt, name, Array)
    if len(as_map := _as(crdt, name, Map)):
        return as_map
    as_list = _as(crdt, name, Array)
    if not len(as_list):
        return None
    if isinstance(as_list[0], (XmlElement, XmlText)):
        return _as(crdt, name, XmlFragment)
    if str(as_text := _as(crdt, name, Text)):
        return as_text
    return _as(crdt, name, Array)


def _as(crdt: Crdt, name: str, kind: type[_Root]) -> _Root:
    root: _Root = crdt.doc.get(name, type=kind)
    return root


def _kinds(crdt: Crdt) -> dict[str, str]:
    marks = _as(crdt, RESERVED_ROOT, Map)
    return {
        key[len(_KINDS) :]: kind
        for key in marks.keys()  # noqa: SIM118 - a Map of pycrdt is no dict
        if key.startswith(_KINDS) and isinstance(kind := marks[key], str) and kind in _ALL
    }


def plain(value: object) -> Json:
    """A value of pycrdt as JSON has it."""
    if isinstance(value, Map):
        return {key: plain(value[key]) for key in sorted(value.keys())}
    if isinstance(value, Array):
        return [plain(item) for item in value]
    if isinstance(value, (Text, XmlText, XmlElement, XmlFragment)):
        return str(value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (bytes, bytearray)):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return int(value) if value.is_integer() and abs(value) < _SAFE else value
    if isinstance(value, (bool, int, str)):
        return value
    return None
