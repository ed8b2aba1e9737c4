"""A register that keeps every value that was set without knowing of the others.

Rules of this file:
- Each writer has a slot of its own. Setting removes the slots that are seen and writes the own one; so what was seen is
  overwritten, and what was not stays beside it until somebody who sees both sets again. Slots of writers that are gone
  go with the next set.
- Each slot carries a hybrid clock: the writer's time, but never below what it had seen. It gives the one value that all
  replicas name first; it orders, it does not drop.
"""

from __future__ import annotations

from typing import cast

from tallystick.contexts.views.roots import MapRoot, View, read_items
from tallystick.contexts.views.shapes import Kind, Slot, register_slots, register_values
from tallystick.contexts.views.values import SAFE_INT, Value, ValueLike, normalise


class RegisterView(View[MapRoot]):
    """A root that is a multi-value register.

    Example:
        goal = context.register("goal")
        goal.set("ship on Friday")
        if goal.is_conflicted:
            goal.set(choose(goal.values()))
    """

    kind = Kind.REGISTER

    @property
    def value(self) -> Value:
        """The latest value, by hybrid clock and then by writer: the same on all replicas. None: never set."""
        values = self.values()
        return values[0] if values else None

    @property
    def is_conflicted(self) -> bool:
        """Whether different values were set without knowing of each other, and nobody has set one since."""
        return len(self.values()) > 1

    def values(self) -> list[Value]:
        """The values that stand beside each other, the latest first, equal ones once; empty: never set."""
        return cast("list[Value]", register_values(read_items(self._root())))

    def slots(self) -> list[Slot]:
        """The same with who wrote them and when, one for each writer."""
        return register_slots(read_items(self._root()))

    def set(self, value: ValueLike) -> None:
        """Sets the value, in place of all that are seen.

        Raises:
            Invalid: `INVALID_VALUE`, `TOO_DEEP` or `TOO_LARGE`: what cannot be shared; `TYPE_CLASH`.
        """
        plain = normalise(value, self._path, inside=1)
        writer = str(self._held.writer)
        unix_ms, count = self._next_time()
        with self._edit() as root:
            for key in list(root.keys()):
                if key != writer:
                    del root[key]
            root[writer] = [unix_ms, count, plain]

    def clear(self) -> None:
        """Removes the values that are seen, in one edit."""
        keys = list(self._root().keys())
        if not keys:
            return
        with self._edit() as root:
            for key in keys:
                del root[key]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r}, {self.values()!r:.200})"

    def _next_time(self) -> tuple[int, int]:
        now_ms = self._held.unix_ms()
        slots = self.slots()
        if not slots or slots[0].unix_ms < now_ms:
            return now_ms, 0
        # A clock far ahead is followed, for it only orders; beyond what a document can hold it stays.
        return min(slots[0].unix_ms, SAFE_INT), min(slots[0].count + 1, SAFE_INT)
