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

from tallystick.errors import Invalid, Reason
from tallystick_node.contexts.desk.crdt import Crdt, guarded
from tallystick_node.contexts.desk.unreadable import has_characters_in_lists

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
    lists = Lists(crdt)
    with crdt.doc.transaction():
        return {
            name: _plain(root, lists) for name, root in roots_of(crdt).items() if name != RESERVED_ROOT or with_reserved
        }


class Lists:
    """Whether the lists inside other types of a document can be read; found out once there is one."""

    def __init__(self, crdt: Crdt) -> None:
        self._crdt = crdt
        self._are_readable: bool | None = None

    @property
    def are_readable(self) -> bool:
        """Raises CrdtFailed."""
        if self._are_readable is None:
            self._are_readable = not has_characters_in_lists(self._crdt.encode())
        return self._are_readable


def plain(value: object) -> Json:
    """A value that is no shared type, as JSON has it."""
    return _plain(value, Lists(Crdt()))


def check_readable(crdt: Crdt) -> None:
    """Raises CrdtFailed; Invalid: INVALID_VALUE, a list cannot be read."""
    if not Lists(crdt).are_readable:
        raise Invalid("a list of the document holds characters, and cannot be read", reason=Reason.INVALID_VALUE)


def roots_of(crdt: Crdt) -> dict[str, Root]:
    """The roots of a document in their kinds, but for those that are empty and of no known kind; the reserved one too.
    pycrdt may raise anything."""
    with crdt.doc.transaction():
        names = set(crdt.doc.keys())
        kinds = _kinds(crdt) if RESERVED_ROOT in names else {}
        found = {name: root_of(crdt, name, kinds.get(name, "")) for name in names | set(kinds)}
        return {name: root for name, root in found.items() if root is not None}


def root_of(crdt: Crdt, name: str, kind: str) -> Root | None:
    """A root in its kind; None if it is empty and of no known kind. Whatever it is said to be, what holds characters is
    never read as a list: `unreadable` says why."""
    if kind in _MAPS or (not kind and len(_as(crdt, name, Map))):
        return _as(crdt, name, Map)
    if kind == "text" or str(_as(crdt, name, Text)):
        return _as(crdt, name, Text)
    as_list = _as(crdt, name, Array)
    if not kind and not len(as_list):
        return None
    if len(as_list) and isinstance(as_list[0], (XmlElement, XmlText)):
        return _as(crdt, name, XmlFragment)
    return as_list


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


def _plain(value: object, lists: Lists, *, is_root: bool = True) -> Json:
    """A value of pycrdt as JSON has it."""
    if isinstance(value, Map):
        return {key: _plain(value[key], lists, is_root=False) for key in sorted(value.keys())}
    if isinstance(value, Array):
        if not is_root and not lists.are_readable:
            return {"$unreadable": "characters in a list"}
        return [_plain(item, lists, is_root=False) for item in value]
    if isinstance(value, (Text, XmlText, XmlElement, XmlFragment)):
        return str(value)
    if isinstance(value, dict):
        return {str(key): _plain(item, lists) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, lists) for item in value]
    if isinstance(value, (bytes, bytearray)):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return int(value) if value.is_integer() and abs(value) < _SAFE else value
    if isinstance(value, (bool, int, str)):
        return value
    return None
