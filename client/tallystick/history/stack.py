"""What can be undone and redone, told from a log: undoing is appending, so the log says it all.

A mutation with `reverts` takes back the one of that seq; taking that back in turn is the redo. Mutations next to each
other that revert the same one were appended together, and are one.

Rules of this file: pure; whoever reads the same mutations finds the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tallystick._values import STATE, DecidedMutation
from tallystick.schemas.report import brings_up


@dataclass(frozen=True, slots=True)
class Step:
    """One change of the state: the mutations from `first` to `last` (seqs)."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Stacks:
    """What can be undone and what can be redone, each with the next one last.

    `is_cut`: a mutation takes back one before those looked at, and may be an undo of it: look further back to know.
    """

    undo: tuple[Step, ...]
    redo: tuple[Step, ...]
    is_cut: bool = False


def stacks(log: Sequence[DecidedMutation]) -> Stacks:
    """What the mutations, in their order, leave to be undone and redone.

    What reverts the newest change is an undo, what reverts the newest undo a redo. All else is a change of its own, a
    revert of something further back too, and ends what can be redone. What lies before a revert that nobody can judge
    can neither be undone nor redone.
    """
    undo: list[Step] = []
    redo: list[Step] = []
    first = log[0].seq if log else 0
    is_cut = False
    for step, reverts in _steps(log):
        if undo and undo[-1].first == reverts:
            undo.pop()
            redo.append(step)
        elif redo and redo[-1].first == reverts:
            redo.pop()
            undo.append(step)
        elif not undo and 0 < reverts < first:
            is_cut = True
            redo.clear()
        else:
            undo.append(step)
            redo.clear()
    return Stacks(tuple(undo), tuple(redo), is_cut)


def _steps(log: Sequence[DecidedMutation]) -> list[tuple[Step, int]]:
    steps: list[tuple[Step, int]] = []
    for mutation in log:
        if mutation.kind != STATE or brings_up(mutation):
            continue
        reverts = mutation.mutation.reverts
        if steps and reverts and steps[-1][1] == reverts and steps[-1][0].last == mutation.seq - 1:
            steps[-1] = (Step(steps[-1][0].first, mutation.seq), reverts)
        else:
            steps.append((Step(mutation.seq, mutation.seq), reverts))
    return steps
