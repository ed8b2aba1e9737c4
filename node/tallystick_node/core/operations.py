"""What each operation does to a document.

Rules of this file:
- An operation either applies in full or raises `Invalid`; the caller then rolls the document back.
- SET, APPEND, MERGE and INCREMENT create missing parents as objects; DELETE and INSERT want their target to be there.
- Only objects and lists have insides: a path that leads through anything else, null too, is refused.
- Values are parsed at the moment they are applied, so a document shares nothing with a command.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, TypeAlias

from tallystick.errors import Invalid, Reason
from tallystick_node.core import limits
from tallystick_node.core.commands import Operation, OperationKind
from tallystick_node.core.document import Document
from tallystick_node.core.pointer import END, Tokens, format_pointer, is_index
from tallystick_node.core.values import JsonList, JsonObject, JsonValue, load_json


class _Missing:
    """The type of `_MISSING`: no value, which is not null."""


_MISSING: Final = _Missing()

_Found: TypeAlias = "JsonValue | _Missing"


class _Spot(NamedTuple):
    """Where a path leads: a key of a container, and the tokens behind it for which nothing is there yet."""

    node: JsonObject | JsonList
    key: str
    rest: Tokens


def apply_operation(document: Document, operation: Operation) -> None:
    """Apply one operation in place.

    Raises:
        Invalid: it does not fit the state; the document may then be half changed and must be rolled back.
    """
    _APPLY[operation.kind](document, operation)


def _set(document: Document, operation: Operation) -> None:
    _put(document, _locate(document, operation.tokens), load_json(operation.value))


def _delete(document: Document, operation: Operation) -> None:
    node, key, rest = _locate(document, operation.tokens)
    if node is document.holder:
        raise _misfit(operation.tokens, "the whole state cannot be deleted, only replaced")
    if rest:
        raise _misfit(operation.tokens, "there is nothing here")
    if isinstance(node, list):
        document.drop_item(node, _index(node, key))
    elif key in node:
        document.drop_member(node, key)
    else:
        raise _misfit(operation.tokens, "there is nothing here")


def _merge(document: Document, operation: Operation) -> None:
    """JSON Merge Patch, RFC 7396."""
    patch = load_json(operation.value)
    spot = _locate(document, operation.tokens)
    current = _value_at(spot)
    if isinstance(patch, dict) and isinstance(current, dict):
        _merge_into(document, current, patch)
    else:
        _put(document, spot, _without_nulls(patch))


def _append(document: Document, operation: Operation) -> None:
    spot = _locate(document, operation.tokens)
    current = _value_at(spot)
    value = load_json(operation.value)
    if isinstance(current, _Missing):
        _put(document, spot, [value])
    elif isinstance(current, list):
        document.insert_item(current, len(current), value)
    else:
        raise _misfit(operation.tokens, "only a list can be appended to")


def _insert(document: Document, operation: Operation) -> None:
    node, key, rest = _locate(document, operation.tokens)
    if rest or not isinstance(node, list):
        raise _misfit(operation.tokens, "only a list can be inserted into")
    document.insert_item(node, _index(node, key, may_end=True), load_json(operation.value))


def _increment(document: Document, operation: Operation) -> None:
    spot = _locate(document, operation.tokens)
    current = _value_at(spot)
    by = load_json(operation.value)
    number: int | float
    if isinstance(current, _Missing):
        number = 0
    elif isinstance(current, (int, float)) and not isinstance(current, bool):
        number = current
    else:
        raise _misfit(operation.tokens, "only a number can be incremented")
    if not isinstance(by, (int, float)) or isinstance(by, bool):
        raise _misfit(operation.tokens, "an increment is a number")
    _put(document, spot, _sum(number, by, operation.tokens))


def _sum(number: float, by: float, tokens: Tokens) -> int | float:
    total = number + by
    if isinstance(total, int):
        if not limits.INT_MIN <= total <= limits.INT_MAX:
            raise _misfit(tokens, "the sum does not fit into 64 bits")
    elif not math.isfinite(total):
        raise _misfit(tokens, "the sum is not finite")
    return total


def _locate(document: Document, tokens: Tokens) -> _Spot:
    """Walk down to the container that holds, or would hold, what the path names."""
    node: JsonObject | JsonList = document.holder
    key = ""
    for depth, token in enumerate(tokens):
        child: _Found
        if isinstance(node, dict):
            child = node.get(key, _MISSING)
            if isinstance(child, _Missing):
                return _Spot(node, key, tokens[depth:])
        else:
            child = node[_index(node, key)]
        if not isinstance(child, (dict, list)):
            raise _misfit(tokens[:depth], "only an object or a list has something inside")
        node = child
        key = token
    return _Spot(node, key, ())


def _value_at(spot: _Spot) -> _Found:
    node, key, rest = spot
    if rest:
        return _MISSING
    if isinstance(node, dict):
        return node.get(key, _MISSING)
    return node[_index(node, key)]


def _put(document: Document, spot: _Spot, value: JsonValue) -> None:
    """Put a value at a spot, with an object for each parent that is missing."""
    node, key, rest = spot
    for token in reversed(rest):
        value = {token: value}
    if isinstance(node, dict):
        document.put_member(node, key, value)
    elif key == END:
        document.insert_item(node, len(node), value)
    else:
        document.put_item(node, _index(node, key), value)


def _merge_into(document: Document, target: JsonObject, patch: JsonObject) -> None:
    for key, value in patch.items():
        current = target.get(key)
        if value is None:
            if key in target:
                document.drop_member(target, key)
        elif isinstance(value, dict) and isinstance(current, dict):
            _merge_into(document, current, value)
        else:
            document.put_member(target, key, _without_nulls(value))


def _without_nulls(patch: JsonValue) -> JsonValue:
    """What a patch makes of nothing: itself without the members that are null."""
    if not isinstance(patch, dict):
        return patch
    return {key: _without_nulls(value) for key, value in patch.items() if value is not None}


def _index(node: JsonList, token: str, *, may_end: bool = False) -> int:
    if may_end and token == END:
        return len(node)
    index = int(token) if is_index(token) else -1
    if 0 <= index < len(node) + (1 if may_end else 0):
        return index
    raise _misfit((token,), f"not an index of this list of {len(node)}")


def _misfit(tokens: Tokens, why: str) -> Invalid:
    path = format_pointer(tokens)
    return Invalid(f"{why}: {path[:100]!r}", reason=Reason.INVALID_OPERATION)


_APPLY: Final[Mapping[OperationKind, Callable[[Document, Operation], None]]] = {
    OperationKind.SET: _set,
    OperationKind.DELETE: _delete,
    OperationKind.MERGE: _merge,
    OperationKind.APPEND: _append,
    OperationKind.INSERT: _insert,
    OperationKind.INCREMENT: _increment,
    OperationKind.REPLACE: _set,
}
