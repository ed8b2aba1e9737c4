"""What one client knows of schemas, and what it has seen of the versions that agents' states have.

Rules of this file:
- Pure: nothing is asked here. What was seen is bounded, the oldest is forgotten and asked for again.
- A version never falls while an agent lives, so one that was seen to be the client's own need not be asked for again.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, TypeAlias

from tallystick._values import STATE, Mutation, Snapshot
from tallystick.errors import Conflict, Reason
from tallystick.schemas.known import KnownSchemas
from tallystick.schemas.subjects import Subject
from tallystick.schemas.upcasters import BEFORE_SCHEMAS, Chain

SEEN: Final = 10_000
"""Logs of which something is remembered."""

LogName: TypeAlias = tuple[str, str]
"""An agent's name and a branch."""


class Versions:
    """See the module. One for each client."""

    def __init__(self, known: KnownSchemas) -> None:
        self.known = known
        self._current: dict[LogName, int] = {}
        self._given: dict[LogName, int] = {}
        self._brought: dict[LogName, int] = {}
        self._registered: set[Subject] = set()
        self._registrations: dict[Subject, tuple[int, Sequence[int]]] = {}

    def is_current(self, log: LogName) -> bool:
        """Whether the state that is stored was seen to have the version that this program works with."""
        return log in self._current

    def saw_current(self, log: LogName, version: int) -> None:
        """It has this version, that of this program, and will not have an older one."""
        _remember(self._current, log, version)

    def doubt(self, log: LogName) -> None:
        """A write was refused: what was seen is looked at again, for the log may be another agent's of that name."""
        self._current.pop(log, None)

    def saw_brought(self, log: LogName, seq: int) -> None:
        """The state was brought up by the mutation at this seq."""
        _remember(self._brought, log, seq)

    def expected(self, log: LogName, seq: int | None) -> int | None:
        """Where the log has to end for who expects this: behind what brought up the state that upcasters gave there."""
        brought = self._brought.get(log)
        was_given = seq is not None and self._given.get(log) == seq
        return brought if was_given and brought == (seq or 0) + 1 else seq

    def is_registered(self, chain: Chain) -> bool:
        """Whether the version that this program works with was seen to be registered; it stays so."""
        return chain.subject in self._registered

    def saw_registered(self, chain: Chain) -> None:
        """It is."""
        self._registered.add(chain.subject)

    def saw_registrations(self, chain: Chain, as_of: int, positions: Sequence[int]) -> None:
        """At which positions of the decided history the versions 1, 2, ... were registered, up to this one."""
        self._registrations[chain.subject] = (as_of, positions)

    def newest_at(self, chain: Chain, position: int) -> int | None:
        """The newest version that was registered before a position; None: that was not seen."""
        as_of, positions = self._registrations.get(chain.subject, (0, ()))
        return bisect_left(positions, position) if position <= as_of else None

    def forget(self, agent: str) -> None:
        """The agent was deleted: one of that name begins anew."""
        for seen in (self._current, self._given, self._brought):
            for log in [log for log in seen if log[0] == agent]:
                del seen[log]

    def gave_as_stored(self, log: LogName) -> None:
        """The program sees the state as it is stored."""
        self._given.pop(log, None)

    def upcast(self, log: LogName, snapshot: Snapshot) -> Snapshot:
        """The snapshot with its state in the version that this program works with; of one that is newer, as it is.

        Raises:
            Invalid: an upcaster is missing.
        """
        chain = self.known.of_agent(log[0])
        if chain is None or is_unwritten(snapshot) or snapshot.state_version >= chain.version:
            return snapshot
        state = chain.bring(snapshot.state, snapshot.state_version)
        _remember(self._given, log, snapshot.seq)
        return replace(snapshot, state=state, given_version=chain.version)

    def stamped(self, agent: str, mutations: Sequence[Mutation]) -> Sequence[Mutation]:
        """The mutations with the versions that this program works with, unless they name their own."""
        if self.known.is_empty:
            return mutations
        chain = self.known.of_agent(agent)
        return [self.known.stamped(mutation, chain) for mutation in mutations]

    def to_check(self, agent: str, mutations: Sequence[Mutation]) -> Chain | None:
        """What is known of the state that these mutations change; None: nothing, or they leave it as it is."""
        if self.known.is_empty:
            return None
        changes = any(mutation.kind == STATE and not mutation.schema_version for mutation in mutations)
        return self.known.of_agent(agent) if changes else None


def is_unwritten(snapshot: Snapshot) -> bool:
    """Nothing was written to the state yet, though events may have been: it has no shape that could be old."""
    return snapshot.state_version == BEFORE_SCHEMAS and snapshot.state == {}


def newer(chain: Chain, stored: int) -> Conflict:
    """The refusal of a write to a state of a version that this program does not know."""
    return Conflict(
        f"the state has version {stored} of {chain.subject}, and this program knows version {chain.version}",
        reason=Reason.STATE_VERSION,
        metadata={"subject": str(chain.subject), "version": str(stored), "asked": str(chain.version)},
    )


def _remember(seen: dict[LogName, int], log: LogName, number: int) -> None:
    seen.pop(log, None)
    seen[log] = number
    if len(seen) > SEEN:
        del seen[next(iter(seen))]
