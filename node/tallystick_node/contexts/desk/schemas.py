"""The schema of a context at a merge: what is refused, and what is flagged.

Rules of this file:
- Refused to clients alone, and only where the update itself shows it: an element or a key where the other is declared,
  a root that is not declared where that is strict. What another node merged is merged here.
- Flagged: what an edit breaks that was not broken before it. Nothing is refused for that: two edits that are right may
  break a rule together.
- Bounded: documents up to `SCHEMA_DOCUMENT_BYTES` are validated, and of those what the last edit changed.
- A schema that cannot be read (an older release took it) says nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

from tallystick.contexts.views.shapes import Kind as Shown
from tallystick.contexts.views.shapes import shape
from tallystick.errors import Invalid, Reason
from tallystick_node.contexts.desk import limits as own
from tallystick_node.contexts.desk.crdt import Crdt, guarded
from tallystick_node.contexts.desk.rendering import RESERVED_ROOT, Json, to_json
from tallystick_node.contexts.schemas.breaking import BREAKS, Breaks
from tallystick_node.contexts.schemas.declaring import MAP_KINDS, Declared, read
from tallystick_node.contexts.updates.decode import Kind, Update

_LIST: Final = (Kind.ANY, Kind.BINARY)
_TEXT: Final = (Kind.STRING, Kind.EMBED, Kind.FORMAT)


class _Schema(NamedTuple):
    declared: Declared
    breaks: Breaks


class _Judged(NamedTuple):
    """What was found of a document at a number."""

    number: int
    roots: dict[str, Json]
    broken: dict[str, list[str]]


class Schemas:
    """The schemas of a desk's documents."""

    def __init__(self) -> None:
        self._schemas: OrderedDict[bytes, _Schema | None] = OrderedDict()
        self._judged: OrderedDict[int, _Judged] = OrderedDict()

    def check(self, text: bytes, update: Update) -> None:
        """Refuses what a client may not write. Raises Invalid: TYPE_CLASH."""
        schema = self._schema(text)
        if schema is None:
            return
        declared = schema.declared
        for struct in update.structs:
            root = struct.parent
            if not isinstance(root, str) or root == RESERVED_ROOT or struct.kind is Kind.GC:
                continue
            if declared.is_strict and root not in declared.roots:
                raise _clash(root, "is not declared, and the schema is strict")
            kind = declared.kinds.get(root)
            if kind is None:
                continue
            if (struct.key is not None) is not (kind in MAP_KINDS):
                raise _clash(root, f"is a {kind}")
            if (kind == "list" and struct.kind in _TEXT) or (kind == "text" and struct.kind in _LIST):
                raise _clash(root, f"is a {kind}")

    def before(self, text: bytes, life: int, number: int, size_bytes: int, crdt: Crdt) -> _Judged | None:
        """What a document breaks before an edit; None: it is not looked at. Raises CrdtFailed."""
        schema = self._schema(text)
        if schema is None or not schema.breaks.roots or size_bytes > own.SCHEMA_DOCUMENT_BYTES:
            return None
        judged = self._judged.get(life)
        if judged is None or judged.number != number:
            judged = self._judge(schema, number, crdt, _Judged(number, {}, {}))
        return judged

    def flags(self, text: bytes, life: int, number: int, crdt: Crdt, before: _Judged) -> list[str]:
        """What the edit that led to a number broke. Raises CrdtFailed."""
        schema = self._schema(text)
        if schema is None:
            return []
        after = self._judge(schema, number, crdt, before)
        self._judged.pop(life, None)
        self._judged[life] = after
        if len(self._judged) > own.SCHEMA_DOCUMENTS:
            self._judged.popitem(last=False)
        old = {one for some in before.broken.values() for one in some}
        return [one for _, some in sorted(after.broken.items()) for one in some if one not in old][:BREAKS]

    def forget(self) -> None:
        """A batch was not stored."""
        self._judged.clear()

    def _schema(self, text: bytes) -> _Schema | None:
        if not text:
            return None
        if text in self._schemas:
            self._schemas.move_to_end(text)
            return self._schemas[text]
        try:
            declared = read(text)
            schema = _Schema(declared, Breaks(declared))
        except Invalid:
            schema = None
        self._schemas[text] = schema
        if len(self._schemas) > own.SCHEMAS:
            self._schemas.popitem(last=False)
        return schema

    def _judge(self, schema: _Schema, number: int, crdt: Crdt, known: _Judged) -> _Judged:
        content = guarded(to_json, crdt)
        roots = {name: content[name] for name in schema.breaks.roots if name in content}
        broken: dict[str, list[str]] = {}
        for name, value in roots.items():
            if name in known.roots and known.roots[name] == value:
                broken[name] = known.broken[name]
            else:
                kind = schema.declared.kinds.get(name)
                shown = shape(None if kind is None else Shown(kind), value)
                broken[name] = schema.breaks.of(name, shown)
        return _Judged(number, roots, broken)


def _clash(root: str, why: str) -> Invalid:
    return Invalid(f"the root {root!r} {why}", reason=Reason.TYPE_CLASH, metadata={"root": root[:200]})
