"""An editing trace like that of the automerge paper, which is not ours to ship: as long, with the same mix, made up.

Rules of this file:
- It is the same in every run: drawn from a fixed seed.
- A writer types where the cursor is, takes back what was typed last, and moves: mostly nearby, at times anywhere.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

INSERTS: Final = 182_315
DELETES: Final = 77_463
EDITS: Final = INSERTS + DELETES

_MOVE: Final = 0.02
"""How often the cursor moves before a run."""
_FAR: Final = 0.1
"""How many moves lead anywhere; the others stay within `_NEAR`."""
_NEAR: Final = 80
_LETTERS: Final = "etaoin shrdlu cmfwyp vbgkqj xz\n"


class Step(NamedTuple):
    """One edit: a character is inserted at `at`, or deleted there if `letter` is empty."""

    at: int
    letter: str


def trace(edits: int = EDITS) -> Sequence[Step]:
    """The first edits of it."""
    steps = _steps(random.Random(20_260_101))
    return [next(steps) for _ in range(edits)]


def _steps(rng: random.Random) -> Iterator[Step]:
    length = cursor = 0
    while True:
        if rng.random() < _MOVE * 10:
            cursor = _moved(rng, cursor, length)
        is_deleting = length > 0 and rng.random() < DELETES / EDITS
        for _ in range(rng.randint(1, 12)):
            if is_deleting:
                if cursor == 0:
                    break
                cursor -= 1
                length -= 1
                yield Step(cursor, "")
            else:
                yield Step(cursor, rng.choice(_LETTERS))
                cursor += 1
                length += 1


def _moved(rng: random.Random, cursor: int, length: int) -> int:
    if rng.random() < _FAR:
        return rng.randint(0, length)
    return min(length, max(0, cursor + rng.randint(-_NEAR, _NEAR)))
