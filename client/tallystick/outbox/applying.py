"""What operations do to a state, in the client: how an agent that is cut off knows what it has.

The node's rules once more (docs/reference/api.md, Operations), tested against the node's own code: if the two ever
differ, what was seen offline would not be what is decided.

Rules of this file:
- Pure. A state is never changed: what an operation touches is copied on the way to it, all else is shared.
- SET, APPEND, MERGE and INCREMENT create missing parents as objects; DELETE and INSERT want their target to be there.
- Limits that depend on sizes are the node's to check: what exceeds them is refused when it comes home.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from functools import reduce
from typing import Final

from tallystick._json import JSON
from tallystick._pointer import tokens_of
from tallystick._values import Mutation, Operation, OperationKind
from tallystick.errors import Invalid, Reason
from tallystick.history.merging import NOTHING, Nothing, Side

_END: Final = "-"
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,9}")
_INT_MIN: Final = -(2**63)
_INT_MAX: Final = 2**64 - 1
_MAKES_PARENTS: Final = frozenset(
    {OperationKind.SET, OperationKind.APPEND, OperationKind.MERGE, OperationKind.INCREMENT}
)

_Change = Callable[[Side], Side]


def apply(state: JSON, mutations: Iterable[Mutation]) -> JSON:
    """The state after the mutations, all or none.

    Example:
        >>> apply({"n": 1}, [Mutation.of(ops.increment("/n"))])
        {'n': 2}

    Raises:
        Invalid: an operation does not fit the state; `metadata` names the mutation and the path.
    """
    for number, mutation in enumerate(mutations):
        for operation in mutation.operations:
            try:
                state = apply_operation(state, operation)
            except Invalid as refused:
                refused.metadata.update(mutation=str(number), path=operation.path)
                raise
    return state


def apply_operation(state: JSON, operation: Operation) -> JSON:
    """The state after one operation.

    Raises:
        Invalid: `INVALID_OPERATION`: it does not fit.
    """
    tokens = tokens_of(operation.path)
    value = operation.value
    kind = operation.kind
    if kind is OperationKind.REPLACE:
        return value
    if kind is OperationKind.INSERT:
        changed = _changed(state, tokens[:-1], lambda items: _inserted(items, tokens[-1], value), parents=False)
    elif kind is OperationKind.SET and tokens and tokens[-1] == _END:
        changed = _changed(state, tokens[:-1], lambda items: _at_end(items, value), parents=True)
    else:
        changed = _changed(state, tokens, _leaf(kind, value), parents=kind in _MAKES_PARENTS)
    if isinstance(changed, Nothing):
        raise _misfit("the whole state cannot be deleted, only replaced")
    return changed


def _leaf(kind: OperationKind, value: JSON) -> _Change:
    match kind:
        case OperationKind.DELETE:
            return _deleted
        case OperationKind.MERGE:
            return lambda current: _merged(current, value)
        case OperationKind.APPEND:
            return lambda current: _appended(current, value)
        case OperationKind.INCREMENT:
            return lambda current: _incremented(current, value)
        case _:
            return lambda _current: value


def _changed(node: Side, tokens: list[str], change: _Change, *, parents: bool) -> Side:
    """The node with what the tokens lead to changed. A node that is not there is made, if `parents` says so."""
    if isinstance(node, Nothing):
        return reduce(lambda inner, token: {token: _there(inner)}, reversed(tokens), change(NOTHING))
    if not tokens:
        return change(node)
    token, rest = tokens[0], tokens[1:]
    if isinstance(node, dict):
        if token not in node and not parents:
            raise _misfit("there is nothing here")
        return _with_member(node, token, _changed(node.get(token, NOTHING), rest, change, parents=parents))
    if isinstance(node, list):
        at = _index(node, token)
        item = _changed(node[at], rest, change, parents=parents)
        return [*node[:at], *([] if isinstance(item, Nothing) else [item]), *node[at + 1 :]]
    raise _misfit("only an object or a list has something inside")


def _with_member(node: dict[str, JSON], key: str, value: Side) -> JSON:
    if isinstance(value, Nothing):
        return {other: item for other, item in node.items() if other != key}
    return {**node, key: value}


def _deleted(current: Side) -> Side:
    if isinstance(current, Nothing):
        raise _misfit("there is nothing here")
    return NOTHING


def _inserted(items: Side, token: str, value: JSON) -> Side:
    if not isinstance(items, list):
        raise _misfit("only a list can be inserted into")
    at = len(items) if token == _END else _index(items, token, may_end=True)
    return [*items[:at], value, *items[at:]]


def _at_end(items: Side, value: JSON) -> Side:
    """`set` at `/list/-`; in an object `-` is a key like any other."""
    if isinstance(items, list):
        return [*items, value]
    if isinstance(items, Nothing):
        return {_END: value}
    if isinstance(items, dict):
        return {**items, _END: value}
    raise _misfit("only an object or a list has something inside")


def _appended(current: Side, value: JSON) -> Side:
    if isinstance(current, Nothing):
        return [value]
    if isinstance(current, list):
        return [*current, value]
    raise _misfit("only a list can be appended to")


def _incremented(current: Side, by: JSON) -> Side:
    number = 0 if isinstance(current, Nothing) else current
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise _misfit("only a number can be incremented")
    if isinstance(by, bool) or not isinstance(by, int | float):
        raise _misfit("an increment is a number")
    total = number + by
    if isinstance(total, int):
        if not _INT_MIN <= total <= _INT_MAX:
            raise _misfit("the sum does not fit into 64 bits")
    elif not math.isfinite(total):
        raise _misfit("the sum is not finite")
    return total


def _merged(current: Side, patch: JSON) -> JSON:
    """JSON Merge Patch, RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(current) if isinstance(current, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key, NOTHING), value)
    return merged


def _index(items: list[JSON], token: str, *, may_end: bool = False) -> int:
    index = int(token) if _INDEX.fullmatch(token) else -1
    if 0 <= index < len(items) + (1 if may_end else 0):
        return index
    raise _misfit(f"not an index of this list of {len(items)}: {token[:20]!r}")


def _there(value: Side) -> JSON:
    if isinstance(value, Nothing):
        raise _misfit("there is nothing here")
    return value


def _misfit(why: str) -> Invalid:
    return Invalid(why, reason=Reason.INVALID_OPERATION)
