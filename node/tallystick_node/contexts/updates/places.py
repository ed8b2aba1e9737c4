"""Where each id of a document stands: in which type, under which key; and what may stand there.

- An item with a neighbour does not say where it is: its neighbour does. So one `Places` is kept for a document, built
  from its whole state and told of each update after it.
- What may stand in a list, a text, XML or under a key is checked, because pycrdt never returns from reading a list
  that holds text beyond ASCII, with the interpreter's lock held.
- Nested types say what they are, so a clash there is refused, whoever sends it: no replica can have meant it. A root
  does not: two replicas may use one name for a list and a text before they meet. Such a root is in `clashes`, may be
  refused to a client, must be taken from a peer, and is not to be read as a list.
- Memory: a run for each stretch of ids of one writer in one place.
"""

from __future__ import annotations

import bisect
from enum import IntEnum
from typing import Final, NamedTuple, TypeAlias

from tallystick.errors import Invalid, Reason

from ..limits import UPDATE_DEPTH
from . import deletes as deletions
from .decode import Kind, Struct, Update
from .deletes import Deletes
from .ids import Id
from .lib0 import malformed
from .order import in_order
from .pairs import Pairs
from .state_vectors import StateVector
from .values import too_deep

Parent: TypeAlias = str | Id
"""A root's name, or the id of a nested type."""


class Place(NamedTuple):
    """In a type, under a key or in its sequence."""

    parent: Parent
    key: str | None


class Shape(IntEnum):
    """What a sequence holds."""

    OPEN = 0
    """A root of which nothing was seen yet that would tell."""
    LIST = 1
    TEXT = 2
    XML = 3
    NONE = 4
    """A map: no sequence at all."""


_SHAPES: Final = {
    0: Shape.LIST, 1: Shape.NONE, 2: Shape.TEXT, 3: Shape.XML, 4: Shape.XML, 6: Shape.TEXT,
}  # fmt: skip
"""Of nested types, as Yjs counts them."""

_SAYS: Final = {
    Kind.STRING: Shape.TEXT, Kind.EMBED: Shape.TEXT, Kind.FORMAT: Shape.TEXT, Kind.ANY: Shape.LIST,
    Kind.BINARY: Shape.LIST,
}  # fmt: skip
"""Where content of a kind stands, if not under a key. The others stand anywhere."""

_NOWHERE: Final = 0
"""What was collected, and what refers to it: yrs makes it a gap."""


class _Runs:
    """Of one writer: from which clock on its ids stand where."""

    __slots__ = ("places", "starts")

    def __init__(self) -> None:
        self.starts: list[int] = []
        self.places: list[int] = []

    def add(self, clock: int, place: int) -> None:
        if not self.places or self.places[-1] != place:
            self.starts.append(clock)
            self.places.append(place)

    def cut(self, clock: int) -> None:
        """Forgets what begins at this clock or after it."""
        at = bisect.bisect_left(self.starts, clock)
        del self.starts[at:], self.places[at:]

    def find(self, clock: int) -> int:
        at = bisect.bisect_right(self.starts, clock) - 1
        return self.places[at] if at >= 0 else _NOWHERE


class Places:
    """Of one document."""

    def __init__(self, depth_limit: int = UPDATE_DEPTH) -> None:
        self._depth_limit = depth_limit
        self._places: list[Place | None] = [None]
        self._numbers: dict[Place, int] = {}
        self._runs: dict[int, _Runs] = {}
        self._types: dict[Id, tuple[Shape, int]] = {}
        self._roots: dict[str, Shape] = {}
        self._clashes: set[str] = set()
        self._pairs = Pairs()

    @property
    def clashes(self) -> frozenset[str]:
        """Roots that were used both as a list and as a text."""
        return frozenset(self._clashes)

    @property
    def roots(self) -> dict[str, Shape]:
        """What the sequences of the roots hold."""
        return dict(self._roots)

    def of(self, at: Id) -> Place | None:
        """Where an id stands; None: it was collected, or is not known."""
        runs = self._runs.get(at.writer)
        return None if runs is None else self._places[runs.find(at.clock)]

    def add(self, update: Update, known: StateVector, *, may_clash: bool) -> None:
        """Tells of an admitted update that lacks nothing, decoded with its structs; `known` is what was before it.

        Raises:
            Invalid: something stands where it cannot, or cuts a character in two (MALFORMED_UPDATE, TOO_DEEP), or,
                unless it may, makes a root clash (TYPE_CLASH). Then nothing has changed.
        """
        self._pairs.check(update, known)
        added: list[Struct] = []
        places, roots, clashes = len(self._places), dict(self._roots), set(self._clashes)
        try:
            for struct in in_order(update.structs, known):
                added.append(struct)
                self._add(struct, known.get(struct.writer, 0), update.deletes)
            if not may_clash:
                self._check_clashes(clashes)
        except Invalid:
            self._take_back(added, known, places)
            self._roots, self._clashes = roots, clashes
            raise
        self._pairs.add(update, known)

    def _check_clashes(self, before: set[str]) -> None:
        for name in self._clashes - before:
            raise Invalid(f"the root {name!r} would be both a list and a text", reason=Reason.TYPE_CLASH)

    def _take_back(self, added: list[Struct], known: StateVector, places: int) -> None:
        for place in self._places[places:]:
            if place is not None:
                del self._numbers[place]
        del self._places[places:]
        for struct in added:
            runs = self._runs.get(struct.writer)
            if runs is not None:
                runs.cut(known.get(struct.writer, 0))
            if struct.clock >= known.get(struct.writer, 0):
                self._types.pop(Id(struct.writer, struct.clock), None)

    def _add(self, struct: Struct, known: int, deletes: Deletes) -> None:
        number = self._find(struct, known)
        place = self._places[number]
        if place is not None:
            self._check(struct, place)
            if place.key is not None:
                _check_value(struct, max(struct.clock, known), deletes)
            if struct.kind == Kind.TYPE and struct.clock >= known:
                self._add_type(struct, place)
        runs = self._runs.get(struct.writer)
        if runs is None:
            runs = self._runs[struct.writer] = _Runs()
        runs.add(max(struct.clock, known), number)

    def _add_type(self, struct: Struct, place: Place) -> None:
        depth = 1 if isinstance(place.parent, str) else self._types[place.parent][1] + 1
        if depth > self._depth_limit:
            raise too_deep(self._depth_limit)
        self._types[Id(struct.writer, struct.clock)] = _SHAPES[struct.type_ref], depth

    def _find(self, struct: Struct, known: int) -> int:
        if struct.kind == Kind.GC:
            return _NOWHERE
        numbers = {self._number_of(to) for to in (struct.origin, struct.right_origin) if to is not None}
        if struct.parent is not None:
            numbers.add(self._number_within(struct.parent, struct.key))
        if struct.clock < known:  # yrs cuts off what it has, and puts the rest behind that
            numbers.add(self._number_of(Id(struct.writer, known - 1)))
        numbers.discard(_NOWHERE)
        if len(numbers) > 1:
            raise malformed("an item stands in two places")
        return numbers.pop() if numbers else _NOWHERE

    def _number_within(self, parent: Parent, key: str | None) -> int:
        if isinstance(parent, Id) and (parent not in self._types or self._number_of(parent) == _NOWHERE):
            return _NOWHERE
        return self._number(Place(parent, key))

    def _number_of(self, at: Id) -> int:
        runs = self._runs.get(at.writer)
        return _NOWHERE if runs is None else runs.find(at.clock)

    def _number(self, place: Place) -> int:
        number = self._numbers.get(place)
        if number is None:
            number = self._numbers[place] = len(self._places)
            self._places.append(place)
        return number

    def _check(self, struct: Struct, place: Place) -> None:
        says = _SAYS.get(struct.kind)
        if place.key is not None:
            if says is Shape.TEXT:
                raise malformed("a key holds a piece of text")
            return
        if isinstance(place.parent, Id):
            shape = self._types[place.parent][0]
            if shape is Shape.NONE or (says is not None and says is not shape):
                raise malformed("a nested type holds what it cannot")
        elif says is not None:
            shape = self._roots.setdefault(place.parent, says)
            if shape is not says:
                self._clashes.add(place.parent)


def _check_value(struct: Struct, first: int, deletes: Deletes) -> None:
    """Of a key: nobody writes otherwise, and pycrdt may then read memory that it has freed.

    - A value stands behind the newest one, before nothing.
    - Several values in one struct are old ones that an undo manager kept, and the newest: all but that are deleted.
    """
    if struct.right_origin is not None:
        raise malformed("a value of a key has a right neighbour")
    last = struct.clock + struct.length - 1
    if struct.kind == Kind.ANY and first < last and deletions.minus({struct.writer: ((first, last),)}, deletes):
        raise malformed("a key has two values at once")
