"""Makes one shared type equal to another by few edits.

Rules of this file:
- What is equal is not touched: keys that are equal, and elements and characters that both have in the same order.
- Types inside maps are gone into where both are of one kind; elements of lists are replaced as a whole.
- The work is bounded: where a comparison would cost more than `COMPARISONS`, all between what is common in front and
  behind is replaced.
- Each change is a transaction of its own, the last place first, so that the places of the others stay right.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any, Final, NamedTuple

from pycrdt import Array, Map, Text, XmlElement, XmlFragment, XmlText

from tallystick_node.contexts.desk.copying import Shared, fill, insert_text, insert_values, own_value, set_key

COMPARISONS: Final = 1_000_000
"""The product of two lengths up to which their parts are compared."""

_KINDS: Final = (Map, Array, Text)


class _Unit(NamedTuple):
    """A character of a text, or what is embedded in it."""

    value: object
    marks: str
    size: int
    """As pycrdt counts: bytes."""

    @property
    def print(self) -> tuple[str, str]:
        """Equal units have equal ones."""
        return (self.value if isinstance(self.value, str) else "\0" + _json(own_value(self.value)), self.marks)


def make_equal(target: Shared, source: Shared) -> None:
    """Makes the first equal to the second, which is of its kind. pycrdt may raise anything."""
    if isinstance(target, Map) and isinstance(source, Map):
        _equal_maps(target, source)
    elif isinstance(target, Array) and isinstance(source, Array):
        _equal_lists(target, source)
    elif isinstance(target, Text) and isinstance(source, Text):
        _equal_texts(target, source)
    elif str(target) != str(source):
        empty(target)
        fill(target, source)


def empty(target: Shared) -> None:
    """Takes out all that is in it."""
    if isinstance(target, Map):
        for key in sorted(target.keys()):
            del target[key]
    elif isinstance(target, (XmlFragment, XmlElement)):
        if len(target.children):
            del target.children[0 : len(target.children)]
    elif len(target):
        del target[0 : len(target)]


def _equal_maps(target: Map[Any], source: Map[Any]) -> None:
    for key in sorted(set(target.keys()) - set(source.keys())):
        del target[key]
    there = set(target.keys())
    for key in sorted(source.keys()):
        goal = source[key]
        value = target[key] if key in there else None
        if isinstance(goal, _KINDS) and isinstance(value, _KINDS) and type(value) is type(goal):
            make_equal(value, goal)
        elif key not in there or _print(value) != _print(goal):
            set_key(target, key, goal)


def _equal_lists(target: Array[Any], source: Array[Any]) -> None:
    goals = list(source)
    changes = _changes([_print(value) for value in list(target)], [_print(goal) for goal in goals])
    for start, stop, new_start, new_stop in changes:
        if stop > start:
            del target[start:stop]
        insert_values(target, start, goals[new_start:new_stop])


def _equal_texts(target: Text, source: Text) -> None:
    old, new = _units(target), _units(source)
    places = [0]
    for unit in old:
        places.append(places[-1] + unit.size)
    for start, stop, new_start, new_stop in _changes([unit.print for unit in old], [unit.print for unit in new]):
        at = places[start]
        if stop > start:
            del target[at : places[stop]]
        for value, marks in _joined(new[new_start:new_stop]):
            at += insert_text(target, at, value, json.loads(marks))


def _units(text: Text) -> list[_Unit]:
    units: list[_Unit] = []
    for value, attributes in text.diff():
        marks = _json(own_value(attributes or {}))
        if isinstance(value, str):
            units.extend(_Unit(character, marks, len(character.encode())) for character in value)
        else:
            units.append(_Unit(value, marks, 1))
    return units


def _joined(units: Sequence[_Unit]) -> Iterator[tuple[object, str]]:
    """Units as few insertions."""
    run = ""
    for number, unit in enumerate(units):
        if not isinstance(unit.value, str):
            yield unit.value, unit.marks
            continue
        run += unit.value
        after = units[number + 1] if number + 1 < len(units) else None
        if after is None or not isinstance(after.value, str) or after.marks != unit.marks:
            yield run, unit.marks
            run = ""


def _changes(old: Sequence[object], new: Sequence[object]) -> list[tuple[int, int, int, int]]:
    """What of the first becomes what of the second, from behind."""
    front = 0
    while front < min(len(old), len(new)) and old[front] == new[front]:
        front += 1
    behind = 0
    while behind < min(len(old), len(new)) - front and old[-1 - behind] == new[-1 - behind]:
        behind += 1
    old_end, new_end = len(old) - behind, len(new) - behind
    if front == old_end and front == new_end:
        return []
    if (old_end - front) * (new_end - front) > COMPARISONS:
        return [(front, old_end, front, new_end)]
    matcher = SequenceMatcher(None, old[front:old_end], new[front:new_end], autojunk=False)
    found = [
        (start + front, stop + front, new_start + front, new_stop + front)
        for tag, start, stop, new_start, new_stop in matcher.get_opcodes()
        if tag != "equal"
    ]
    return found[::-1]


def _print(value: object) -> str:
    """Equal values have equal ones."""
    return _json(_plain(value))


def _plain(value: object) -> object:
    if isinstance(value, Map):
        return {"$map": {key: _plain(value[key]) for key in value.keys()}}  # noqa: SIM118 - a Map of pycrdt is no dict
    if isinstance(value, Array):
        return {"$list": [_plain(item) for item in value]}
    if isinstance(value, Text):
        return {"$text": [[own_value(piece), own_value(marks or {})] for piece, marks in value.diff()]}
    if isinstance(value, (XmlElement, XmlFragment, XmlText)):
        return {"$xml": str(value)}
    return own_value(value)


def _json(value: object) -> str:
    # repr: bytes, which JSON has no word for, differ from all else
    return json.dumps(value, sort_keys=True, default=repr)
