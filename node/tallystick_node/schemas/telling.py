"""A document that allows what another does, and is quick to tell why a value is not valid.

The library tells of each alternative (`anyOf`, `oneOf`) all that is wrong with it, and what is wrong within that: in a
schema that leads back to itself the time doubles with each step into the value. Whether it is valid at all is
known at once. So here alternatives stand behind two `not`, of which nothing is told but that the value is not valid.

Rules of this file:
- What stands behind `not` is as it was, with what it refers to: what is left unevaluated depends on it.
- The same for what looks at what is left unevaluated: it is told as one.
"""

from __future__ import annotations

from typing import Final

from tallystick_node.core.values import JsonObject, JsonValue
from tallystick_node.schemas.documents import DEFS, ROOT, definitions_of, with_subschemas

_ALTERNATIVES: Final = ("anyOf", "oneOf")
_UNEVALUATED: Final = ("unevaluatedItems", "unevaluatedProperties")

_WORDS: Final = {
    "anyOf": "the value is not valid under any of the schemas listed in the 'anyOf' keyword",
    "oneOf": "the value is not valid under exactly one of the schemas listed in the 'oneOf' keyword",
}


def telling(root: JsonObject) -> JsonObject:
    """That of an admitted document."""
    return _Telling(root).document()


def told_as_one(schema: JsonValue) -> tuple[str, str] | None:
    """The keyword, and in words why a value is not valid, where `not` of this failed; None: for what it is."""
    inner = schema.get("not") if isinstance(schema, dict) else None
    if not isinstance(inner, dict):
        return None
    for keyword in (*_UNEVALUATED, *_ALTERNATIVES):
        if keyword in inner:
            return keyword, _WORDS.get(keyword, f"the value is not valid: where is not told next to '{keyword}'")
    return None


class _Telling:
    def __init__(self, root: JsonObject) -> None:
        self._root = root
        self._definitions = definitions_of(root)
        self._prefix = "told"  # no name of the document begins so
        while any(name.startswith(self._prefix) for name in self._definitions):
            self._prefix += "_"

    def document(self) -> JsonObject:
        told = {f"{self._prefix}.{name}": self._told(each) for name, each in self._definitions.items()}
        kept = {name: self._kept(each) for name, each in self._definitions.items()}
        return {
            **self._told_object(self._root),
            "$defs": {**kept, **told, self._prefix: self._kept({**self._root, "$defs": {}})},
        }

    def _told(self, schema: JsonValue) -> JsonValue:
        return self._told_object(schema) if isinstance(schema, dict) else schema

    def _told_object(self, schema: JsonObject) -> JsonObject:
        if any(keyword in schema for keyword in _UNEVALUATED):
            return _not_not(self._kept(schema))
        alternatives = {name: schema[name] for name in _ALTERNATIVES if name in schema}
        told = with_subschemas({name: schema[name] for name in schema if name not in alternatives}, self._told)
        reference = told.get("$ref")
        if isinstance(reference, str) and reference != ROOT:
            told["$ref"] = f"{DEFS}{self._prefix}.{reference[len(DEFS) :]}"
        if alternatives:
            all_of = told.get("allOf")
            each = [_not_not(self._kept({name: schemas})) for name, schemas in alternatives.items()]
            told["allOf"] = [*(all_of if isinstance(all_of, list) else ()), *each]
        return told

    def _kept(self, schema: JsonValue) -> JsonValue:
        """As it was, but that the whole document has a name of its own here."""
        if not isinstance(schema, dict):
            return schema
        kept = with_subschemas(schema, self._kept)
        return {**kept, "$ref": f"{DEFS}{self._prefix}"} if kept.get("$ref") == ROOT else kept


def _not_not(schema: JsonValue) -> JsonObject:
    return {"not": {"not": schema}}
