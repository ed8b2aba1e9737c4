"""What is told of states that were brought up, of one or of many: immutable values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from tallystick._values import DecidedMutation

CAUSE: Final = "migrate: "
"""The cause of a mutation that brings a state up begins so."""

FAILURES: Final = 1000
"""Failures that a report holds at most; it counts them all."""


@dataclass(frozen=True, slots=True)
class Brought:
    """What became of one log.

    Attributes:
        from_version: that the state had; 0: no schema governed it.
        to_version: that it has.
        before_seq, seq: where the log ended, and ends.
    """

    from_version: int
    to_version: int
    before_seq: int
    seq: int

    @property
    def is_appended(self) -> bool:
        """A mutation was appended; else the state had that version, or a newer one."""
        return self.seq != self.before_seq


def brings_up(decided: DecidedMutation) -> bool:
    """Whether a mutation brings a state up: no change of its program's, which an undo would look for."""
    return decided.mutation.schema_version > 0 and decided.cause.startswith(CAUSE)


@dataclass(frozen=True, slots=True)
class MigrationFailure:
    """A log whose state was not brought up, and why: a refusal, or what an upcaster raised."""

    agent: str
    branch: str
    error: Exception


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """What became of a migration, so far or in the end. Logs count, of which an agent has one for each branch.

    Attributes:
        migrated: brought up by a mutation of this run.
        skipped: had the version, or a newer one.
        failed: was not brought up; `failures` says why, of the first 1,000.
        log: the one that was looked at last, as `agent` or `agent@branch`; "" in the end.
    """

    migrated: int
    skipped: int
    failed: int
    failures: tuple[MigrationFailure, ...]
    log: str = ""

    @property
    def is_complete(self) -> bool:
        """No state is left behind."""
        return not self.failed


OnProgress: TypeAlias = Callable[[MigrationReport], object]
