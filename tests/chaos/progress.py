"""The longest time without an acknowledgement while a majority was connected.

Rules of this file:
- A stretch begins with an acknowledgement, or when a majority gets connected, whichever is later; it ends with the next
  acknowledgement, or when there is no majority any more.
- Times come in; no clock is read.
"""

from __future__ import annotations

from typing import Final

_TOLD_MAX: Final = 8


class Progress:
    """See the module."""

    def __init__(self, at_s: float) -> None:
        self.longest_s = 0.0
        self.longest_under: tuple[str, ...] = ()
        self.without_majority_s = 0.0
        self._began_s: float | None = at_s
        self._lost_s = at_s
        self._faults = "no fault"
        self._under = [self._faults]

    def acknowledged(self, at_s: float) -> None:
        """A write was answered."""
        if self._began_s is not None:
            self._end(at_s)
            self._begin(at_s)

    def changed(self, at_s: float, *, has_majority: bool, faults: str) -> None:
        """Faults came or went."""
        self._faults = faults
        if len(self._under) < _TOLD_MAX:
            self._under.append(faults)
        if has_majority and self._began_s is None:
            self.without_majority_s += at_s - self._lost_s
            self._begin(at_s)
        elif not has_majority and self._began_s is not None:
            self._end(at_s)
            self._began_s, self._lost_s = None, at_s

    def _begin(self, at_s: float) -> None:
        self._began_s = at_s
        self._under = [self._faults]

    def _end(self, at_s: float) -> None:
        if self._began_s is not None and at_s - self._began_s > self.longest_s:
            self.longest_s = at_s - self._began_s
            self.longest_under = tuple(self._under)
