"""Under which epoch the writes of one `Agent` object go.

Rules of this file: what the node says counts. A write that it refuses as `StaleOwner` ends the lease here; a lease that
is lost here sends no more writes.
"""

from __future__ import annotations

from typing import Final, Protocol

from tallystick.errors import Invalid, StaleOwner

NO_LEASE: Final = 0
"""The epoch of who writes without a lease."""


class Held(Protocol):
    """A lease that was acquired."""

    @property
    def epoch(self) -> int:
        """Of its acquisition."""

    @property
    def is_held(self) -> bool:
        """Whether it is still held, as far as this program knows."""

    def lose(self) -> None:
        """It is held no more."""


class Fence:
    """See the module. Without a lease it lets all writes through, as those of nobody."""

    def __init__(self) -> None:
        self._held: Held | None = None

    @property
    def epoch(self) -> int:
        """The epoch that a write carries now.

        Raises:
            StaleOwner: the lease was lost.
        """
        held = self._held
        if held is None:
            return NO_LEASE
        if not held.is_held:
            raise StaleOwner(f"the lease of epoch {held.epoch} was lost here", metadata={"asked": str(held.epoch)})
        return held.epoch

    def check_free(self) -> None:
        """Raises Invalid if this object has a lease already."""
        if self._held is not None:
            raise Invalid("this Agent object writes under a lease already", metadata={"field": "lease"})

    def take(self, held: Held) -> None:
        """From now on writes go under this lease."""
        self.check_free()
        self._held = held

    def leave(self, held: Held) -> None:
        """From now on writes go without a lease; nothing if they do not go under this one."""
        if self._held is held:
            self._held = None

    def refused(self, epoch: int) -> None:
        """A node refused a write of this epoch as stale."""
        if self._held is not None and self._held.epoch == epoch:
            self._held.lose()
