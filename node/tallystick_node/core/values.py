"""JSON values: what is admitted, how they are written, how large and how deep they are.

Rules of this file:
- Text is UTF-8 without surrogates; numbers are finite; integers are in [-2**63, 2**64) and never become floats.
- Canonical JSON is compact with sorted keys: equal values give equal bytes, on every replica.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import Final, NoReturn, TypeAlias

import orjson

from tallystick.errors import Invalid, Reason
from tallystick_node.core import limits

JsonValue: TypeAlias = "dict[str, JsonValue] | list[JsonValue] | str | int | float | bool | None"
JsonObject: TypeAlias = dict[str, JsonValue]
JsonList: TypeAlias = list[JsonValue]

# orjson reads a longer integer as a float; only text with so many digits in a row needs the second look.
_MANY_DIGITS: Final = re.compile(rb"[0-9]{19}")
_INT_CHARS: Final = 20
_MAY_HOLD_NUMBERS: Final = frozenset({dict, list, float})  # not text, which is often long


def parse_json(text: bytes, field: str = "value", *, depth_limit: int = limits.JSON_DEPTH) -> JsonValue:
    """The value of a JSON text that a client handed in.

    Raises:
        Invalid: `INVALID_JSON` or `TOO_DEEP`, `metadata["field"]` naming the field.
    """
    try:
        value: JsonValue = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _invalid(field, f"not JSON: {error}") from error
    if type(value) in {dict, list} and json_depth(value, depth_limit) > depth_limit:
        raise Invalid(
            f"{field}: nested deeper than {depth_limit}",
            reason=Reason.TOO_DEEP,
            metadata={"field": field, "limit": str(depth_limit)},
        )
    if type(value) in _MAY_HOLD_NUMBERS and _MANY_DIGITS.search(text):
        _check_integers(text, field)
    return value


def load_json(text: bytes) -> JsonValue:
    """The value of a JSON text that was admitted before: fresh at each call, shared with nobody.

    Raises:
        Invalid: `INVALID_JSON`.
    """
    try:
        value: JsonValue = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _invalid("value", f"not JSON: {error}") from error
    return value


def json_size(value: JsonValue) -> int:
    """Bytes of the value as compact JSON."""
    return len(orjson.dumps(value))


def canonical_json(value: JsonValue) -> bytes:
    """The one way to write a value: compact, keys sorted."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def digest_json(value: JsonValue) -> bytes:
    """SHA-256 of the canonical JSON."""
    return hashlib.sha256(canonical_json(value)).digest()


def json_depth(value: JsonValue, limit: int) -> int:
    """Nesting: 0 for a scalar, 1 for a flat list or object. Gives up at `limit` + 1."""
    depth = 0
    level = [value]
    while True:
        containers = [item for item in level if isinstance(item, (dict, list))]
        if not containers or depth > limit:
            return depth
        depth += 1
        level = []
        for item in containers:
            level.extend(item.values() if isinstance(item, dict) else item)


def _check_integers(text: bytes, field: str) -> None:
    """Refuse integers beyond 64 bits, which the fast parser reads as floats."""

    def check(literal: str) -> int:
        number = int(literal) if len(literal) <= _INT_CHARS else limits.INT_MAX + 1
        if not limits.INT_MIN <= number <= limits.INT_MAX:
            raise _invalid(field, f"the integer {literal[:24]} does not fit into 64 bits")
        return number

    json.loads(text, parse_int=check, parse_constant=_no_constant)


def _no_constant(name: str) -> NoReturn:
    raise AssertionError(f"{name} passed the strict parser")


def _invalid(field: str, why: str) -> Invalid:
    return Invalid(f"{field}: {why}", reason=Reason.INVALID_JSON, metadata={"field": field})
