"""A counter: what all added, summed.

Rules of this file:
- Each writer adds up in a slot of its own, so no addition is lost and none counts twice. A slot belongs to a writer id,
  not to an agent: two replicas of one agent, or two lives of one, would overwrite each other's.
- A slot stays for as long as the document's epoch; a counter grows by one slot for each replica that ever added to it.
"""

from __future__ import annotations

from tallystick.contexts.views.roots import MapRoot, View, peek, read_items
from tallystick.contexts.views.shapes import Kind, counter_value
from tallystick.contexts.views.values import SAFE_INT
from tallystick.errors import Invalid, Reason


class CounterView(View[MapRoot]):
    """A root that is a counter.

    Example:
        spent = context.counter("tokens")
        spent.add(1200)
        spent.value
    """

    kind = Kind.COUNTER

    @property
    def value(self) -> int | float:
        """The sum of everything added, as far as it has been heard of; an int where it is whole."""
        return counter_value(read_items(self._root()).values())

    def add(self, amount: int | float = 1) -> None:
        """Adds a number, negative ones too.

        Raises:
            Invalid: `INVALID_VALUE`: no finite number; or what this replica added would be beyond 2^53 - 1.
        """
        if isinstance(amount, bool) or not isinstance(amount, int | float) or not abs(amount) <= SAFE_INT:
            raise Invalid("an amount is a number, no larger than 2^53 - 1", reason=Reason.INVALID_VALUE)
        slot = str(self._held.writer)
        before = peek(self._root(), slot)
        after = counter_value((before, amount))
        if abs(after) > SAFE_INT:
            raise Invalid("a counter's slot holds no more than 2^53 - 1", reason=Reason.INVALID_VALUE)
        with self._edit() as root:
            root[slot] = after

    def __int__(self) -> int:
        return int(self.value)

    def __float__(self) -> float:
        return float(self.value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._name!r}, {self.value})"
