"""What was read before something was written, as records: what a mutation says, and what is kept of it.

Rules of this file:
- No import of other records, so that commands may hold these.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class SeenLog(NamedTuple):
    """Another log, read up to a seq. `hash`: of the mutation there, or empty: it was not told."""

    agent: str
    branch: str
    seq: int
    hash: bytes = b""


class Observation(NamedTuple):
    """Who wrote the mutation at `seq` of a log had read another log up to `other_seq`.

    Attributes:
        log, other: numbers of logs, each the one that has the mutation as its own.
        other_position: where the mutation that was read was decided: before the one that read it.
    """

    log: int
    other: int
    seq: int
    other_seq: int
    other_position: int


class Place(NamedTuple):
    """Where a mutation stands: in which log as its own, and what it is there."""

    log: int
    seq: int
    position: int
    hash: bytes


class ObservationTables(Protocol):
    """The table of observations: of two logs both numbers rise together, so the newest says all."""

    def newest(self, log_number: int, other: int) -> Observation | None:
        """The newest of a log's own mutations of that other log."""
        ...

    def add(self, observation: Observation) -> None:
        """Keep one."""
        ...
