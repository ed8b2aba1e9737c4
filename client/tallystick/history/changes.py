"""The difference of two JSON documents, as a list of changes like RFC 6902's.

Rules of this file:
- Pure: two values in, a list out. Applied in order, the changes turn the first value into the second.
- JSON's equality, not Python's: `true` is not 1, and 1 is not 1.0.
- The name of a payload changes whole: nodes keep what is named by an object that stands whole in one value.
- Lists are compared by place, after what is equal at both ends is set aside: a list that grew or shrank anywhere in one
  piece gives just that piece. It is not the shortest difference of lists changed in many places, but takes linear time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import orjson

from tallystick._json import JSON
from tallystick._payload_ref import PAYLOAD
from tallystick._pointer import pointer


@dataclass(frozen=True, slots=True)
class StateChange:
    """`op` at `path` (a JSON Pointer). `before` means nothing with add, `after` nothing with remove: they are None."""

    op: Literal["add", "remove", "replace"]
    path: str
    before: JSON
    after: JSON

    def to_json(self) -> dict[str, JSON]:
        """An operation of RFC 6902, with `before` as an extra member (which the RFC lets others ignore)."""
        made: dict[str, JSON] = {"op": self.op, "path": self.path}
        if self.op != "add":
            made["before"] = self.before
        if self.op != "remove":
            made["value"] = self.after
        return made


def diff(before: JSON, after: JSON) -> list[StateChange]:
    """What turns `before` into `after`, in the order in which it can be applied.

    Example:
        >>> [change.to_json() for change in diff({"a": 1}, {"a": 2})]
        [{'op': 'replace', 'path': '/a', 'before': 1, 'value': 2}]
    """
    return list(_diff("", before, after))


def same(one: JSON, other: JSON) -> bool:
    """Equal as JSON."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


def canonical(value: JSON) -> bytes:
    """The one way to write a value, the same as the nodes': compact, keys sorted."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def digest(value: JSON) -> bytes:
    """SHA-256 of the canonical JSON: equal to a node's for an equal state."""
    return hashlib.sha256(canonical(value)).digest()


def _diff(path: str, before: JSON, after: JSON) -> Iterator[StateChange]:
    if isinstance(before, dict) and isinstance(after, dict) and PAYLOAD not in before and PAYLOAD not in after:
        yield from _diff_objects(path, before, after)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _diff_lists(path, before, after)
    elif not same(before, after):
        yield StateChange("replace", path, before, after)


def _diff_objects(path: str, before: dict[str, JSON], after: dict[str, JSON]) -> Iterator[StateChange]:
    for key in sorted(before.keys() | after.keys()):
        inner = f"{path}{pointer(key)}"
        if key not in after:
            yield StateChange("remove", inner, before[key], None)
        elif key not in before:
            yield StateChange("add", inner, None, after[key])
        else:
            yield from _diff(inner, before[key], after[key])


def _diff_lists(path: str, before: list[JSON], after: list[JSON]) -> Iterator[StateChange]:
    shorter = min(len(before), len(after))
    head = 0
    while head < shorter and same(before[head], after[head]):
        head += 1
    tail = 0
    while tail < shorter - head and same(before[-1 - tail], after[-1 - tail]):
        tail += 1
    before_end, after_end = len(before) - tail, len(after) - tail
    both = min(before_end, after_end)
    for index in range(head, both):
        yield from _diff(f"{path}/{index}", before[index], after[index])
    for index in reversed(range(both, before_end)):  # from behind: the places of the others stay
        yield StateChange("remove", f"{path}/{index}", before[index], None)
    for index in range(both, after_end):
        yield StateChange("add", f"{path}/{index}", None, after[index])
