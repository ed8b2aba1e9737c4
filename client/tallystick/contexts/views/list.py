"""A list: what is inserted stays, in an order that all agree on.

Rules of this file:
- Items that two replicas insert at one place both stay; what one of them inserted keeps its order.
- Assigning to an index deletes and inserts, and so does moving: two replicas that do it to one item at once leave both
  results. What has an identity belongs into a map or a board, its order into keys.
- Negative indexes and slices mean what they mean in Python.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableSequence
from typing import overload

from tallystick.contexts.views.roots import ListRoot, View, read_list
from tallystick.contexts.views.shapes import Kind
from tallystick.contexts.views.values import Value, ValueLike, child, normalise, read_value


class ListView(View[ListRoot], MutableSequence[Value]):
    """A root that is a list, used like one.

    Raises:
        Invalid: `INVALID_VALUE`, `TOO_DEEP` or `TOO_LARGE`: what cannot be shared; `TYPE_CLASH`: the root is of
            another kind.
        IndexError: as of a list.
    """

    kind = Kind.LIST

    @overload
    def __getitem__(self, index: int) -> Value: ...
    @overload
    def __getitem__(self, index: slice) -> list[Value]: ...
    def __getitem__(self, index: int | slice) -> Value | list[Value]:
        root = self._root()
        if isinstance(index, slice):
            return read_list(root)[index]
        return read_value(root[_place(index, len(root))])

    @overload
    def __setitem__(self, index: int, value: ValueLike) -> None: ...
    @overload
    def __setitem__(self, index: slice, value: Iterable[ValueLike]) -> None: ...
    def __setitem__(self, index: int | slice, value: ValueLike | Iterable[ValueLike]) -> None:
        length = len(self)
        if isinstance(index, slice):
            start, stop = _range(index, length)
            self._splice(start, stop, list(value))  # type: ignore[arg-type]  # by the overloads an iterable
        else:
            place = _place(index, length)
            self._splice(place, place + 1, [value])  # type: ignore[list-item]  # by the overloads a value

    def __delitem__(self, index: int | slice) -> None:
        length = len(self)
        if isinstance(index, slice):
            self._splice(*_range(index, length), [])
        else:
            place = _place(index, length)
            self._splice(place, place + 1, [])

    def __len__(self) -> int:
        return len(self._root())

    def __iter__(self) -> Iterator[Value]:
        return iter(self.items())

    def __contains__(self, value: object) -> bool:
        return value in self.items()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r}, {self.items()!r:.200})"

    def items(self) -> list[Value]:
        """All of it, as it is now."""
        return read_list(self._root())

    def insert(self, index: int, value: ValueLike) -> None:
        """Inserts before this index; beyond the end, at the end."""
        start, _ = _range(slice(index, None), len(self))
        self._splice(start, start, [value])

    def append(self, value: ValueLike) -> None:
        """Adds at the end."""
        self.extend([value])

    def extend(self, values: Iterable[ValueLike]) -> None:
        """Adds all of them at the end, in one edit."""
        length = len(self)
        self._splice(length, length, list(values))

    def move(self, index: int, to: int) -> None:
        """Takes the item out and puts it in so that it is at `to` afterwards, in one edit.

        Two replicas that move one item at once leave it twice: see the module.
        """
        length = len(self)
        place, target = _place(index, length), _place(to, length)
        if place == target:
            return
        value = self[place]
        with self._edit() as root:
            del root[place]
            root.insert(target, value)

    def clear(self) -> None:
        """Removes what is there now, in one edit; what is inserted elsewhere meanwhile stays."""
        self._splice(0, len(self), [])

    def _splice(self, start: int, stop: int, values: list[ValueLike]) -> None:
        plain: list[object] = [normalise(value, child(self._path, start + place)) for place, value in enumerate(values)]
        if start == stop and not plain:
            return
        with self._edit() as root:
            if start < stop:
                del root[start:stop]
            root[start:start] = plain


def _place(index: int, length: int) -> int:
    place = index + length if index < 0 else index
    if not 0 <= place < length:
        raise IndexError(f"the list has {length} items, there is no index {index}")
    return place


def _range(index: slice, length: int) -> tuple[int, int]:
    if index.step not in (None, 1):
        raise ValueError("a slice that is changed has no step")
    start, stop, _ = index.indices(length)
    return start, max(start, stop)
