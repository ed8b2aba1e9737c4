"""Linearizability: did the operations on each key happen one at a time, each between its call and its answer?

After Wing and Gong (1993) and Lowe ("Testing for linearizability", 2017), key by key, which is sound since
linearizability is a property of each object alone (Horn and Kroening, 2015).

Rules of this file:
- Failed operations never happened. Undecided ones happen any time after they were asked for, or never.
- Reads that did not ask for linearizability, and reads without an answer, say nothing here and are left out.
- A violation is shown by the smallest stretch of time that cannot be explained, whatever came before it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import Final, TypeVar, cast

from tallystick.testing._search import Step, Stuck, Unfinished, search
from tallystick.testing.history import Operation
from tallystick.testing.models import Model, freeze
from tallystick.testing.verdict import Budget, Report, Violation, conclude, steps

S = TypeVar("S", bound=Hashable)

DEFAULT_STEPS: Final = 2_000_000
"""Steps that a check may take unless a budget is given: some ten seconds, some hundred MB."""
WINDOW_STEPS: Final = 200_000
"""Steps that may be spent on making the report of one violation shorter."""
SHOWN: Final = 20
"""Operations that are shown of a window, at most."""


def check_linearizability(history: Iterable[Operation], model: Model[S], *, budget: Budget | None = None) -> Report:
    """Judges a history, key by key.

    Args:
        history: operations; keys are independent of each other and all follow the model.
        model: what the operations mean.
        budget: whether the search may go on, asked at each step; `DEFAULT_STEPS` steps if None.

    Returns:
        `VALID`; `INVALID` with one violation (`linearizability`) for each key that has no order; or `UNKNOWN` if the
        budget ran out. Undecided writes make a search long: one in a hundred is nothing, one in ten may be too many.

    Raises:
        ValueError: an operation is none of the model's.
    """
    may_go_on = steps(DEFAULT_STEPS) if budget is None else budget
    keys = by_key(history)
    unfinished: list[str] = []
    violations = _violations(keys, model, may_go_on, unfinished)
    return conclude("linearizability", sum(map(len, keys.values())), violations, unfinished)


def by_key(history: Iterable[Operation]) -> dict[str, list[Operation]]:
    """What a linearizability check judges, by key."""
    keys: dict[str, list[Operation]] = {}
    for op in history:
        if op.outcome != "failed" and (op.changes or (op.outcome == "ok" and op.consistency == "linearizable")):
            keys.setdefault(op.key, []).append(op)
    return keys


def step_of(op: Operation, model: Model[S], began: float, ended: float | None) -> Step[S]:
    """The operation as a step of a search; without an end it is optional."""
    undecided = op.outcome == "undecided"
    label = (op.kind, freeze(op.argument)) if undecided else None
    return Step(model.effect_of(op), began, ended, reads_only=not op.changes, label=label)


def _violations(
    keys: dict[str, list[Operation]], model: Model[S], may_go_on: Budget, unfinished: list[str]
) -> Iterator[Violation]:
    for key, operations in keys.items():
        found = search([step_of(op, model, op.invoked_s, _end(op)) for op in operations], model.initial, may_go_on)
        if isinstance(found, Unfinished):
            unfinished.append(key)
        elif isinstance(found, Stuck):
            yield _violation(operations, found, model)


def _end(op: Operation) -> float | None:
    return op.returned_s if op.outcome == "ok" else None


def _violation(operations: list[Operation], stuck: Stuck[S], model: Model[S]) -> Violation:
    culprit = operations[stuck.step]
    window = _smallest_window(operations, culprit, stuck.states, model)
    answered = [op for op in window if op.outcome == "ok"]
    shown = answered[-SHOWN:]
    if culprit not in shown:
        shown = [*shown[1:], culprit]
    lines = [f"key {culprit.key!r}: no order explains these, whatever came before:"]
    lines += [f"  ({len(answered) - len(shown)} more)"] * (len(answered) > len(shown))
    lines += [f"  {op}{'   <- cannot be placed' if op is culprit else ''}" for op in shown]
    undecided = len(window) - len(answered)
    lines += [f"  ({undecided} undecided operations do not help)"] * (undecided > 0)
    return Violation("linearizability", "\n".join(lines), tuple(shown))


def _smallest_window(
    operations: list[Operation], culprit: Operation, states: tuple[S, ...], model: Model[S]
) -> list[Operation]:
    """The operations of the shortest stretch up to the culprit's end that fits none of the states.

    A longer stretch never fits better, so the start is found by doubling and halving.
    """
    end_s = cast("float", culprit.returned_s)
    known = sorted((op for op in operations if op.invoked_s <= end_s), key=lambda op: op.invoked_s)
    starts = sorted({op.invoked_s for op in known}, reverse=True)
    may_go_on = steps(WINDOW_STEPS)

    def fails(back: int) -> bool:
        window = _window(known, starts[back], end_s, model)
        return all(isinstance(search(window, state, may_go_on), Stuck) for state in states)

    far = 0
    while far < len(starts) - 1 and not fails(far):
        far = min(2 * far + 1, len(starts) - 1)
    near = (far - 1) // 2 + 1 if far else 0
    while near < far:
        middle = (near + far) // 2
        near, far = (near, middle) if fails(middle) else (middle + 1, far)
    return [op for op in known if _is_in(op, starts[far])]


def _window(known: list[Operation], start_s: float, end_s: float, model: Model[S]) -> list[Step[S]]:
    """The steps from a start to an end: those that reach over either may have come in between, or not."""
    window = []
    for op in known:
        if _is_in(op, start_s):
            ended = _end(op)
            inside = ended is not None and op.invoked_s >= start_s and ended <= end_s
            window.append(step_of(op, model, op.invoked_s, ended if inside else None))
    return window


def _is_in(op: Operation, start_s: float) -> bool:
    ended = _end(op)
    return ended is None or ended >= start_s
