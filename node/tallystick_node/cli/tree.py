"""Things that begin one at another, drawn as a tree: each below the one where it began."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

ItemT = TypeVar("ItemT")


def drawn(
    items: Sequence[ItemT], name: Callable[[ItemT], str], parent: Callable[[ItemT], str]
) -> Iterator[tuple[str, ItemT]]:
    """Each item with the lines that lead to it: roots first, then below each what began at it, in their order.

    An item whose parent is not among them is a root. A circle is not drawn: nothing in it has a root.
    """
    names = {name(item) for item in items}
    below: dict[str, list[ItemT]] = {}
    for item in items:
        below.setdefault(parent(item) if parent(item) in names else "", []).append(item)
    waiting = [("", "", item) for item in reversed(below.get("", []))]
    while waiting:
        lines, mark, item = waiting.pop()
        yield lines + mark, item
        inner = lines + {"": "", "├─ ": "│  ", "└─ ": "   "}[mark]
        children = below.get(name(item), [])
        marks = ["├─ "] * (len(children) - 1) + ["└─ "]
        waiting += [(inner, mark, child) for mark, child in reversed([*zip(marks, children, strict=False)])]
