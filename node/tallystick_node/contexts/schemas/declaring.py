"""What a context's schema declares: `{"roots": {name: {"type": kind, "schema": {...}}}, "strict": bool}`.

Rules of this file:
- Each root's schema is JSON Schema, Draft 2020-12, without what could run for ever or reach out: patterns, keywords
  that look at what others evaluated, references but to `#` and to definitions of its own.
- jsonschema is imported with the first schema: it would be a tenth of every node's start.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from tallystick.errors import Invalid, Reason
from tallystick_node.contexts.limits import DOCUMENT_ROOTS

MAP_KINDS: Final = frozenset(("map", "counter", "set", "register", "board"))
KINDS: Final = MAP_KINDS | {"list", "text"}

_REFUSED: Final = frozenset(
    (
        "pattern", "patternProperties", "unevaluatedItems", "unevaluatedProperties", "$dynamicRef", "$dynamicAnchor",
        "$id", "$anchor", "$vocabulary", "$recursiveRef",
    )
)  # fmt: skip
_OF_NAMES: Final = ("properties", "$defs", "definitions", "dependentSchemas")
_OF_MANY: Final = ("allOf", "anyOf", "oneOf", "prefixItems")
_OF_ONE: Final = ("items", "contains", "additionalProperties", "propertyNames", "if", "then", "else", "not")
_REFERENCE: Final = re.compile(r"#(/(\$defs|definitions)/[^/]+)?")


@dataclass(frozen=True, slots=True)
class Declared:
    """A schema.

    Attributes:
        kinds: of the roots that have one.
        schemas: of the roots that have one.
        is_strict: other roots are refused.
    """

    roots: frozenset[str]
    kinds: Mapping[str, str]
    schemas: Mapping[str, Any]
    is_strict: bool


def read(text: bytes) -> Declared:
    """What a schema says.

    Raises:
        Invalid: INVALID_JSON, it is none.
    """
    try:
        said: object = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise _invalid("it is no JSON") from None
    if not isinstance(said, dict):
        raise _invalid("it is no object")
    roots, is_strict = said.get("roots", {}), said.get("strict", False)
    if not isinstance(roots, dict) or not isinstance(is_strict, bool) or len(roots) > DOCUMENT_ROOTS:
        raise _invalid(f'"roots" is an object of at most {DOCUMENT_ROOTS}, "strict" true or false')
    kinds: dict[str, str] = {}
    schemas: dict[str, Any] = {}
    for name, root in roots.items():
        if not isinstance(root, dict):
            raise _invalid(f"root {name!r} is no object")
        if "type" in root:
            if root["type"] not in KINDS:
                raise _invalid(f"the type of root {name!r} is none of {', '.join(sorted(KINDS))}")
            kinds[name] = root["type"]
        if "schema" in root:
            _check(name, root["schema"])
            schemas[name] = root["schema"]
    return Declared(frozenset(roots), kinds, schemas, is_strict)


def _check(name: str, schema: object) -> None:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError

    try:
        Draft202012Validator.check_schema(schema)  # type: ignore[arg-type]  # any JSON: that is what it checks
    except SchemaError as error:
        raise _invalid(f"root {name!r}: {error.message[:200]}") from None
    except RecursionError:
        raise _invalid(f"root {name!r}: it nests too deep") from None
    for part in _parts(schema):
        refused = sorted(_REFUSED.intersection(part))
        if refused:
            raise _invalid(f"root {name!r}: {refused[0]!r} is not taken")
        reference = part.get("$ref", "#")
        if not isinstance(reference, str) or _REFERENCE.fullmatch(reference) is None:
            raise _invalid(f"root {name!r}: a reference goes to #, #/$defs/... or #/definitions/...")


def _parts(schema: object) -> Iterator[dict[str, Any]]:
    """The schemas in a schema, and itself."""
    left: list[object] = [schema]
    while left:
        part = left.pop()
        if not isinstance(part, dict):
            continue
        yield part
        for key in _OF_NAMES:
            if isinstance(inner := part.get(key), dict):
                left.extend(inner.values())
        for key in _OF_MANY:
            if isinstance(several := part.get(key), list):
                left.extend(several)
        left.extend(part[key] for key in _OF_ONE if key in part)


def _invalid(message: str) -> Invalid:
    return Invalid(f"schema: {message}", reason=Reason.INVALID_JSON, metadata={"field": "schema"})
