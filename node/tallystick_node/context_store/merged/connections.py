"""How many documents each connection has open."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from tallystick.errors import QuotaExceeded, Reason
from tallystick_node.contexts.limits import CONNECTION_DOCUMENTS


class Connections:
    """See the module."""

    def __init__(self) -> None:
        self._open: Counter[str] = Counter()

    @contextmanager
    def open(self, peer: str) -> Iterator[None]:
        """One more document, while the context lasts.

        Raises:
            QuotaExceeded: CONNECTION_QUOTA.
        """
        if self._open[peer] >= CONNECTION_DOCUMENTS:
            raise QuotaExceeded(
                f"this connection has {CONNECTION_DOCUMENTS} documents open",
                reason=Reason.CONNECTION_QUOTA,
                metadata={"limit": str(CONNECTION_DOCUMENTS)},
            )
        self._open[peer] += 1
        try:
            yield
        finally:
            self._open[peer] -= 1
            if not self._open[peer]:
                del self._open[peer]
