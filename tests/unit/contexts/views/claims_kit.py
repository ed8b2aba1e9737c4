"""A claims log in memory that may be cut off, lose answers or lag; programs with clocks of their own."""

from __future__ import annotations

import copy
from collections.abc import Coroutine, Generator
from dataclasses import dataclass, field
from typing import TypeVar

from tallystick._json import JSON
from tallystick._values import Appended, Consistency, Operation, OperationKind, Revision, Snapshot
from tallystick.contexts.views.claims import Claims
from tallystick.errors import Conflict, Unavailable, Undecided

T = TypeVar("T")


@dataclass
class Log:
    """What was decided: a state, and how often it changed."""

    state: dict[str, JSON] = field(default_factory=dict)
    seq: int = 0

    def apply(self, operation: Operation) -> None:
        key = operation.path.removeprefix("/").replace("~1", "/").replace("~0", "~")
        if operation.kind is OperationKind.DELETE:
            del self.state[key]
        else:
            assert operation.kind is OperationKind.SET
            self.state[key] = operation.value
        self.seq += 1


class Program:
    """One program with its clocks; the log as it reaches it. Time is in seconds, `skew_s` what its wall clock adds."""

    def __init__(self, log: Log, name: str, *, skew_s: float = 0.0, now_s: list[float] | None = None) -> None:
        self.log = log
        self.skew_s = skew_s
        self.now_s = now_s if now_s is not None else [0.0]
        self.is_cut_off = False
        self.loses_next_answer = False
        self.before_append: list[Operation] = []
        """What others append between the next read and the next append."""
        self.is_slow = False
        """Each message waits until somebody sends on the coroutine that sent it."""
        self.claims = Claims(self, self, actor=name.split("-")[0], holder=name)

    def clock(self) -> float:
        return self.now_s[0]

    def unix_ms(self) -> int:
        return int((1_000_000 + self.now_s[0] + self.skew_s) * 1000)

    async def rehydrate(
        self, *, tail: int, consistency: Consistency | None = None, timeout_s: float | None = None
    ) -> Snapshot:
        assert consistency is Consistency.LINEARIZABLE, "another read might not see the newest claim"
        await self._reach()
        return Snapshot(copy.deepcopy(self.log.state), self.log.seq, Revision(1, self.log.seq))

    async def append(
        self,
        *operations: Operation,
        cause: str = "",
        expected_seq: int | None = None,
        timeout_s: float | None = None,
    ) -> Appended:
        await self._reach()
        if self.before_append:
            self.log.apply(self.before_append.pop(0))
        if expected_seq not in (None, self.log.seq):
            raise Conflict("the log ends elsewhere")
        (operation,) = operations
        self.log.apply(operation)
        if self.loses_next_answer:
            self.loses_next_answer = False
            raise Undecided("the answer was lost")
        return Appended(self.log.seq, self.log.seq, b"", Revision(1, self.log.seq), 0, replayed=False)

    async def _reach(self) -> None:
        if self.is_slow:
            await _Pause()
        if self.is_cut_off:
            raise Unavailable("no majority answers")


class _Pause:
    def __await__(self) -> Generator[None, None, None]:
        yield


def now(coroutine: Coroutine[object, None, T]) -> T:
    """Runs a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise AssertionError("it waits")
