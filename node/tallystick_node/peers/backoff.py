"""How long to wait before dialling again."""

from __future__ import annotations

import random
from typing import Final

BACKOFF_MIN_S: Final = 0.05
BACKOFF_MAX_S: Final = 1.0


class Backoff:
    """Doubles from `BACKOFF_MIN_S` to `BACKOFF_MAX_S`; each wait is a random half to whole of it, so that nodes which
    lost a peer at once do not all come back at once."""

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.Random()
        self._ceiling_s = BACKOFF_MIN_S

    def next_s(self) -> float:
        """Seconds to wait this time."""
        ceiling_s = self._ceiling_s
        self._ceiling_s = min(ceiling_s * 2, BACKOFF_MAX_S)
        return ceiling_s * self._rng.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Begin again at the shortest."""
        self._ceiling_s = BACKOFF_MIN_S
