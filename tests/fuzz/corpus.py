"""Documents to attack, and right updates to bend: made by pycrdt, always the same ones."""

from __future__ import annotations

import random
from typing import Any, Final, NamedTuple

from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText

from tallystick_node.contexts.updates import decode, state_vectors

_WRITERS: Final = (2, 77, 2**32 + 5, 2**53 - 9)
_EDITS: Final = 24
_WORDS: Final = ("a", "plan", "é", "claimed by agent 7", "字", "", "x" * 40)


class Base(NamedTuple):
    """A document."""

    state: bytes
    known: dict[int, int]
    updates: tuple[bytes, ...]
    """Of those who wrote it, one by one."""
    roots: tuple[str, ...]


def bases() -> list[Base]:
    """The documents; the first is empty."""
    return [_base(seed) for seed in range(9)]


def _base(seed: int) -> Base:
    rng = random.Random(seed)
    docs: list[Doc[Any]] = [Doc(client_id=writer) for writer in _WRITERS[: 1 + seed % len(_WRITERS)]]
    updates: list[bytes] = []
    for turn in range(_EDITS * seed // 2):
        doc = docs[turn % len(docs)]
        before = doc.get_state()
        edit(doc, rng)
        updates.append(doc.get_update(before))
        if rng.random() < 0.5:
            for other in docs:
                other.apply_update(doc.get_update(other.get_state()))
    for doc in docs:
        docs[0].apply_update(doc.get_update(docs[0].get_state()))
    state = docs[0].get_update()
    known = state_vectors.decode(docs[0].get_state())
    return Base(state, known, tuple(updates), tuple(sorted(decode.decode(state).roots)) or ("m",))


def _value(rng: random.Random) -> Any:
    return rng.choice([1, -5, 2.5, 2**40, None, True, b"\x00\xff", [1, [2, "x"]], {"k": {"l": []}}, rng.choice(_WORDS)])


def edit(doc: Doc[Any], rng: random.Random) -> None:
    """One edit of a random kind."""
    which = rng.randrange(9)
    things = doc.get("m", type=Map)
    numbers = doc.get("a", type=Array)
    text = doc.get("t", type=Text)
    if which < 2:
        things[rng.choice("klm")] = _value(rng)
    elif which == 2:
        things["sub"] = Map({"x": Array([1, Text("q"), Map({"y": 1})]), "z": rng.choice(_WORDS)})
    elif which == 3:
        numbers.insert(rng.randrange(len(numbers) + 1), _value(rng))
    elif which == 4 and len(numbers):
        del numbers[rng.randrange(len(numbers))]
    elif which == 5:
        text += rng.choice(_WORDS)
    elif which == 6 and len(str(text)) and str(text).isascii():
        text.format(0, len(str(text)) // 2 + 1, {"bold": True, "of": {"x": [1]}})
    elif which == 7 and "k" in things:
        del things["k"]
    else:
        element = XmlElement("p", {"class": "q"})
        doc.get("x", type=XmlFragment).children.append(element)
        element.children.append(XmlText("hi"))
