"""The state machine of a simulated node: it remembers what it applied."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tallystick_node.consensus.machine import CommittedEntry
from tests.sim.history import PromiseBroken


class MachineError(Exception):
    """The state machine raised what nobody expected."""


class SimMachine:
    """A state machine, how much of it is on disk, and an error for the next entry if one is wanted.

    Attributes:
        entries: all that it applied, in order.
        raises: "before" or "after": the next entry raises, before or after it took effect.
    """

    def __init__(self, on_apply: Callable[[CommittedEntry], None]) -> None:
        self.entries: list[CommittedEntry] = []
        self.durable_count = 0
        self.raises = ""
        self._on_apply = on_apply

    @property
    def applied_index(self) -> int:
        return self.entries[-1].index if self.entries else 0

    @property
    def durable_index(self) -> int:
        return self.entries[self.durable_count - 1].index if self.durable_count else 0

    def apply(self, entries: Sequence[CommittedEntry]) -> list[list[int]]:
        for entry in entries:
            self._raise_if("before")
            if entry.index <= self.applied_index:
                raise PromiseBroken(f"entry {entry.index} is applied twice, or out of order")
            self.entries.append(entry)
            self._on_apply(entry)
            self._raise_if("after")
        return [[entry.index] * len(entry.commands) for entry in entries]

    @property
    def members(self) -> bytes | None:
        return next((entry.members for entry in reversed(self.entries) if entry.members is not None), None)

    def digest_at(self, index: int) -> bytes | None:
        return None

    def checkpoint(self) -> None:
        """What was applied is on disk."""
        self.durable_count = len(self.entries)

    def crash(self) -> None:
        """What was not on disk is gone."""
        del self.entries[self.durable_count :]

    def copy(self) -> tuple[CommittedEntry, ...]:
        """All of it as it is now, for a node that lacks what the journals no longer hold."""
        return tuple(self.entries)

    def install(self, copy: Sequence[CommittedEntry]) -> None:
        """Takes another node's copy in the place of what is here, and syncs it."""
        self.entries = list(copy)
        self.checkpoint()

    def _raise_if(self, when: str) -> None:
        if self.raises == when:
            self.raises = ""
            raise MachineError
