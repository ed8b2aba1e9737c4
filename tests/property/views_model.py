"""What views must show, as plain sets: items that were put in, and which of them were taken out by who saw them.

A replica knows some operations. It shows the items that it knows and that no removal it knows has named. That is the
whole rule of all kinds: a removal takes what was seen, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Operation(Generic[T]):
    """An item put in (`added`), or items taken out, or both at once."""

    added: tuple[T, ...] = ()
    removed: frozenset[int] = frozenset()


@dataclass
class History(Generic[T]):
    """The operations of all replicas on one root; an item is named by its number."""

    operations: list[Operation[T]] = field(default_factory=list)
    items: list[T] = field(default_factory=list)
    places: list[tuple[int, ...]] = field(default_factory=list)
    """Of each operation: the numbers of what it added."""

    def record(self, added: Iterable[T] = (), removed: Iterable[int] = ()) -> int:
        """The number of the new operation."""
        operation = Operation(tuple(added), frozenset(removed))
        first = len(self.items)
        self.items.extend(operation.added)
        self.places.append(tuple(range(first, len(self.items))))
        self.operations.append(operation)
        return len(self.operations) - 1

    def shown(self, known: Iterable[int]) -> dict[int, T]:
        """The items that a replica shows that knows these operations."""
        numbers: set[int] = set()
        removed: set[int] = set()
        for operation in known:
            numbers.update(self.places[operation])
            removed |= self.operations[operation].removed
        return {number: self.items[number] for number in sorted(numbers - removed)}
