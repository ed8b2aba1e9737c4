"""The judges of a finished generation, and their verdicts summed up.

Rules of this file:
- A generation is judged by what its clients were told, by what the watch received, and by the logs as they are decided.
- A verdict other than valid is a violation; the history is saved then, so that it can be looked at.
- Judging runs on a thread: the wires of the cluster are on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tallystick import Client, Consistency, NotFound
from tallystick.testing import (
    Event,
    Report,
    Stream,
    Verdict,
    check_linearizability,
    check_sessions,
    check_watch,
    check_witness,
)
from tallystick.testing.local_wait import eventually
from tests.chaos.generations import Generation
from tests.chaos.log_model import log_model
from tests.chaos.watcher import Watcher
from tests.cluster.harness_ledger import TEXTS_MAX, number_of

WATCH_S: Final = 120.0
"""Within which the watch gets to what was acknowledged, faults and all."""
READ_S: Final = 120.0


@dataclass(slots=True)
class Tally:
    """The verdicts of one checker over all generations."""

    checked: int = 0
    valid: int = 0
    invalid: int = 0
    unknown: int = 0

    @property
    def verdict(self) -> Verdict:
        """Of all together."""
        if self.invalid:
            return Verdict.INVALID
        return Verdict.VALID if self.valid and not self.unknown else Verdict.UNKNOWN


@dataclass(slots=True)
class Verdicts:
    """Of all checkers, by name, and the violations in words."""

    tallies: dict[str, Tally] = field(default_factory=dict)
    texts: list[str] = field(default_factory=list)

    def add(self, report: Report, where: str) -> None:
        """Sums up."""
        tally = self.tallies.setdefault(report.checker, Tally())
        tally.checked += report.checked
        tally.valid += report.verdict is Verdict.VALID
        tally.invalid += report.verdict is Verdict.INVALID
        tally.unknown += report.verdict is Verdict.UNKNOWN
        if not report and len(self.texts) < TEXTS_MAX:
            self.texts.append(f"{where}: {report}")


class Judge:
    """Judges the generations of a namespace.

    Args:
        reader: a client of the namespace for the logs.
        keep: where histories that are not valid go.
    """

    def __init__(self, reader: Client, watcher: Watcher, verdicts: Verdicts, keep: Path) -> None:
        self._reader = reader
        self._watcher = watcher
        self._verdicts = verdicts
        self._keep = keep

    async def judge(self, generation: Generation) -> None:
        """All judges on one generation.

        Raises:
            AssertionError: the watch did not get to what was acknowledged.
        """
        await eventually(
            lambda: self._has_reached(generation.highest_revision),
            within_s=WATCH_S,
            what=f"the watch gets to revision {generation.highest_revision}",
        )
        reached = self._watcher.reached
        received = self._watcher.take(generation.agents)
        log = [event for agent in generation.agents for event in await self._log(agent)]
        log.sort(key=lambda event: event.revision)
        reports = await asyncio.to_thread(_reports, generation, log, Stream(0, received, reached))
        for report in reports:
            self._verdicts.add(report, generation.name)
        if not all(reports):
            generation.history.save(self._keep / f"{generation.name}.jsonl")

    async def _has_reached(self, revision: int) -> bool:
        return self._watcher.reached >= revision

    async def _log(self, agent: str) -> list[Event]:
        """The log as it is decided."""
        mutations = self._reader.agent(agent).log(consistency=Consistency.LINEARIZABLE, timeout_s=READ_S)
        try:
            return [Event(found.revision.position, agent, number_of(found.cause)) async for found in mutations]
        except NotFound:
            return []


def _reports(generation: Generation, log: Sequence[Event], stream: Stream) -> list[Report]:
    return [
        check_linearizability(generation.history, log_model()),
        check_witness(generation.history, log_model()),
        check_sessions(generation.history),
        check_watch(log, [stream], reached=generation.highest_revision),
    ]
