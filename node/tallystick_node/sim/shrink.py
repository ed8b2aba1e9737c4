"""The shortest script that still fails: delta debugging (Zeller and Hildebrandt's ddmin, 2002), with a bound."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def shrink(items: Sequence[T], fails: Callable[[Sequence[T]], bool], *, max_runs: int = 100) -> list[T]:
    """The items without those that are not needed for `fails` to be true.

    Within the bound the result is 1-minimal: without any one of its items it does not fail. `items` itself must fail.
    """
    kept = list(items)
    runs = 0
    parts = 2
    while kept and runs < max_runs:
        size = max(1, len(kept) // parts)
        for start in range(0, len(kept), size):
            without = kept[:start] + kept[start + size :]
            runs += 1
            if fails(without):
                kept = without
                parts = max(parts - 1, 2)
                break
            if runs >= max_runs:
                return kept
        else:
            if size == 1:
                return kept
            parts = min(parts * 2, len(kept))
    return kept
