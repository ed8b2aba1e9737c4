"""Finds characters inside lists: pycrdt never comes back from reading some of them.

A list counts a character beyond the first 65,536 as two, and walks over it as one: read to its end by index, it walks
for ever, with the interpreter held. No view writes characters into a list, but an update can say so.

Rules of this file:
- Of roots `rendering` finds out by itself: what holds characters is read as text. Here it is about lists inside others.
- Bounded by the size of the document; most have no such character, and pay for a search through their bytes alone.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Sequence
from typing import Final

from tallystick_node.contexts.limits import DOCUMENT_BYTES
from tallystick_node.contexts.updates.decode import Kind, Struct, decode
from tallystick_node.contexts.updates.ids import Id

_BEYOND: Final = re.compile(rb"[\xf0-\xf4][\x80-\xbf]{3}")
_LIST: Final = 0
"""The kind of a nested type."""


def has_characters_in_lists(document: bytes) -> bool:
    """Whether a nested list of an encoded document holds characters that it cannot be read with."""
    if _BEYOND.search(document) is None or len(document) > 2 * DOCUMENT_BYTES:
        return len(document) > 2 * DOCUMENT_BYTES
    structs = decode(document, with_structs=True).structs
    by_writer: dict[int, list[Struct]] = {}
    for struct in structs:
        by_writer.setdefault(struct.writer, []).append(struct)
    starts = {writer: [struct.clock for struct in some] for writer, some in by_writer.items()}

    def at(place: Id) -> Struct | None:
        return _at(by_writer.get(place.writer, ()), starts.get(place.writer, ()), place.clock)

    for struct in structs:
        if struct.kind is not Kind.STRING or _BEYOND.search(document, *struct.content) is None:
            continue
        inside: Struct | None = struct
        while inside is not None and inside.parent is None:
            beside = inside.origin or inside.right_origin
            inside = at(beside) if beside is not None else None
        if inside is not None and isinstance(inside.parent, Id):
            holder = at(inside.parent)
            if holder is not None and holder.kind is Kind.TYPE and document[holder.content[0]] == _LIST:
                return True
    return False


def _at(structs: Sequence[Struct], starts: Sequence[int], clock: int) -> Struct | None:
    place = bisect.bisect_right(starts, clock) - 1
    if place < 0 or clock >= structs[place].clock + structs[place].length:
        return None
    return structs[place]
