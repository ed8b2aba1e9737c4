"""Is everything where it should be? Each check is a function of what was read, so that tests can hand it a lie.

What is compared:
- the source, the target, and the checksums in the log;
- the logs of all nodes, read from each node itself;
- the agents' own notes: which writes were acknowledged to them, and what they did to files.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from examples.migration.agent import BEGUN, DONE
from examples.migration.copying import checksums
from examples.migration.node_log import Entry, NodeLog
from examples.migration.notes import COPIED, FOUND, STARTED, Ack, Work
from examples.migration.plan import Plan

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Check:
    """What was checked, whether it holds, and the figures or the first few problems."""

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that the checks look at."""

    plan: Plan
    source: Path
    target: Path
    logs: Sequence[NodeLog]
    acks: Sequence[Ack]
    work: Sequence[Work]


def verify(evidence: Evidence) -> list[Check]:
    """All checks; each is made whatever the others say."""
    checks: list[Callable[[Evidence], Check]] = [
        check_files,
        check_batches,
        check_work,
        check_acknowledged,
        check_nodes_agree,
        check_one_writer,
    ]
    return [check(evidence) for check in checks]


def check_files(evidence: Evidence) -> Check:
    """Each file is in the target, with the bytes of the source and the checksum of the log; nothing else is."""
    files = evidence.plan.files
    source, target = checksums(evidence.source, files), checksums(evidence.target, files)
    recorded = _recorded(evidence.logs[0].entries)
    problems = [f"{path} is missing" for path in files if path not in target]
    problems += [
        f"{path} differs from its source" for path in files if path in target and target[path] != source.get(path)
    ]
    problems += [
        f"{path} differs from the log" for path in files if path in target and target[path] != recorded.get(path)
    ]
    there = {path.relative_to(evidence.target).as_posix() for path in evidence.target.rglob("*") if path.is_file()}
    problems += [f"{path} does not belong here" for path in sorted(there - set(files))]
    return _check("every file has the checksum of its source and of the log", problems, f"{len(files)} files")


def check_batches(evidence: Evidence) -> Check:
    """The log has one intent and then one result for each batch, in order."""
    told = [(entry.kind, _batch(entry)) for entry in evidence.logs[0].entries if entry.kind in {BEGUN, DONE}]
    expected = [(kind, batch) for batch in range(len(evidence.plan.batches)) for kind in (BEGUN, DONE)]
    problems = [
        f"event {place}: {found} instead of {due}"
        for place, (found, due) in enumerate(zip(told, expected, strict=False))
        if found != due
    ]
    if len(told) != len(expected):
        problems.append(f"{len(told)} events instead of {len(expected)}")
    return _check("every batch has one intent and one result", problems, f"{len(evidence.plan.batches)} batches")


def check_work(evidence: Evidence) -> Check:
    """No batch was copied twice, nor touched once its result was recorded; each was copied, or found complete."""
    did = Counter((work.did, work.batch) for work in evidence.work)
    recorded = _recorded_at(evidence)
    problems = []
    for batch in range(len(evidence.plan.batches)):
        if did[COPIED, batch] > 1:
            problems.append(f"batch {batch} was copied {did[COPIED, batch]} times")
        if not did[COPIED, batch] and not did[FOUND, batch]:
            problems.append(f"batch {batch} was recorded, but nobody copied it")
    problems += [
        f"batch {work.batch} was {work.did} by {work.pid} after its result was recorded"
        for work in evidence.work
        if work.at_s > recorded.get(work.batch, math.inf)
    ]
    ambiguous = sum(1 for (what, _), times in did.items() if what == STARTED and times > 1)
    found = sum(times for (what, _), times in did.items() if what == FOUND)
    detail = f"{ambiguous} begun and not finished by a killed agent, copied by the next; {found} found complete"
    return _check("no batch was done twice", problems, detail)


def check_acknowledged(evidence: Evidence) -> Check:
    """Every write that was acknowledged to an agent is on every node, as it was acknowledged."""
    problems = []
    for log in evidence.logs:
        has = {("", entry.seq, entry.hash, entry.revision) for entry in log.entries}
        has |= {(point.name, point.seq, point.hash, point.revision) for point in log.checkpoints}
        problems += [
            f"node {log.node} lacks {ack.checkpoint or 'seq'} {ack.seq} at {ack.revision}"
            for ack in evidence.acks
            if (ack.checkpoint, ack.seq, ack.hash, ack.revision) not in has
        ]
    if not evidence.acks:
        problems.append("the agents noted no acknowledgement")
    detail = f"{len(evidence.acks)} writes on each of {len(evidence.logs)} nodes"
    return _check("nothing acknowledged is missing on any node", problems, detail)


def check_nodes_agree(evidence: Evidence) -> Check:
    """All nodes have one hash chain without gaps, the same checkpoints and the same state, to the byte."""
    first = evidence.logs[0]
    problems = []
    for log in evidence.logs:
        if [entry.seq for entry in log.entries] != list(range(1, len(log.entries) + 1)):
            problems.append(f"node {log.node} has gaps")
        if (log.entries, log.checkpoints, log.state) != (first.entries, first.checkpoints, first.state):
            problems.append(f"nodes {log.node} and {first.node} differ")
    steps = [point.name for point in first.checkpoints]
    if steps != [f"batch-{batch}" for batch in range(len(evidence.plan.batches))]:
        problems.append(f"the checkpoints are {steps}")
    head = first.entries[-1].hash[:12] if first.entries else "nothing"
    return _check("the hash chains of all nodes are equal", problems, f"{len(first.entries)} mutations, head {head}")


def check_one_writer(evidence: Evidence) -> Check:
    """Once another agent wrote, the one before wrote no more."""
    turns: list[str] = []
    for entry in evidence.logs[0].entries:
        if not turns or turns[-1] != entry.actor:
            turns.append(entry.actor)
    problems = [f"{actor} wrote again after another" for actor, times in Counter(turns).items() if times > 1]
    return _check("one agent wrote at a time", problems, " then ".join(turns))


def _check(name: str, problems: Sequence[str], detail: str) -> Check:
    if not problems:
        return Check(name, ok=True, detail=detail)
    more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return Check(name, ok=False, detail="; ".join(problems[:_SHOWN]) + more)


def _recorded(entries: Iterable[Entry]) -> Mapping[str, str]:
    """The checksums in the log, by path."""
    sums: dict[str, str] = {}
    for entry in entries:
        match entry.payload:
            case {"sha256": dict(batch)} if entry.kind == DONE:
                sums |= {path: str(digest) for path, digest in batch.items()}
    return sums


def _recorded_at(evidence: Evidence) -> Mapping[int, float]:
    """When the result of each batch was acknowledged, as far as its agent lived to note it."""
    noted = {ack.seq: ack.at_s for ack in evidence.acks if not ack.checkpoint}
    # An append is noted by its last seq: the result's event and its change of the state go together.
    results = {_batch(entry): entry.seq + 1 for entry in evidence.logs[0].entries if entry.kind == DONE}
    return {batch: noted[seq] for batch, seq in results.items() if seq in noted}


def _batch(entry: Entry) -> int:
    match entry.payload:
        case {"batch": int(batch)}:
            return batch
    return -1
