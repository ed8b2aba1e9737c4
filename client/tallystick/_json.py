"""JSON at the client's edge: plain values to text and back.

Rules of this file:
- What is not JSON is refused here, before anything is sent: NaN and infinities, keys that are not strings, dates,
  dataclasses, sets. (orjson alone would write NaN as null and dates as text, so values are walked first.)
- A value becomes text at once: what the caller changes afterwards changes nothing that was handed in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import orjson

from tallystick._payload_ref import PayloadRef
from tallystick.errors import Corrupt, Invalid, Reason

JSON: TypeAlias = "dict[str, JSON] | list[JSON] | str | int | float | bool | None"
"""A JSON value as it comes back: dict, list, str, int, float, bool or None."""

JSONLike: TypeAlias = "Mapping[str, JSONLike] | Sequence[JSONLike] | str | int | float | bool | None"
"""What is taken as JSON: dicts, lists, tuples and scalars (of these very types; no subclasses of dict or list), and
`PayloadRef`."""

MAX_DEPTH: Final = 200
"""How deep a value may nest here; the node's own limit is smaller. It also ends the walk over what holds itself."""

_OPTIONS: Final = orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
_PLAIN: Final = frozenset({str, int, bool, type(None)})


def encode(value: JSONLike) -> bytes:
    """The value as JSON text in UTF-8.

    Raises:
        Invalid: it is not JSON (`INVALID_JSON`), or nests deeper than `MAX_DEPTH` (`TOO_DEEP`).
    """
    if type(value) not in _PLAIN:
        _check(value, depth=0)
    try:
        return orjson.dumps(value, default=_plain, option=_OPTIONS)
    except TypeError as error:  # orjson.JSONEncodeError is one: an integer beyond 64 bits, a lone surrogate
        raise Invalid(f"not JSON: {error}", reason=Reason.INVALID_JSON) from error


def decode(text: bytes) -> JSON:
    """The value of a JSON text that a node sent; no text at all is None.

    Raises:
        Corrupt: it is not JSON.
    """
    if not text:
        return None
    try:
        value: JSON = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Corrupt(f"the node sent what is not JSON: {error}") from error
    return value


def _check(value: JSONLike, depth: int) -> None:
    """Refuses what orjson would bend into JSON."""
    kind = type(value)
    if kind in _PLAIN:
        return
    if depth >= MAX_DEPTH:
        raise Invalid(
            f"the value nests deeper than {MAX_DEPTH}", reason=Reason.TOO_DEEP, metadata={"limit": str(MAX_DEPTH)}
        )
    if isinstance(value, float):
        if kind is not float or not math.isfinite(value):
            raise Invalid(f"not JSON: {value!r}", reason=Reason.INVALID_JSON)
    elif isinstance(value, dict) and kind is dict:
        for key, item in value.items():
            if type(key) is not str:
                raise Invalid(f"not JSON: the key {key!r} is not a string", reason=Reason.INVALID_JSON)
            _check(item, depth + 1)
    elif isinstance(value, list | tuple) and kind in (list, tuple):
        for item in value:
            _check(item, depth + 1)
    elif kind is not PayloadRef:
        raise Invalid(f"not JSON: a value of type {kind.__qualname__}", reason=Reason.INVALID_JSON)


def _plain(value: object) -> object:
    if isinstance(value, PayloadRef):
        return value.to_json()
    raise TypeError(f"a value of type {type(value).__qualname__}")
