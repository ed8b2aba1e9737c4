"""What an outbox holds, and what became of it: values.

queued --> appended   decided as it was made
       --> rebased    decided as a resolver made it fit
       --> branched   decided on a branch of its own
       --> refused    not decided, and kept until it is discarded
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from tallystick._values import Mutation
from tallystick.history.merging import MergeConflict


class Fate(enum.StrEnum):
    """What became of something that was done offline."""

    QUEUED = "queued"
    APPENDED = "appended"
    REBASED = "rebased"
    BRANCHED = "branched"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Entry:
    """Mutations that were handed in together: decided all or none.

    Attributes:
        number: 1, 2, 3, ... in this outbox, in the order in which they were made.
        key: the idempotency key of the next attempt, or of the one that may be under way.
        attempt: the message of an attempt whose end is not known, byte for byte; b"" if there is none.
        fate: what became of them.
        seq: of the last mutation, once decided. branch: where.
        reason: of a refusal, the reason code; "" else.
        made_offline: it was to come home later when it was made.
        size_bytes: what they take in the outbox.
    """

    number: int
    mutations: tuple[Mutation, ...]
    key: str
    attempt: bytes = b""
    fate: Fate = Fate.QUEUED
    seq: int = 0
    branch: str = ""
    reason: str = ""
    made_offline: bool = False
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Settled:
    """The fate of one entry in a report. `conflicts`: what a rebase met and the resolver did not settle."""

    number: int
    fate: Fate
    seq: int = 0
    branch: str = ""
    reason: str = ""
    conflicts: tuple[MergeConflict, ...] = ()


@dataclass(frozen=True, slots=True)
class ReconcileReport:
    """What became of everything that was done offline.

    Attributes:
        settled: the fate of each entry that was made offline, in their order. Those that came home by themselves a
            while ago may be among them.
        branch: the branch where those are that could not be appended; "" if there is none.
        base_seq: where the log was left when the agent went offline; `head_seq` where it ends now.
    """

    settled: tuple[Settled, ...]
    branch: str
    base_seq: int
    head_seq: int

    @property
    def is_clean(self) -> bool:
        """Everything was appended as it was made."""
        return all(each.fate is Fate.APPENDED for each in self.settled)


@dataclass(frozen=True, slots=True)
class Base:
    """The last state of the log that was seen: what an offline agent builds on."""

    seq: int
    state_json: bytes
