"""The operations on a state: `from tallystick import ops`.

Paths are JSON Pointers (RFC 6901): `/done/0`, `/a~1b` for the key `a/b`, `""` for the whole state. Each function raises
`Invalid` when the path is no pointer or the value is not JSON; what does not fit the state is refused by the node.

Example:
    >>> ops.set("/next_batch", 2)
    Operation(kind=<OperationKind.SET: 'set'>, path='/next_batch', value_json=b'2')
"""

from __future__ import annotations

import re
from typing import Final

from tallystick._json import JSONLike, encode
from tallystick._values import Operation, OperationKind
from tallystick.errors import Invalid, Reason

__all__ = ["Operation", "OperationKind", "append", "delete", "increment", "insert", "merge", "replace", "set"]

_POINTER: Final = re.compile(r"(?:/(?:[^~/]|~[01])*)*")


def set(path: str, value: JSONLike) -> Operation:  # noqa: A001 - the words of the wire, always used as `ops.set`
    """Puts the value at the path; missing parents that are objects are created."""
    return Operation(OperationKind.SET, _pointer(path), encode(value))


def delete(path: str) -> Operation:
    """Removes what is at the path; refused if nothing is."""
    return Operation(OperationKind.DELETE, _pointer(path))


def merge(path: str, patch: JSONLike) -> Operation:
    """Applies a JSON Merge Patch (RFC 7396) at the path: null removes a key."""
    return Operation(OperationKind.MERGE, _pointer(path), encode(patch))


def append(path: str, value: JSONLike) -> Operation:
    """Adds the value at the end of the list at the path; a missing list is created."""
    return Operation(OperationKind.APPEND, _pointer(path), encode(value))


def insert(path: str, value: JSONLike) -> Operation:
    """Puts the value before the list index that ends the path."""
    return Operation(OperationKind.INSERT, _pointer(path), encode(value))


def increment(path: str, by: int | float = 1) -> Operation:
    """Adds a number to the number at the path; a missing one counts as 0."""
    if isinstance(by, bool) or not isinstance(by, int | float):
        raise Invalid("an increment is a number", reason=Reason.INVALID_OPERATION, metadata={"path": path})
    return Operation(OperationKind.INCREMENT, _pointer(path), encode(by))


def replace(state: JSONLike) -> Operation:
    """Replaces the whole state."""
    return Operation(OperationKind.REPLACE, "", encode(state))


def _pointer(path: str) -> str:
    if _POINTER.fullmatch(path) is None:
        raise Invalid(f"not a JSON Pointer: {path!r}", reason=Reason.INVALID_POINTER, metadata={"path": path})
    return path
