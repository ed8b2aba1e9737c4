"""Which id stands where in a document: under which key, and in which order in its lists and texts.

- Built from a whole document, as pycrdt encodes it, by the rules of Yjs (YATA): the same order on every replica.
- Says nothing of values: who reads them has them from pycrdt, in the same order.
- What was collected stands nowhere, nor does what is inside of it.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from typing import Final

from . import deletes as deletions
from .decode import Kind, Struct, decode
from .ids import Id
from .order import in_order
from .places import Parent, Place

_UNSEEN: Final = (Kind.GC, Kind.DELETED, Kind.FORMAT)
"""What no reader meets."""


class Item:
    """A run of ids that stand behind one another.

    Attributes:
        place: in which type, under which key; None: nowhere.
        is_seen: it was not deleted, and is no mark of a text.
    """

    __slots__ = (
        "clock", "is_seen", "kind", "left", "length", "origin", "place", "right", "right_origin", "writer",
    )  # fmt: skip

    def __init__(self, struct: Struct, *, is_seen: bool) -> None:
        self.writer, self.clock, self.length, self.kind = struct.writer, struct.clock, struct.length, struct.kind
        self.origin, self.right_origin = struct.origin, struct.right_origin
        self.is_seen = is_seen
        self.place: Place | None = None
        self.left: Item | None = None
        self.right: Item | None = None

    @property
    def id(self) -> Id:
        """Of its first."""
        return Id(self.writer, self.clock)

    def cut(self, clock: int) -> Item:
        """What begins at a clock inside of it, as an item of its own behind it."""
        rest: Item = Item.__new__(Item)
        rest.writer, rest.clock, rest.kind = self.writer, clock, self.kind
        rest.length, self.length = self.clock + self.length - clock, clock - self.clock
        rest.origin, rest.right_origin = Id(self.writer, clock - 1), self.right_origin
        rest.is_seen, rest.place = self.is_seen, self.place
        rest.left, rest.right, self.right = self, self.right, rest
        if rest.right is not None:
            rest.right.left = rest
        return rest


class Layout:
    """Of one document. Raises Invalid: MALFORMED_UPDATE, it is none."""

    def __init__(self, document: bytes) -> None:
        update = decode(document, with_structs=True)
        self._starts: dict[int, list[int]] = {}
        self._items: dict[int, list[Item]] = {}
        self._heads: dict[Place, Item] = {}
        self._indexes: dict[Parent, dict[Item, int]] = {}
        for struct in in_order(update.structs, {}):
            # The last: of several values of a key it is the one that counts. Those of a sequence are all of one kind.
            is_gone = deletions.contains(update.deletes, struct.writer, struct.clock + struct.length - 1)
            self._add(struct, Item(struct, is_seen=not is_gone and struct.kind not in _UNSEEN))

    def of_key(self, parent: Parent, key: str) -> Item | None:
        """What is under a key now."""
        item = self._heads.get(Place(parent, key))
        while item is not None and item.right is not None:
            item = item.right
        return item if item is not None and item.is_seen else None

    def sequence(self, parent: Parent) -> Iterator[Item]:
        """What a reader meets in a list or text, in order."""
        item = self._heads.get(Place(parent, None))
        while item is not None:
            if item.is_seen:
                yield item
            item = item.right

    def path(self, at: Id) -> list[str] | None:
        """The way to an id, from the root's name on; without a last step where it has no place of its own, as in a text
        or deleted. None: it stands nowhere."""
        steps: list[str] = []
        while True:
            item = self._find(at)
            if item is None or item.place is None:
                return None
            parent, key = item.place
            if key is not None:
                steps.append(key)
            elif item.is_seen and item.kind not in (Kind.STRING, Kind.EMBED):
                steps.append(str(self._index(parent)[item] + at.clock - item.clock))
            if isinstance(parent, str):
                return [parent, *steps[::-1]]
            at = parent

    def _index(self, parent: Parent) -> dict[Item, int]:
        found = self._indexes.get(parent)
        if found is None:
            found = self._indexes[parent] = {}
            index = 0
            for item in self.sequence(parent):
                found[item] = index
                index += item.length
        return found

    # How it is built.

    def _add(self, struct: Struct, item: Item) -> None:
        left = None if struct.origin is None else self._ending(struct.origin)
        right = None if struct.right_origin is None else self._beginning(struct.right_origin)
        item.place = self._place(struct, left, right)
        self._starts.setdefault(item.writer, []).append(item.clock)
        self._items.setdefault(item.writer, []).append(item)
        if item.place is not None:
            self._insert(item, item.place, self._left_of(item, item.place, left, right))

    def _place(self, struct: Struct, left: Item | None, right: Item | None) -> Place | None:
        if struct.kind is Kind.GC:
            return None
        if struct.parent is None:
            beside = left or right
            if beside is None or (right is not None and right.place != beside.place):
                return None
            return beside.place
        if isinstance(struct.parent, Id):
            holder = self._find(struct.parent)
            if holder is None or holder.place is None or holder.kind is not Kind.TYPE:
                return None
        return Place(struct.parent, struct.key)

    def _left_of(self, item: Item, place: Place, left: Item | None, right: Item | None) -> Item | None:
        """What it stands behind, among all that was put between the same two."""
        other = left.right if left is not None else self._heads.get(place)
        passed: set[Item] = set()
        conflicting: set[Item] = set()
        while other is not None and other is not right:
            passed.add(other)
            conflicting.add(other)
            if other.origin == item.origin:
                if other.writer < item.writer:
                    left = other
                    conflicting.clear()
                elif other.right_origin == item.right_origin:
                    break
            else:
                before = None if other.origin is None else self._find(other.origin)
                if before is None or before not in passed:
                    break
                if before not in conflicting:
                    left = other
                    conflicting.clear()
            other = other.right
        return left

    def _insert(self, item: Item, place: Place, left: Item | None) -> None:
        if left is not None:
            item.right, left.right = left.right, item
        else:
            item.right = self._heads.get(place)
            self._heads[place] = item
        item.left = left
        if item.right is not None:
            item.right.left = item

    def _find(self, at: Id) -> Item | None:
        number = self._number(at)
        return None if number is None else self._items[at.writer][number]

    def _number(self, at: Id) -> int | None:
        starts = self._starts.get(at.writer)
        if starts is None:
            return None
        number = bisect.bisect_right(starts, at.clock) - 1
        if number < 0 or at.clock >= starts[number] + self._items[at.writer][number].length:
            return None
        return number

    def _beginning(self, at: Id) -> Item | None:
        """The item that begins with an id."""
        number = self._number(at)
        if number is None:
            return None
        items = self._items[at.writer]
        if items[number].clock == at.clock:
            return items[number]
        rest = items[number].cut(at.clock)
        self._starts[at.writer].insert(number + 1, at.clock)
        items.insert(number + 1, rest)
        return rest

    def _ending(self, at: Id) -> Item | None:
        """The item that ends with an id."""
        self._beginning(Id(at.writer, at.clock + 1))
        return self._find(at)
