"""Pages of what is listed: bounded by items and by bytes, with at least one item."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

ItemT = TypeVar("ItemT")

AFTER_ANY_NAME: Final = "\x7f"
"""Sorts after every character of a name."""


@dataclass(frozen=True, slots=True)
class Page(Generic[ItemT]):
    """Some items in order, and whether there are more after them."""

    items: list[ItemT]
    more: bool


def take_page(items: Iterable[ItemT], limit: int, max_bytes: int, size_of: Callable[[ItemT], int]) -> Page[ItemT]:
    """The first of the items. At most one is looked at beyond them."""
    page: list[ItemT] = []
    size_bytes = 0
    for item in items:
        size_bytes += size_of(item)
        if page and (len(page) == limit or size_bytes > max_bytes):
            return Page(page, more=True)
        page.append(item)
    return Page(page, more=False)
