"""What happened, line by line: its hash is equal exactly if two runs are.

Nothing goes in that differs between processes or machines: no addresses, no paths, no order of sets, no bytes of
messages with maps.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from typing import Final

KEPT_LINES: Final = 2000
"""The last lines, to be shown; the hash is of all."""


class Trace:
    """See the module. `clock` gives the virtual time without moving it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._hash = hashlib.sha256()
        self._kept: deque[str] = deque(maxlen=KEPT_LINES)
        self.count = 0

    def add(self, what: str) -> None:
        """Something happened now."""
        line = f"{self._clock():.6f} {what}"
        self._hash.update(line.encode() + b"\n")
        self._kept.append(line)
        self.count += 1

    @property
    def hash(self) -> str:
        """Of all lines up to now."""
        return self._hash.hexdigest()

    def tail(self, lines: int = 50) -> list[str]:
        """The last lines."""
        return list(self._kept)[-lines:]
