"""What a schema's document may say: JSON Schema 2020-12, without what reaches out of it or may run for ever.

Rules of this file:
- References lead to `#` and to `#/$defs/NAME` alone, so a document means the same wherever it is read.
- What is looked at for one value is bounded: references in a circle must go into the value, and at one place of it at
  most `SCHEMA_APPLIED` subschemas apply.
- `format` says something to people: nothing is checked by it. Keywords that are not known say nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final
from urllib.parse import unquote

from tallystick.errors import Invalid
from tallystick_node.core import limits
from tallystick_node.core.values import JsonObject, JsonValue, canonical_json, parse_json
from tallystick_node.wire.fields import check_bytes

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

ROOT: Final = "#"
DEFS: Final = "#/$defs/"

_REFUSED: Final = frozenset(
    ("$id", "$anchor", "$dynamicRef", "$dynamicAnchor", "$vocabulary", "$recursiveRef", "$recursiveAnchor")
)

IN_PLACE_MANY: Final = ("allOf", "anyOf", "oneOf")
_IN_PLACE_ONE: Final = ("not", "if", "then", "else")
_IN_PLACE_NAMED: Final = ("dependentSchemas",)
_BELOW_MANY: Final = ("prefixItems",)
_BELOW_ONE: Final = (
    "items", "contains", "additionalProperties", "propertyNames", "unevaluatedItems", "unevaluatedProperties"
)  # fmt: skip
_BELOW_NAMED: Final = ("properties", "patternProperties")


def admit(text: bytes) -> bytes:
    """A document as canonical JSON.

    Raises:
        Invalid: it is no schema that is admitted; `metadata["path"]` says where.
    """
    check_bytes("document", text, 4 * limits.SCHEMA_DOCUMENT_BYTES)
    root = parse_json(text, "document")
    if not isinstance(root, dict):
        raise _invalid("", "a schema is a JSON object")
    if root.get("$schema", DIALECT) not in {DIALECT, f"{DIALECT}#"}:
        raise _invalid("/$schema", f"only {DIALECT} is understood")
    document = canonical_json(root)
    check_bytes("document", document, limits.SCHEMA_DOCUMENT_BYTES)
    _check_all(root)
    return document


def target(root: JsonObject, reference: str) -> JsonValue:
    """What a reference of an admitted document leads to."""
    if reference == ROOT:
        return root
    return definitions_of(root)[_name(reference)]


def definitions_of(root: JsonObject) -> JsonObject:
    """What a document defines, by name."""
    found = root.get("$defs")
    return found if isinstance(found, dict) else {}


def place(reference: str) -> str:
    """Where that is, as a JSON Pointer."""
    return unquote(reference[1:])


def escaped(token: str) -> str:
    """A token of a JSON Pointer."""
    return token.replace("~", "~0").replace("/", "~1")


def _check_all(root: JsonObject) -> None:
    """Look at each subschema, wherever it stands, and at how many of them apply at once."""
    every: list[tuple[str, JsonObject]] = []
    left: list[tuple[str, JsonValue]] = [("", root)]
    while left:
        path, schema = left.pop()
        if isinstance(schema, dict):
            _check_one(root, path, schema)
            every.append((path, schema))
            left.extend(_children(path, schema))
    counted: dict[int, int] = {}
    for path, schema in every:
        _count(root, path, schema, counted, set())


def _check_one(root: JsonObject, path: str, schema: JsonObject) -> None:
    for keyword in sorted(_REFUSED & schema.keys()):
        raise _invalid(f"{path}/{keyword}", f"{keyword} is not admitted: references lead to $defs by their names")
    reference = schema.get("$ref")
    if reference is not None and not _is_known(root, reference):
        raise _invalid(f"{path}/$ref", "a reference leads to # or to #/$defs/NAME, which is there")
    patterns = [schema["pattern"]] if "pattern" in schema else []
    named = schema.get("patternProperties")
    for pattern in [*patterns, *(named if isinstance(named, dict) else ())]:
        if isinstance(pattern, str) and len(pattern) > limits.SCHEMA_PATTERN_CHARS:
            raise _invalid(path, f"a pattern has at most {limits.SCHEMA_PATTERN_CHARS} characters")


def _is_known(root: JsonObject, reference: JsonValue) -> bool:
    if not isinstance(reference, str):
        return False
    if reference == ROOT:
        return True
    is_one = reference.startswith(DEFS) and "/" not in reference[len(DEFS) :]
    return is_one and _name(reference) in definitions_of(root)


def _name(reference: str) -> str:
    return unquote(reference[len(DEFS) :]).replace("~1", "/").replace("~0", "~")


def _children(path: str, schema: JsonObject) -> Iterator[tuple[str, JsonValue]]:
    yield from _named(f"{path}/$defs", schema.get("$defs"))
    yield from in_place(path, schema)
    for keyword in _BELOW_ONE:
        if keyword in schema:
            yield f"{path}/{keyword}", schema[keyword]
    for keyword in _BELOW_MANY:
        yield from _listed(f"{path}/{keyword}", schema.get(keyword))
    for keyword in _BELOW_NAMED:
        yield from _named(f"{path}/{keyword}", schema.get(keyword))


def with_subschemas(schema: JsonObject, change: Callable[[JsonValue], JsonValue]) -> JsonObject:
    """The schema with each of its subschemas changed, but for those that `$defs` names."""
    changed = dict(schema)
    for keyword, value in schema.items():
        if keyword in (*_IN_PLACE_ONE, *_BELOW_ONE):
            changed[keyword] = change(value)
        elif keyword in (*IN_PLACE_MANY, *_BELOW_MANY) and isinstance(value, list):
            changed[keyword] = [change(each) for each in value]
        elif keyword in (*_IN_PLACE_NAMED, *_BELOW_NAMED) and isinstance(value, dict):
            changed[keyword] = {name: change(each) for name, each in value.items()}
    return changed


def in_place(path: str, schema: JsonObject) -> Iterator[tuple[str, JsonValue]]:
    """The subschemas that apply to the same value, but for that of `$ref`."""
    for keyword in _IN_PLACE_ONE:
        if keyword in schema:
            yield f"{path}/{keyword}", schema[keyword]
    for keyword in IN_PLACE_MANY:
        yield from _listed(f"{path}/{keyword}", schema.get(keyword))
    for keyword in _IN_PLACE_NAMED:
        yield from _named(f"{path}/{keyword}", schema.get(keyword))


def _listed(path: str, schemas: JsonValue) -> Iterator[tuple[str, JsonValue]]:
    if isinstance(schemas, list):
        for at, schema in enumerate(schemas):
            yield f"{path}/{at}", schema


def _named(path: str, schemas: JsonValue) -> Iterator[tuple[str, JsonValue]]:
    if isinstance(schemas, dict):
        for name, schema in schemas.items():
            yield f"{path}/{escaped(name)}", schema


def _count(root: JsonObject, path: str, schema: JsonValue, counted: dict[int, int], open_: set[int]) -> int:
    """How many subschemas apply where this one does, itself among them."""
    if not isinstance(schema, dict):
        return 1
    if id(schema) in counted:
        return counted[id(schema)]
    if id(schema) in open_:
        raise _invalid(path, "references go in a circle without going into the value")
    if len(open_) >= limits.SCHEMA_IN_PLACE_DEPTH:
        raise _invalid(
            path, f"more than {limits.SCHEMA_IN_PLACE_DEPTH} subschemas apply to one value, each within another"
        )
    open_.add(id(schema))
    count = 1 + sum(_count(root, at, each, counted, open_) for at, each in in_place(path, schema))
    reference = schema.get("$ref")
    if isinstance(reference, str):
        count += _count(root, place(reference), target(root, reference), counted, open_)
    open_.remove(id(schema))
    if count > limits.SCHEMA_APPLIED:
        raise _invalid(path, f"more than {limits.SCHEMA_APPLIED} subschemas apply to one value")
    counted[id(schema)] = count
    return count


def _invalid(path: str, why: str) -> Invalid:
    return Invalid(f"document at {path or '/'}: {why}", metadata={"field": "document", "path": path})
