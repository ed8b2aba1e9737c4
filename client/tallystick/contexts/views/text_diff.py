"""The smallest edits that make one text of another, within a bound on the work.

Rules of this file:
- What is common in front and behind is never touched: whoever edits there meanwhile is not in the way.
- Between, characters are compared while that is cheap, then lines, then the whole is replaced.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import accumulate
from typing import Final

COMPARISONS: Final = 1_000_000
"""The product of both lengths up to which characters, or lines, are compared."""


@dataclass(frozen=True, slots=True)
class TextEdit:
    """Replaces `before[start:stop]` with `text`."""

    start: int
    stop: int
    text: str


def text_edits(before: str, after: str) -> list[TextEdit]:
    """The edits, the last one first: applied in this order, the places of the others stay right."""
    front = _common(before, after)
    behind = _common(before[front:][::-1], after[front:][::-1])
    old, new = before[front : len(before) - behind], after[front : len(after) - behind]
    edits = [TextEdit(front + edit.start, front + edit.stop, edit.text) for edit in _between(old, new)]
    return edits[::-1]


def _between(old: str, new: str) -> Iterator[TextEdit]:
    if not old or not new:
        if old or new:
            yield TextEdit(0, len(old), new)
        return
    for split in (list, _lines):
        old_parts, new_parts = split(old), split(new)
        if len(old_parts) * len(new_parts) <= COMPARISONS:
            yield from _matched(old_parts, new_parts)
            return
    yield TextEdit(0, len(old), new)


def _matched(old: Sequence[str], new: Sequence[str]) -> Iterator[TextEdit]:
    places = [0, *accumulate(len(part) for part in old)]
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    for tag, old_start, old_stop, new_start, new_stop in matcher.get_opcodes():
        if tag != "equal":
            yield TextEdit(places[old_start], places[old_stop], "".join(new[new_start:new_stop]))


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def _common(one: str, other: str) -> int:
    """How many characters both begin with."""
    low, high = 0, min(len(one), len(other))
    while low < high:  # comparing slices is fast, comparing characters one by one is not
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return low
