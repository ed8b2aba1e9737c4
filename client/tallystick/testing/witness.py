"""The witness check: every reply bears its revision, so the order of all things is known and only has to be checked.

It is stricter than linearizability (it holds the revisions to account, too, and that over all keys at once) and takes
O(n log n), however many clients and keys there are.

Rules of this file:
- Every `ok` reply bears a revision; writes bear one each, which no other write has. A retry that is answered again
  belongs to the operation that it retries.
- Real time: what was asked for after an answer at revision r is, a write, above r; a linearizable read, at r or above.
- Replay: writes in order of their revisions, each read after the write of its revision. What does not fit may be
  explained only by undecided writes of its key that came in between, where a revision is free, and not before they were
  asked for. An undecided operation whose revision is known is replayed there.
- Of each key only the first misfit is told: what follows from it is no news.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import chain, takewhile
from operator import attrgetter
from typing import TypeVar, cast

from tallystick.testing._search import Step, Stuck, Unfinished, search
from tallystick.testing.history import Operation, highest_before
from tallystick.testing.linearizability import DEFAULT_STEPS, step_of
from tallystick.testing.models import Model
from tallystick.testing.verdict import Budget, Report, Violation, conclude, steps

S = TypeVar("S", bound=Hashable)


def check_witness(history: Iterable[Operation], model: Model[S], *, budget: Budget | None = None) -> Report:
    """Judges a history by the revisions of its replies.

    Args:
        history: operations of any consistency, all of the model.
        model: what they mean.
        budget: steps of the search that is needed only where undecided writes have to explain something;
            `DEFAULT_STEPS` if None.

    Returns:
        A report with the rules `revision` (missing, or given twice), `real-time` and `replay`.

    Raises:
        ValueError: an operation is none of the model's.
    """
    asked = list(history)
    told = [op for op in asked if op.outcome == "ok" or (op.outcome == "undecided" and op.changes)]
    placed = _placed(told)
    unfinished: list[str] = []
    may_go_on = steps(DEFAULT_STEPS) if budget is None else budget
    misfits = _explained(_misfits(placed, model), told, placed, model, may_go_on, unfinished)
    violations = chain(
        _revisions(told, placed), _real_time(told), (_replay_violation(misfit, asked, placed) for misfit in misfits)
    )
    return conclude("witness", sum(op.outcome == "ok" for op in told), violations, unfinished)


def _placed(told: Sequence[Operation]) -> list[Operation]:
    """Those with a revision in its order; a write comes before what is read at its revision."""
    known = [op for op in told if op.revision is not None]
    ordered = [op for op in known if op.changes] + [op for op in known if not op.changes]
    ordered.sort(key=attrgetter("revision"))
    return ordered


def _revision(op: Operation) -> int:
    return cast("int", op.revision)


def _revisions(told: Sequence[Operation], placed: Sequence[Operation]) -> Iterator[Violation]:
    for op in told:
        if op.revision is None and op.outcome == "ok" and not _is_refused(op):
            yield Violation("revision", f"a reply without a revision: {op}", (op,))
    last: Operation | None = None
    for op in placed:
        if op.changes:
            if last is not None and last.revision == op.revision:
                yield Violation("revision", f"two writes at one revision: {last} and {op}", (last, op))
            last = op


def _is_refused(op: Operation) -> bool:
    return op.kind == "cas" and op.result is False


def _real_time(told: Sequence[Operation]) -> Iterator[Violation]:
    strict = (op for op in told if op.revision is not None and (op.changes or op.consistency == "linearizable"))
    for later, earlier in highest_before(told, strict):
        if _revision(later) < _revision(earlier) + later.changes:
            yield Violation("real-time", f"{later} is not after {earlier}, which had returned", (earlier, later))


def _misfits(placed: Sequence[Operation], model: Model[S]) -> dict[str, Operation]:
    """By key, the first operation that does not follow from the writes whose revision is known."""
    misfits: dict[str, Operation] = {}
    states: dict[str, S] = {}
    for op in placed:
        state = model.effect_of(op)(states.get(op.key, model.initial))
        if state is not None:
            states[op.key] = state
        elif op.key not in misfits:
            misfits[op.key] = op
    return misfits


def _explained(
    misfits: dict[str, Operation],
    told: Sequence[Operation],
    placed: Sequence[Operation],
    model: Model[S],
    may_go_on: Budget,
    unfinished: list[str],
) -> Iterator[Operation]:
    """The misfits that no undecided writes explain."""
    nowhere = [op for op in told if op.revision is None and op.outcome == "undecided" and op.key in misfits]
    undecided_of = _by_key(nowhere)
    placed_of = _by_key(op for op in placed if op.key in undecided_of)
    floor_of = {id(op): _revision(earlier) for op, earlier in highest_before(told, nowhere)}
    taken = sorted({_revision(op) for op in placed if op.changes})
    for key, misfit in misfits.items():
        if key not in undecided_of:
            yield misfit
            continue
        floors = [floor_of.get(id(op), -1) for op in undecided_of[key]]
        groups = _groups(placed_of[key], min(floors), taken)
        firsts = [_revision(group[0]) for group in groups]
        decided = [_step_of_group(group, place, model) for place, group in enumerate(groups)]
        began = [2 * bisect_right(firsts, floor) for floor in floors]
        optional = [step_of(op, model, at, None) for op, at in zip(undecided_of[key], began, strict=True)]
        found = search([*decided, *optional], model.initial, may_go_on)
        if isinstance(found, Unfinished):
            unfinished.append(key)
        elif isinstance(found, Stuck):
            group = groups[found.step]
            yield misfit if misfit in group else group[-1]


def _by_key(operations: Iterable[Operation]) -> dict[str, list[Operation]]:
    keys: dict[str, list[Operation]] = {}
    for op in operations:
        keys.setdefault(op.key, []).append(op)
    return keys


def _groups(placed: Iterable[Operation], floor: int, taken: Sequence[int]) -> list[list[Operation]]:
    """The operations of a key, in order; no undecided one, all of them above the floor, came in between a group's."""
    groups: list[list[Operation]] = []
    for op in placed:
        if groups and (_revision(op) <= floor or not _is_room(_revision(groups[-1][-1]), op, taken)):
            groups[-1].append(op)
        else:
            groups.append([op])
    return groups


def _is_room(after: int, op: Operation, taken: Sequence[int]) -> bool:
    """Whether another write could have been decided after a revision and before the operation."""
    last = _revision(op)  # its own, if it is a write, is taken
    return last - after > bisect_right(taken, last) - bisect_right(taken, after)


def _step_of_group(group: Sequence[Operation], place: int, model: Model[S]) -> Step[S]:
    effects = [model.effect_of(op) for op in group]

    def apply(state: S) -> S | None:
        for effect in effects:
            after = effect(state)
            if after is None:
                return None
            state = after
        return state

    return Step(apply, 2 * place, 2 * place + 1, reads_only=not any(op.changes for op in group))


def _replay_violation(misfit: Operation, asked: Sequence[Operation], placed: Sequence[Operation]) -> Violation:
    lines = [f"{misfit} does not follow from what was decided before it"]
    until = takewhile(lambda op: op is not misfit, placed)
    before = [op for op in until if op.key == misfit.key and op.changes][-1:]
    lines += [f"  the last write before it: {op}" for op in before] or ["  there was no write before it"]
    meant = [op for op in asked if op.key == misfit.key and op.changes and op.argument == misfit.result is not None]
    lines += [f"  its value was handed in by: {op}" for op in meant[:1] if misfit.kind == "read"]
    return Violation("replay", "\n".join(lines), (*before, misfit))
