"""A state that is changed in place and can be put back exactly.

Rules of this file:
- Every edit goes through a method of `Document`, which keeps the size exact and notes how to undo the edit.
- `size_bytes` is always the length of the root as compact JSON: members cost their text, colon and comma.
- An edit takes over the value it is given: callers hand in fresh values and forget them.
- Undoing restores equal values; the order of an object's members may differ, so nothing may depend on it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from tallystick_node.core.values import JsonList, JsonObject, JsonValue, json_size

_Undo: TypeAlias = tuple[Callable[..., object], tuple[object, ...]]

EMPTY_SIZE_BYTES = 2
"""Size of `{}`, the state of an empty log."""


class Document:
    """A JSON value with exact size and undo.

    The root hangs in a holder under the key "", so that replacing the root is like replacing any member.
    """

    __slots__ = ("_size_before", "_undo", "holder", "size_bytes")

    def __init__(self, root: JsonValue, size_bytes: int) -> None:
        self.holder: JsonObject = {"": root}
        self.size_bytes = size_bytes
        self._undo: list[_Undo] = []
        self._size_before = size_bytes

    @classmethod
    def empty(cls) -> Document:
        """The state of an empty log."""
        return cls({}, EMPTY_SIZE_BYTES)

    @property
    def root(self) -> JsonValue:
        """The value itself, live: read it, never change it."""
        return self.holder[""]

    def commit(self) -> None:
        """Keep the edits made since the last `commit` or `rollback`."""
        self._undo.clear()
        self._size_before = self.size_bytes

    def rollback(self) -> None:
        """Take back the edits made since the last `commit` or `rollback`."""
        for function, arguments in reversed(self._undo):
            function(*arguments)
        self._undo.clear()
        self.size_bytes = self._size_before

    def mark(self) -> tuple[int, int]:
        """Where the edits stand, for `rollback_to`."""
        return len(self._undo), self.size_bytes

    def rollback_to(self, mark: tuple[int, int]) -> None:
        """Take back the edits made since a mark, which were not committed meanwhile."""
        count, self.size_bytes = mark
        while len(self._undo) > count:
            function, arguments = self._undo.pop()
            function(*arguments)

    def put_member(self, node: JsonObject, key: str, value: JsonValue) -> None:
        """Set a member, there or not."""
        if key in node:
            old = node[key]
            self.size_bytes += json_size(value) - json_size(old)
            self._undo.append((node.__setitem__, (key, old)))
        else:
            self.size_bytes += json_size(value) + json_size(key) + (2 if node else 1)
            self._undo.append((node.__delitem__, (key,)))
        node[key] = value

    def drop_member(self, node: JsonObject, key: str) -> None:
        """Remove a member that is there."""
        old = node.pop(key)
        self.size_bytes -= json_size(old) + json_size(key) + (2 if node else 1)
        self._undo.append((node.__setitem__, (key, old)))

    def put_item(self, node: JsonList, index: int, value: JsonValue) -> None:
        """Replace an item that is there."""
        old = node[index]
        self.size_bytes += json_size(value) - json_size(old)
        self._undo.append((node.__setitem__, (index, old)))
        node[index] = value

    def insert_item(self, node: JsonList, index: int, value: JsonValue) -> None:
        """Put an item before `index`; `len(node)` puts it last."""
        self.size_bytes += json_size(value) + (1 if node else 0)
        self._undo.append((node.__delitem__, (index,)))
        node.insert(index, value)

    def drop_item(self, node: JsonList, index: int) -> None:
        """Remove an item that is there."""
        old = node.pop(index)
        self.size_bytes -= json_size(old) + (1 if node else 0)
        self._undo.append((node.insert, (index, old)))
