"""Edits that were made without knowing of each other and touch the same: found while merging, not refused.

- `key`: a key was set by one who had not seen another's value: the new item does not stand behind any value that is
  the newest here.
- `insert`: two inserted between the same neighbours. Who has seen the other's has it as a neighbour.
- `delete`: a value was deleted which another had replaced, or the surroundings of what another inserted.
- Found among the last `window` structs of a document alone: what is older, or came before the worker started, is not
  compared. What is found is true; not all is found: a value set after a deletion that its author had not seen looks
  like one set after a deletion that it had.
- Without `Places`, an item behind a neighbour that is no longer in the window may be in a list or under a key: its
  overlap is called `insert`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias, TypeVar

from . import deletes as deletions
from .decode import Kind, Struct, Update
from .ids import Id
from .places import Parent, Place, Places
from .state_vectors import StateVector

WINDOW: Final = 256
"""Structs of one document that new ones are compared with."""

FOUND: Final = 16
"""Overlaps that one update is said to have; the first ones."""

_FEW: Final = 32
"""So many deleted ids are looked up one by one; of more, the window is gone through."""

_VALUES: Final = (Kind.ANY, Kind.BINARY, Kind.TYPE, Kind.STRING, Kind.EMBED)

_Key = TypeVar("_Key")

_Spot: TypeAlias = tuple[Parent | None, Id | None, Id | None]
"""Between which neighbours; the parent where there is none."""


class OverlapKind(StrEnum):
    """See the module."""

    KEY = "key"
    INSERT = "insert"
    DELETE = "delete"


class Touch(NamedTuple):
    """A struct of an edit."""

    number: int
    """Of the edit in the update log."""
    struct: Struct


class Overlap(NamedTuple):
    """Two edits that did not know of each other."""

    kind: OverlapKind
    first: Touch
    second: Touch | None
    """The later one here; None: of `delete`, which has no struct."""


class Recent:
    """The last structs of one document."""

    def __init__(self, window: int = WINDOW) -> None:
        self._window = window
        self._touches: deque[Touch] = deque()
        self._heads: dict[Place, list[Touch]] = {}
        self._keyed: dict[Id, Place] = {}
        self._spots: dict[_Spot, list[Touch]] = {}
        self._followers: dict[Id, list[Touch]] = {}

    def __len__(self) -> int:
        return len(self._touches)

    def merge(
        self, update: Update, known: StateVector, *, number: int, author: int | None, places: Places | None = None
    ) -> list[Overlap]:
        """Compares an admitted update, decoded with its structs, and remembers it.

        Args:
            update: what was merged.
            known: the state vector of the document before it.
            number: of the edit.
            author: the one writer whose edit it is; None: a diff of many edits, whose deletions say nothing.
            places: of the document, after the update.
        """
        found = list(self._of_deletions(update, author)) if author is not None and update.deletes else []
        for struct in update.structs[-self._window :]:
            if struct.kind in _VALUES and struct.clock + struct.length > known.get(struct.writer, 0):
                found.extend(self._add(Touch(number, struct), places))
        while len(self._touches) > self._window:
            self._forget(self._touches.popleft())
        return found[:FOUND]

    def _add(self, touch: Touch, places: Places | None) -> Iterator[Overlap]:
        struct = touch.struct
        place = self._key_place(struct, places)
        if place is not None:
            yield from self._add_value(touch, place)
        else:
            yield from self._add_insert(touch)
        if struct.origin is not None:
            self._followers.setdefault(struct.origin, []).append(touch)
        self._touches.append(touch)

    def _key_place(self, struct: Struct, places: Places | None) -> Place | None:
        if struct.key is not None and struct.parent is not None:
            return Place(struct.parent, struct.key)
        if places is not None:
            place = places.of(Id(struct.writer, struct.clock))
            return place if place is not None and place.key is not None else None
        return None if struct.origin is None else self._keyed.get(struct.origin)

    def _add_value(self, touch: Touch, place: Place) -> Iterator[Overlap]:
        struct = touch.struct
        heads = self._heads.get(place, [])
        if any(struct.origin == _id(head) for head in heads):
            heads = []  # its author saw one that won, and with it, for all that can be known here, the others
        elif heads:
            yield from (Overlap(OverlapKind.KEY, head, touch) for head in heads if head.struct.writer != struct.writer)
        self._heads[place] = [*heads, touch]
        self._keyed[_id(touch)] = place

    def _add_insert(self, touch: Touch) -> Iterator[Overlap]:
        struct = touch.struct
        here = self._spots.setdefault((struct.parent, struct.origin, struct.right_origin), [])
        for other in here:
            if other.struct.writer != struct.writer:
                yield Overlap(OverlapKind.INSERT, other, touch)
        here.append(touch)

    def _of_deletions(self, update: Update, author: int | None) -> Iterator[Overlap]:
        rewritten = {struct.origin for struct in update.structs if struct.origin is not None}
        for touch in self._followers_of(update):
            struct = touch.struct
            if struct.writer == author or deletions.contains(update.deletes, struct.writer, struct.clock):
                continue
            if _id(touch) in self._keyed:
                if struct.origin not in rewritten:
                    yield Overlap(OverlapKind.DELETE, touch, None)
            elif struct.right_origin is not None and deletions.contains(update.deletes, *struct.right_origin):
                yield Overlap(OverlapKind.DELETE, touch, None)

    def _followers_of(self, update: Update) -> list[Touch]:
        """Of what it deletes."""
        if deletions.count(update.deletes) <= _FEW:
            ids = (
                Id(writer, clock)
                for writer, ranges in update.deletes.items()
                for one in ranges
                for clock in range(*one)
            )
            return [touch for at in ids for touch in self._followers.get(at, ())]
        return [
            touch
            for touch in self._touches
            if touch.struct.origin is not None and deletions.contains(update.deletes, *touch.struct.origin)
        ]

    def _forget(self, touch: Touch) -> None:
        struct = touch.struct
        if struct.origin is not None:
            _drop(self._followers, struct.origin, touch)
        place = self._keyed.pop(_id(touch), None)
        if place is not None:
            _drop(self._heads, place, touch)
        else:
            _drop(self._spots, (struct.parent, struct.origin, struct.right_origin), touch)


def _id(touch: Touch) -> Id:
    return Id(touch.struct.writer, touch.struct.clock)


def _drop(index: dict[_Key, list[Touch]], key: _Key, touch: Touch) -> None:
    left = [other for other in index.get(key, ()) if other is not touch]
    if left:
        index[key] = left
    else:
        index.pop(key, None)
