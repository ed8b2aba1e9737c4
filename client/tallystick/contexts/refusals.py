"""Edits that were refused for good: kept for who asks, and told to who listens."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tallystick.contexts.rows import Row
from tallystick.errors import TallystickError

REFUSALS_KEPT: Final = 1000
"""Refusals that nobody has asked for; older ones are forgotten."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An edit that was refused: it is not part of the document, and will not be.

    Attributes:
        error: why.
        update: the edit, as it was made.
    """

    error: TallystickError
    cause: str
    time_unix_ms: int
    update: bytes


class Refusals:
    """See the module. Its length is the number of those that nobody has asked for."""

    def __init__(self) -> None:
        self._kept: deque[Refusal] = deque(maxlen=REFUSALS_KEPT)
        self._listeners: list[Callable[[Refusal], None]] = []

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, row: Row, error: TallystickError) -> None:
        """One more."""
        refusal = Refusal(error, row.cause, row.time_unix_ms, row.update)
        self._kept.append(refusal)
        for callback in tuple(self._listeners):
            callback(refusal)

    def listen(self, callback: Callable[[Refusal], None]) -> Callable[[], None]:
        """Calls it with each from now on; what is returned ends that."""
        self._listeners.append(callback)

        def remove() -> None:
            if callback in self._listeners:
                self._listeners.remove(callback)

        return remove

    def raise_first(self) -> None:
        """Raises the first, if there is one, and forgets all."""
        if not self._kept:
            return
        count, error = len(self._kept), self._kept[0].error
        self._kept.clear()
        raise type(error)(
            error.message, reason=error.reason, metadata={**error.metadata, "refused_edits": str(count)}
        ) from error
