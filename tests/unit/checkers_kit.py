"""What the tests of the checkers share: short words for operations, right histories, and slow, obvious judges."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from itertools import permutations, product
from random import Random
from typing import TypeVar

from tallystick.testing import Model, Operation
from tallystick.testing.history import JSON, Consistency, Kind

S = TypeVar("S", bound=Hashable)


def ok(
    kind: Kind,
    argument: JSON,
    result: JSON,
    began: float,
    ended: float,
    *,
    key: str = "x",
    process: str = "p",
    revision: int | None = None,
    consistency: Consistency = "linearizable",
) -> Operation:
    """An answered operation."""
    return Operation(
        process=process,
        key=key,
        kind=kind,
        argument=argument,
        result=result,
        invoked_s=began,
        returned_s=ended,
        outcome="ok",
        revision=revision,
        consistency=consistency,
    )


def write(value: JSON, began: float, ended: float, revision: int | None = None, process: str = "p") -> Operation:
    """An answered write of `x`."""
    return ok("write", value, None, began, ended, revision=revision, process=process)


def read(
    value: JSON,
    began: float,
    ended: float,
    revision: int | None = None,
    process: str = "p",
    consistency: Consistency = "linearizable",
) -> Operation:
    """An answered read of `x`."""
    return ok("read", None, value, began, ended, revision=revision, process=process, consistency=consistency)


def cas(expected: JSON, new: JSON, done: bool, began: float, ended: float, revision: int | None = None) -> Operation:
    """An answered compare-and-set of `x`."""
    return ok("cas", [expected, new], done, began, ended, revision=revision)


def undecided(kind: Kind, argument: JSON, began: float, key: str = "x", revision: int | None = None) -> Operation:
    """An operation that was never answered."""
    return Operation(process="u", key=key, kind=kind, argument=argument, invoked_s=began, revision=revision)


def failed(kind: Kind, argument: JSON, began: float, ended: float) -> Operation:
    """An operation of which the caller was told that nothing happened."""
    return Operation(
        process="f", key="x", kind=kind, argument=argument, invoked_s=began, returned_s=ended, outcome="failed"
    )


def right_history(seed: int, count: int, *, clients: int, keys: int, undecided_share: float = 0.0) -> list[Operation]:
    """A register's history as a right store gives it: each operation takes effect at one point within its call.

    An undecided write took effect, late or in time, or did not.
    """
    rng = Random(seed)
    free_s = [0.0] * clients
    planned: list[tuple[float, Operation, bool]] = []
    for _ in range(count):
        client = min(range(clients), key=free_s.__getitem__)
        began = free_s[client] + rng.uniform(0.01, 0.1)
        free_s[client] = ended = began + rng.uniform(0.01, 1.0)
        kind: Kind = rng.choice(["read", "read", "write", "cas"])
        key = str(rng.randrange(keys))
        begun = Operation(process=str(client), key=key, kind=kind, invoked_s=began, returned_s=ended)
        is_undecided = kind != "read" and rng.random() < undecided_share
        at = rng.uniform(began, ended + (1.0 if is_undecided else 0.0))
        planned.append((at, begun, is_undecided))
    planned.sort(key=lambda plan: plan[0])
    state: dict[str, int | None] = {}
    history = [_take_effect(begun, state, place, rng, lost=lost) for place, (_, begun, lost) in enumerate(planned, 1)]
    return sorted(history, key=lambda op: op.invoked_s)


def _take_effect(begun: Operation, state: dict[str, int | None], place: int, rng: Random, *, lost: bool) -> Operation:
    now = state.get(begun.key)
    if begun.kind == "read":
        return replace(begun, outcome="ok", result=now, revision=place)
    new = rng.randrange(50)
    expected = now if rng.random() < 0.7 else rng.randrange(50)
    argument: JSON = new if begun.kind == "write" else [expected, new]
    fits = begun.kind == "write" or expected == now
    if fits and not (lost and rng.random() < 0.5):
        state[begun.key] = new
    if lost:
        return replace(begun, argument=argument, returned_s=None)
    return replace(begun, argument=argument, outcome="ok", result=fits if begun.kind == "cas" else None, revision=place)


def slow_linearizable(history: Sequence[Operation], model: Model[S]) -> bool:
    """By trying every order of every choice of undecided operations, for each key."""
    counted = [op for op in history if op.outcome != "failed" and (op.outcome == "ok" or op.changes)]
    return all(_slow_key([op for op in counted if op.key == key], model) for key in {op.key for op in counted})


def _slow_key(operations: Sequence[Operation], model: Model[S]) -> bool:
    choices = product(*[(True, False) if op.outcome == "undecided" else (True,) for op in operations])
    return any(
        fits(order, model)
        for chosen in choices
        for order in permutations([op for op, is_in in zip(operations, chosen, strict=True) if is_in])
        if _keeps_real_time(order)
    )


def _keeps_real_time(order: Sequence[Operation]) -> bool:
    return not any(
        later.outcome == "ok" and later.returned_s is not None and later.returned_s < earlier.invoked_s
        for place, earlier in enumerate(order)
        for later in order[place + 1 :]
    )


def fits(order: Sequence[Operation], model: Model[S]) -> bool:
    """Whether the operations can happen one after the other."""
    state = model.initial
    for op in order:
        after = model.effect_of(op)(state)
        if after is None:
            return False
        state = after
    return True
