"""What operations on an agent's log mean to the checkers.

A state is (length, last number, fold of all numbers): as telling as the log itself, and as quick to compare as a
number.

Operations: `append` (argument: the write's number, result: its seq), `cas` (argument: [expected seq, number], result:
whether it was done) and `read` (result: the state as a list).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

from tallystick.testing import Model, Operation
from tallystick.testing.models import Effect

Log: TypeAlias = tuple[int, int, int]

EMPTY: Final[Log] = (0, -1, 0)
_PRIME: Final = (1 << 61) - 1
_FACTOR: Final = 1_000_003


def appended(log: Log, number: int) -> Log:
    """The log with one more write."""
    length, _, fold = log
    return length + 1, number, (fold * _FACTOR + number + 1) % _PRIME


def log_of(numbers: Iterable[int]) -> Log:
    """The log of these writes."""
    log = EMPTY
    for number in numbers:
        log = appended(log, number)
    return log


def log_model() -> Model[Log]:
    """See the module."""
    return Model(EMPTY, _effect_of)


def _effect_of(operation: Operation) -> Effect[Log]:
    match operation:
        case Operation(kind="append", argument=int(number), result=told):
            return lambda log: appended(log, number) if told is None or told == log[0] + 1 else None
        case Operation(kind="cas", argument=[int(expected), int(number)], result=done):
            return _compared(expected, number, done)
        case Operation(kind="read", result=[*read]):
            return lambda log: log if list(log) == read else None
    raise ValueError(f"no operation on a log: {operation}")


def _compared(expected: int, number: int, done: object) -> Effect[Log]:
    def effect(log: Log) -> Log | None:
        fits = log[0] == expected
        if done is None:  # undecided
            return appended(log, number) if fits else log
        if fits is not done:
            return None
        return appended(log, number) if fits else log

    return effect
