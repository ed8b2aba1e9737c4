"""Three-way merge of JSON documents; what both sides changed is a conflict, and a conflict is a value.

Objects are merged key by key, and lists as diff3 merges lines (Khanna, Kunal, Pierce: "A Formal Investigation of
Diff3", 2007): what only one side changed is taken from it, what both changed alike is taken once. A list that both
sides left as long as it was is also merged item by item where their changes meet.

Rules of this file:
- Pure, and fair: with the sides exchanged there are as many conflicts, and without any the result is the same.
- Equality is JSON's (`changes.same`).
- The common parts of lists are looked for up to `ALIGNED_ITEMS` and `ALIGNED_PAIRS`; what is more counts, between what
  is equal at its ends, as changed in one piece.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final, Literal, TypeAlias, TypeGuard

from tallystick._json import JSON
from tallystick._payload_ref import PAYLOAD
from tallystick._pointer import pointer
from tallystick.history.changes import canonical, same

ALIGNED_ITEMS: Final = 2000
"""Items, after what is equal at both ends is set aside, among which a list's common parts are looked for."""

ALIGNED_PAIRS: Final = 20_000
"""The same, in pairs of equal items, one of either list: of lists that repeat a few items it would take minutes."""


class Nothing:
    """The type of `NOTHING`, which is not null: the key is not there."""

    def __repr__(self) -> str:
        return "NOTHING"


NOTHING: Final = Nothing()
"""In a conflict: on this side there is no such key."""

Side: TypeAlias = "JSON | Nothing"


@dataclass(frozen=True, slots=True)
class MergeConflict:
    """Both sides changed what is at `path` (a JSON Pointer into the merged document), each to something else.

    `base`, `ours`, `theirs`: the value here, or `NOTHING`. For a list they may be the items of a piece of it; `path` is
    then that of the list, and `is_piece` is True.
    """

    path: str
    base: Side
    ours: Side
    theirs: Side
    is_piece: bool = False


MergeResolver: TypeAlias = "Literal['ours', 'theirs'] | Callable[[MergeConflict], Side]"
"""How a conflict is settled: always one side, or what the function returns for it (`NOTHING`: the key goes)."""


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge gives: `value`, with ours where `conflicts` are left (none are if there was a resolver)."""

    value: JSON
    conflicts: tuple[MergeConflict, ...]


def merge(base: JSON, ours: JSON, theirs: JSON, *, resolve: MergeResolver | None = None) -> Merged:
    """The document that has the changes of both sides.

    Example:
        >>> merge({"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 1, "b": 3}).value
        {'a': 2, 'b': 3}
        >>> merge({"a": 1}, {"a": 2}, {"a": 3}).conflicts
        (MergeConflict(path='/a', base=1, ours=2, theirs=3, is_piece=False),)
    """
    merger = _Merger(resolve)
    value = merger.value("", base, ours, theirs)
    if isinstance(value, Nothing):
        raise TypeError("a resolver gave NOTHING for the whole document")
    return Merged(value, tuple(merger.conflicts))


class _Merger:
    def __init__(self, resolve: MergeResolver | None) -> None:
        self._resolve = resolve
        self.conflicts: list[MergeConflict] = []

    def value(self, path: str, base: Side, ours: Side, theirs: Side) -> Side:
        if _same(ours, theirs) or _same(base, theirs):
            return ours
        if _same(base, ours):
            return theirs
        if _is_open(base) and _is_open(ours) and _is_open(theirs):
            return self._object(path, base, ours, theirs)
        if isinstance(base, list) and isinstance(ours, list) and isinstance(theirs, list):
            return self._list(path, base, ours, theirs)
        return self._settle(MergeConflict(path, base, ours, theirs))

    def _object(self, path: str, base: dict[str, JSON], ours: dict[str, JSON], theirs: dict[str, JSON]) -> JSON:
        merged: dict[str, JSON] = {}
        for key in dict.fromkeys([*ours, *theirs]):
            sides = (side.get(key, NOTHING) if key in side else NOTHING for side in (base, ours, theirs))
            value = self.value(f"{path}{pointer(key)}", *sides)
            if not isinstance(value, Nothing):
                merged[key] = value
        return merged

    def _list(self, path: str, base: list[JSON], ours: list[JSON], theirs: list[JSON]) -> JSON:
        merged: list[JSON] = []
        for piece in _pieces(base, ours, theirs):
            merged += self._piece(path, len(merged), *piece)
        return merged

    def _piece(self, path: str, at: int, base: list[JSON], ours: list[JSON], theirs: list[JSON]) -> list[JSON]:
        if _same(ours, theirs) or _same(base, theirs):
            return ours
        if _same(base, ours):
            return theirs
        if base and len(base) == len(ours) == len(theirs):
            items = zip(base, ours, theirs, strict=True)
            values = [self.value(f"{path}/{at + index}", *item) for index, item in enumerate(items)]
            return [value for value in values if not isinstance(value, Nothing)]
        settled = self._settle(MergeConflict(path, base, ours, theirs, is_piece=True))
        if isinstance(settled, Nothing):
            return []
        if not isinstance(settled, list):
            raise TypeError(f"for a piece of the list at {path!r} a resolver gives a list, or NOTHING")
        return settled

    def _settle(self, conflict: MergeConflict) -> Side:
        if self._resolve == "theirs":
            return conflict.theirs
        if self._resolve == "ours":
            return conflict.ours
        if self._resolve is None:
            self.conflicts.append(conflict)
            return conflict.ours
        return self._resolve(conflict)


_Hunk: TypeAlias = tuple[int, int, int, int]
"""From, to in the base; from, to in the side: where they differ."""


def _pieces(
    base: list[JSON], ours: list[JSON], theirs: list[JSON]
) -> Iterator[tuple[list[JSON], list[JSON], list[JSON]]]:
    """The lists cut at the same places: each piece is changed by no side, by one, or by both where their changes meet.

    Insertions at one place meet; a change that ends where an insertion begins meets it too, since which goes first is
    not said.
    """
    changed = (_hunks(base, ours), _hunks(base, theirs))
    sides = (ours, theirs)
    taken = [0, 0]
    at = 0
    shifts = [0, 0]
    while taken[0] < len(changed[0]) or taken[1] < len(changed[1]):
        start = min(changed[side][taken[side]][0] for side in (0, 1) if taken[side] < len(changed[side]))
        yield _cut(base, sides, at, start, shifts, shifts)
        end = start
        ends = list(shifts)
        grew = True
        while grew:  # each round takes a hunk, so it ends
            grew = False
            for side in (0, 1):
                while taken[side] < len(changed[side]) and changed[side][taken[side]][0] <= end:
                    _, hunk_end, _, side_end = changed[side][taken[side]]
                    end, ends[side] = max(end, hunk_end), side_end - hunk_end
                    taken[side] += 1
                    grew = True
        yield _cut(base, sides, start, end, shifts, ends)
        at, shifts = end, ends
    yield _cut(base, sides, at, len(base), shifts, shifts)


def _cut(
    base: list[JSON], sides: Sequence[list[JSON]], start: int, end: int, before: Sequence[int], after: Sequence[int]
) -> tuple[list[JSON], list[JSON], list[JSON]]:
    """The part of the base and what stands for it on each side, whose places are shifted so far before and after it."""
    ours, theirs = (side[start + before[which] : end + after[which]] for which, side in enumerate(sides))
    return base[start:end], ours, theirs


def _hunks(base: list[JSON], side: list[JSON]) -> list[_Hunk]:
    head, tail = _equal_ends(base, side)
    one, other = base[head : len(base) - tail], side[head : len(side) - tail]
    if not one and not other:
        return []
    if max(len(one), len(other)) > ALIGNED_ITEMS:
        return [(head, head + len(one), head, head + len(other))]
    lines, other_lines = list(map(canonical, one)), list(map(canonical, other))
    counts = Counter(other_lines)
    if sum(counts[line] for line in lines) > ALIGNED_PAIRS:
        return [(head, head + len(one), head, head + len(other))]
    matcher = SequenceMatcher(None, lines, other_lines, autojunk=False)
    return [
        (head + i1, head + i2, head + j1, head + j2) for tag, i1, i2, j1, j2 in matcher.get_opcodes() if tag != "equal"
    ]


def _equal_ends(one: list[JSON], other: list[JSON]) -> tuple[int, int]:
    shorter = min(len(one), len(other))
    head = 0
    while head < shorter and same(one[head], other[head]):
        head += 1
    tail = 0
    while tail < shorter - head and same(one[-1 - tail], other[-1 - tail]):
        tail += 1
    return head, tail


def _same(one: Side, other: Side) -> bool:
    if isinstance(one, Nothing) or isinstance(other, Nothing):
        return one is other
    return same(one, other)


def _is_open(side: Side) -> TypeGuard[dict[str, JSON]]:
    """An object that is merged member by member; the name of a payload is not."""
    return isinstance(side, dict) and PAYLOAD not in side
