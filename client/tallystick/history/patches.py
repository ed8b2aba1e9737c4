"""A difference as operations: what to append so that a state becomes another.

Rules of this file:
- Pure. The operations do to a state what the changes say, for any changes that `changes.diff` found.
- A mutation is kept below the node's limits, so a large difference is several mutations, and a large object or list
  comes in member by member; they belong into one append, which is decided whole. The numbers are the node's
  (docs/reference/limits.md), with room for the rest of a mutation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from tallystick import ops
from tallystick._json import JSON
from tallystick._pointer import pointer, tokens_of
from tallystick._values import Mutation, Operation
from tallystick.errors import Invalid, Reason
from tallystick.history.changes import StateChange

MUTATION_OPERATIONS: Final = 100
MUTATION_BYTES: Final = 1_000_000
APPEND_BYTES: Final = 2_000_000

_OVERHEAD_BYTES: Final = 32


def operations(before: JSON, changes: Iterable[StateChange]) -> list[Operation]:
    """What applies the changes, which `diff(before, ...)` found, to `before`.

    Example:
        >>> [operation.kind.value for operation in operations({"a": 1}, diff({"a": 1}, {"a": 2}))]
        ['set']
    """
    return [_operation(before, change) for change in changes]


def mutations(made: Sequence[Operation], *, cause: str = "", reverts: int = 0) -> list[Mutation]:
    """The operations in as few mutations as the limits allow, in their order; none for none.

    Raises:
        Invalid: `TOO_LARGE`: together they are more than one append may hold.
    """
    groups: list[list[Operation]] = []
    size_bytes = total_bytes = 0
    for operation in (piece for whole in made for piece in _pieces(whole)):
        cost = cost_bytes((operation,))
        total_bytes += cost
        if not groups or len(groups[-1]) == MUTATION_OPERATIONS or size_bytes + cost > MUTATION_BYTES:
            groups.append([])
            size_bytes = 0
        groups[-1].append(operation)
        size_bytes += cost
    if total_bytes > APPEND_BYTES:
        raise Invalid(
            f"the difference takes {total_bytes} bytes, and one append holds {APPEND_BYTES}",
            reason=Reason.TOO_LARGE,
            metadata={"limit": str(APPEND_BYTES)},
        )
    return [Mutation(operations=tuple(group), cause=cause, reverts=reverts) for group in groups]


def cost_bytes(made: Iterable[Operation]) -> int:
    """About what operations take in a mutation."""
    return sum(len(operation.path.encode()) + len(operation.value_json) + _OVERHEAD_BYTES for operation in made)


def no_change(state: JSON) -> Operation:
    """What leaves a state as it is: an undo of what had no effect is noted all the same, or it would be found again."""
    return ops.merge("", {}) if isinstance(state, dict) else ops.replace(state)


def _pieces(operation: Operation) -> Iterator[Operation]:
    """An operation that puts something, as several if it alone is too large: first what is empty, then its members."""
    value = operation.value if len(operation.value_json) > MUTATION_BYTES - _OVERHEAD_BYTES else None
    if isinstance(value, dict):
        yield replace(operation, value_json=b"{}")
        for key, member in value.items():
            yield from _pieces(ops.set(operation.path + pointer(key), member))
    elif isinstance(value, list):
        yield replace(operation, value_json=b"[]")
        for index, item in enumerate(value):
            yield from _pieces(ops.insert(operation.path + pointer(index), item))
    else:
        yield operation


def _operation(before: JSON, change: StateChange) -> Operation:
    if not change.path:
        return ops.replace(change.after)
    if change.op == "remove":
        return ops.delete(change.path)
    if change.op == "add" and isinstance(_parent(before, change.path), list):
        return ops.insert(change.path, change.after)
    return ops.set(change.path, change.after)


def _parent(document: JSON, path: str) -> JSON:
    """What holds the place that a path names.

    `diff` leads into what both documents have, and changes the items of a list at places that are there in both (it
    removes and adds behind them), so the way there can be walked in the first document.
    """
    node = document
    for key in tokens_of(path)[:-1]:
        if isinstance(node, dict):
            node = node[key]
        elif isinstance(node, list):
            node = node[int(key)]
    return node
