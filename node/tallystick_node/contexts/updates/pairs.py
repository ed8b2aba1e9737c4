"""Characters that take two ids, and what would cut one in two.

Yjs counts UTF-16 units, so what is beyond the first 65,536 characters (an emoji) has two ids. Yjs writes U+FFFD for the
rest of a pair that was cut; yrs keeps the character whole and its lengths wrong: encoded again, all later ids of that
writer have moved. So a deletion or a neighbour that would cut a pair is refused.
"""

from __future__ import annotations

import bisect
from array import array
from collections.abc import Iterator

from .decode import Update
from .ids import Id
from .lib0 import malformed
from .state_vectors import StateVector


class Pairs:
    """The second halves in one document: four bytes each."""

    def __init__(self) -> None:
        self._halves: dict[int, array[int]] = {}

    def check(self, update: Update, known: StateVector) -> None:
        """Raises Invalid (MALFORMED_UPDATE) if the update, decoded with its structs, cuts a pair."""
        fresh = frozenset(update.halves)
        if not fresh and not self._halves:
            return
        for cut in _cuts(update, known):
            if cut in fresh or self._has(cut):
                raise malformed("it cuts a character in two")

    def add(self, update: Update, known: StateVector) -> None:
        """Remembers the pairs of an update that was checked."""
        for writer, clock in update.halves:
            if clock >= known.get(writer, 0):
                bisect.insort(self._halves.setdefault(writer, array("I")), clock)

    def _has(self, at: Id) -> bool:
        halves = self._halves.get(at.writer)
        if halves is None:
            return False
        place = bisect.bisect_left(halves, at.clock)
        return place < len(halves) and halves[place] == at.clock


def _cuts(update: Update, known: StateVector) -> Iterator[Id]:
    """Before which ids it makes an end."""
    for struct in update.structs:
        if struct.origin is not None:
            yield Id(struct.origin.writer, struct.origin.clock + 1)
        if struct.right_origin is not None:
            yield struct.right_origin
    for writer, ranges in update.deletes.items():
        for start, end in ranges:
            yield Id(writer, start)
            yield Id(writer, end)
    for writer in update.ranges:
        yield Id(writer, known.get(writer, 0))
