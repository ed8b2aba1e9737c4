"""What mutations say was read, as far as it can be so: the edges of "happened before" between logs.

Rules of this file:
- Nobody is refused for what he says he read: what cannot be so counts for nothing. The agent may have been deleted
  between the reading and the writing, and that is no fault of who wrote.
- What retention has removed before cannot be told from what never was, and counts for nothing either.
- What counts was decided before the mutation that read it, so there is no circle.
- A log's own past, also what it shares with its parent, is known without saying; so is what an earlier mutation of the
  log said already.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tallystick_node.core.commands import Mutation, Target
from tallystick_node.core.observation_records import Observation, Place, SeenLog
from tallystick_node.core.outcomes import MutationDecided
from tallystick_node.core.tables import LogRecord, Tables


def observe(tables: Tables, log: LogRecord, mutations: Sequence[Mutation], events: Sequence[MutationDecided]) -> None:
    """Keep what the mutations say was read; `log` as it was before them, `events` they as they were decided."""
    for mutation, event in zip(mutations, events, strict=True):
        for place in _places(tables, event.target, mutation.observed) if mutation.observed else ():
            if not _is_known(tables, log, place):
                tables.observations.add(Observation(log.number, place.log, event.seq, place.seq, place.position))


def _places(tables: Tables, target: Target, observed: Sequence[SeenLog]) -> Iterable[Place]:
    """The mutations that were read, of each log the newest: two branches may lead to the log that they share."""
    newest: dict[int, Place] = {}
    for seen in observed:
        place = _place(tables, target, seen)
        if place is not None and (place.log not in newest or newest[place.log].seq < place.seq):
            newest[place.log] = place
    return newest.values()


def _place(tables: Tables, target: Target, seen: SeenLog) -> Place | None:
    """Where the mutation stands that was read; None: there is no such one."""
    other = tables.log(Target(target.namespace, seen.agent, seen.branch))
    if other is None or not 0 < seen.seq <= other.seq:
        return None
    place = tables.branches.place(other, seen.seq)
    return place if place is not None and seen.hash in {b"", place.hash} else None


def _is_known(tables: Tables, log: LogRecord, place: Place) -> bool:
    if place.log == log.number:
        return True
    if log.parent and place.log < log.number and place.seq <= log.fork_seq:
        own = tables.branches.place(log, place.seq)
        if own is not None and own.log == place.log:
            return True
    before = tables.observations.newest(log.number, place.log)
    return before is not None and before.other_seq >= place.seq
