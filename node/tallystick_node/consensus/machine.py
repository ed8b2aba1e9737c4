"""The seam to the state machine: what consensus asks of whoever gives the bytes a meaning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

Result_co = TypeVar("Result_co", covariant=True)


@dataclass(frozen=True, slots=True)
class CommittedEntry:
    """An entry that a majority has on disk.

    Attributes:
        index: its place in the log.
        term: the term it was proposed in.
        commands: what callers proposed, in order. An empty command changes nothing.
        members: who is of the cluster from here on, if the entry says so: to be kept, as they are, with the index.
    """

    index: int
    term: int
    commands: tuple[bytes, ...]
    members: bytes | None = None


class StateMachine(Protocol[Result_co]):
    """Applies committed entries, each once and in order, together with the applied index.

    Rules for those who implement it:
    - A refusal is a result. What raises stops the node, except `DiskFull`: then nothing was changed and the same
      entries are given again.
    - `durable_index` is what survives a power cut; the journal keeps everything behind it.
    """

    @property
    def applied_index(self) -> int:
        """The index of the last entry applied; 0 when nothing was."""
        ...

    @property
    def durable_index(self) -> int:
        """The applied index that is synced to disk."""
        ...

    @property
    def members(self) -> bytes | None:
        """The newest `CommittedEntry.members` that were applied, or None."""
        ...

    def digest_at(self, index: int) -> bytes | None:
        """A digest of all that was applied up to an index, equal on all replicas; None where it is not known."""
        ...

    def apply(self, entries: Sequence[CommittedEntry]) -> Sequence[Sequence[Result_co]]:
        """Applies the entries and returns a result for each command of each entry."""
        ...
