"""Convergence: replicas that are at one place hold the same, and in the end all are at one place.

Rules of this file:
- Equal revisions mean equal digests, and equal contents, on all nodes and at all times.
- What has no revision (a shared document that merges) is compared only in the end, when everyone has heard everything.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from tallystick.testing.history import JSON, short
from tallystick.testing.models import freeze
from tallystick.testing.verdict import Report, Violation, conclude


@dataclass(frozen=True, slots=True)
class Observation:
    """What a node held.

    Attributes:
        node: who.
        subject: what was looked at: the whole state, an agent, a document.
        revision: where the node was; None: the subject has none.
        digest: of the content, as the node gave it.
        content: the content itself, if it was read; null: it was not.
    """

    node: str
    subject: str
    revision: int | None
    digest: str
    content: JSON = None


def check_agreement(observations: Iterable[Observation]) -> Report:
    """Whether nodes that were seen at one revision were the same (rules `digest` and `content`).

    It counts comparisons between different nodes: a report that checked 0 is `UNKNOWN`, since no two were ever seen at
    one revision.
    """
    places: dict[tuple[str, int], list[Observation]] = {}
    for seen in observations:
        if seen.revision is not None:
            places.setdefault((seen.subject, seen.revision), []).append(seen)
    compared = sum(seen.node != place[0].node for place in places.values() for seen in place)
    violations = (violation for place in places.values() for violation in _differences(place))
    return conclude("agreement", compared, violations)


def check_convergence(observations: Iterable[Observation], nodes: Collection[str]) -> Report:
    """Whether all nodes ended at one place with the same (rules `missing`, `revision`, `digest`, `content`).

    Args:
        observations: in order; of each node and subject the last one counts.
        nodes: who has to have been seen, of every subject.
    """
    last: dict[str, dict[str, Observation]] = {}
    for seen in observations:
        last.setdefault(seen.subject, {})[seen.node] = seen
    violations = (violation for subject, ends in last.items() for violation in _ends(subject, ends, nodes))
    return conclude("convergence", sum(len(ends) - 1 for ends in last.values()), violations)


def _ends(subject: str, ends: dict[str, Observation], nodes: Collection[str]) -> Iterator[Violation]:
    missing = sorted(set(nodes) - ends.keys())
    if missing:
        yield Violation("missing", f"{subject!r} was not seen on {', '.join(missing)}")
    one, *others = ends.values()
    for other in others:
        if one.revision != other.revision:
            text = f"{subject!r} ended at {one.revision} on {one.node} and at {other.revision} on {other.node}"
            yield Violation("revision", text)
    yield from _differences([seen for seen in ends.values() if seen.revision == one.revision])


def _differences(place: Sequence[Observation]) -> Iterator[Violation]:
    """Those at one place that differ from the first; contents, from the first that was read."""
    one = place[0]
    read = next((seen for seen in place if seen.content is not None), one)
    for other in place:
        where = f"{one.subject!r} at revision {one.revision}"
        if other.digest != one.digest:
            yield Violation("digest", f"{where}: {one.digest} on {one.node}, {other.digest} on {other.node}")
        if other.content is not None and freeze(other.content) != freeze(read.content):
            text = f"{where}: {short(read.content)} on {read.node}, {short(other.content)} on {other.node}"
            yield Violation("content", text)
