"""What the kinds of views mean, on plain values: how what lies in a root becomes what a reader is shown.

Rules of this file:
- Nothing but the standard library: programs that have a document as JSON only can use it.
- Pure, and never refuses: what other programs wrote into a root and no view would write is shown as well as can be.

A document says in its root map `tallystick` of which kind its other roots are: `roots/<name>` is the kind.

    kind        in the document                                         shown as
    map         key -> value                                            object
    list        values                                                  list
    text        text                                                    string
    counter     "<writer>" -> the sum of what this writer added         number
    set         "<element as JSON>#<writer>" -> true                    list, sorted
    register    "<writer>" -> [unix ms, count, value]                   the value, or {"$values": [...]}, latest first
    board       "<task>/<field>" -> value                               object of objects

Bytes are shown as {"$bytes": "<base64>"}.
"""

from __future__ import annotations

import base64
import enum
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

RESERVED: Final = "tallystick"
"""The root in which kinds are kept; no root of a program begins so."""

_ROOTS: Final = "roots/"


class Kind(enum.StrEnum):
    """What a root is."""

    MAP = "map"
    LIST = "list"
    TEXT = "text"
    COUNTER = "counter"
    SET = "set"
    REGISTER = "register"
    BOARD = "board"


@dataclass(frozen=True, slots=True)
class Slot:
    """What one writer holds of a register.

    Attributes:
        unix_ms: when it was written, by the writer's clock, or later if it had seen later ones.
        count: orders what was written in the same millisecond.
        writer: the writer's id.
        value: what was written.
    """

    unix_ms: int
    count: int
    writer: int
    value: object


def root_key(name: str) -> str:
    """Where the kind of this root is kept, in the root `RESERVED`."""
    return _ROOTS + name


def kinds_of(reserved: Mapping[str, object]) -> dict[str, Kind]:
    """The kinds that the root `RESERVED` names, by root."""
    known = {kind.value for kind in Kind}
    return {
        key.removeprefix(_ROOTS): Kind(kind)
        for key, kind in reserved.items()
        if key.startswith(_ROOTS) and isinstance(kind, str) and kind in known
    }


def shape_document(roots: Mapping[str, object]) -> dict[str, object]:
    """The document as a reader is shown it: `roots` are its roots as they lie, `RESERVED` among them."""
    reserved = roots.get(RESERVED)
    kinds = kinds_of(reserved) if isinstance(reserved, dict) else {}
    return {name: shape(kinds.get(name), raw) for name, raw in sorted(roots.items()) if not name.startswith(RESERVED)}


def shape(kind: Kind | None, raw: object) -> object:
    """What lies in one root, as a reader is shown it; of no known kind: as it lies."""
    if not isinstance(raw, Mapping):
        return showable(raw)
    if kind is Kind.COUNTER:
        return showable(counter_value(raw.values()))
    if kind is Kind.SET:
        return set_elements(raw)
    if kind is Kind.REGISTER:
        values = [showable(value) for value in register_values(raw)]
        return {"$values": values} if len(values) > 1 else next(iter(values), None)
    if kind is Kind.BOARD:
        return showable(board_tasks(raw))
    return showable(raw)


def showable(value: object) -> object:
    """The value as JSON can say it."""
    if isinstance(value, bytes | bytearray):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): showable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [showable(item) for item in value]
    return value


def counter_value(slots: Iterable[object]) -> int | float:
    """The sum; exact, so that it does not depend on the order."""
    numbers = [slot for slot in slots if isinstance(slot, int | float) and not isinstance(slot, bool)]
    if any(isinstance(number, float) for number in numbers):
        total = _exact_sum(float(number) for number in numbers if math.isfinite(number))
        return int(total) if total.is_integer() and abs(total) < 2**53 else total
    return sum(numbers)


def element_text(element: object) -> str:
    """The element of a set as text: equal elements have equal texts."""
    return json.dumps(element, ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False)


def element_key(element: object, writer: int) -> str:
    """Under which key this writer puts the element into a set."""
    return f"{element_text(element)}#{writer}"


def set_texts(keys: Iterable[str]) -> set[str]:
    """The texts of the elements that these keys of a set hold."""
    return {text for text in (key.rpartition("#")[0] for key in keys) if _is_element(text)}


def set_elements(keys: Iterable[str]) -> list[object]:
    """The elements that these keys of a set hold, sorted by their texts."""
    return [json.loads(text) for text in sorted(set_texts(keys))]


def register_slots(raw: Mapping[str, object]) -> list[Slot]:
    """What the writers hold of a register, the latest first: by clock, then by writer."""
    slots = []
    for key, held in raw.items():
        writer = int(key) if key.isascii() and key.isdecimal() else 0
        match held:
            case [int(unix_ms), int(count), value]:
                slots.append(Slot(unix_ms, count, writer, value))
            case _:
                slots.append(Slot(0, 0, writer, held))
    return sorted(slots, key=lambda slot: (slot.unix_ms, slot.count, slot.writer), reverse=True)


def register_values(raw: Mapping[str, object]) -> list[object]:
    """The values that a register holds, the latest first, equal ones once."""
    values: list[object] = []
    seen: set[str] = set()
    for slot in register_slots(raw):
        text = element_text(showable(slot.value))
        if text not in seen:
            seen.add(text)
            values.append(slot.value)
    return values


def board_tasks(raw: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """The tasks of a board, each with its fields."""
    tasks: dict[str, dict[str, object]] = {}
    for key in sorted(raw):
        task, _, field = key.partition("/")
        tasks.setdefault(task, {})[field] = raw[key]
    return tasks


def _exact_sum(numbers: Iterable[float]) -> float:
    try:
        return math.fsum(numbers)
    except OverflowError:
        return math.inf


def _is_element(text: str) -> bool:
    try:
        return text[:1] not in ("", "[", "{") and not isinstance(json.loads(text), list | dict)
    except (ValueError, RecursionError):
        return False
