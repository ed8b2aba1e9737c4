"""When to try again, and what to say in the end: pure policy, given the time and its own randomness.

Rules of this file:
- A refusal is final. What did nothing, and what may have been done, is tried again until the deadline: a write is sent
  with the same key, so it has one effect.
- Waits grow from 20 ms to 1 s with full jitter; a node's own word on how long to wait (RetryInfo) counts as the least.
- In the end: the last error, or the damage that one node told of if no other answered; but once any attempt may have
  been applied, an error that says otherwise is not believed: `Undecided`.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

from tallystick.errors import Corrupt, Refused, TallystickError, Unavailable, Undecided

INITIAL_S: Final = 0.020
MAX_S: Final = 1.0
FIRST_ATTEMPT_S: Final = 1.5
"""Longest that a call's first attempt may take: a frozen node is left about when the others have elected."""
ATTEMPT_S: Final = 3.0
"""Longest that any other attempt may take: a frozen node must not eat the whole deadline, nor a slow one be left again
and again."""
LEAST_ATTEMPT_S: Final = 0.1
"""With less time than this left there is no further attempt: cut short, it would only make a clear word unclear."""

_DOUBLINGS: Final = 6  # 20 ms * 2**6 > 1 s


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed attempt.

    Attributes:
        error: what the caller would be told.
        maybe_applied: the attempt was sent and may have had its effect.
        retry_after_s: the node's word on how long to wait, or 0.
    """

    error: TallystickError
    maybe_applied: bool = False
    retry_after_s: float = 0.0

    @property
    def is_final(self) -> bool:
        """Asking again, anywhere, would not help. (Damage is one node's: another may answer.)"""
        return not isinstance(self.error, Unavailable | Undecided | Corrupt)


def wait_s(attempt: int, rng: Random) -> float:
    """How long to wait before the next attempt, in seconds; attempts count from 0."""
    return rng.uniform(0.0, min(MAX_S, INITIAL_S * 2 ** min(attempt, _DOUBLINGS)))


class Retry:
    """The attempts of one call."""

    def __init__(self, deadline_s: float, rng: Random, key: str = "") -> None:
        self.deadline_s = deadline_s
        self._rng = rng
        self._key = key
        self._attempt = 0
        self._maybe_applied = False
        self._damage: Corrupt | None = None

    @property
    def maybe_applied(self) -> bool:
        """An attempt may have had its effect."""
        return self._maybe_applied

    def attempt_s(self, now_s: float) -> float:
        """How long the next attempt may take."""
        longest_s = ATTEMPT_S if self._attempt else min(FIRST_ATTEMPT_S, ATTEMPT_S)
        return min(longest_s, self.deadline_s - now_s)

    def after(self, failure: Failure, now_s: float) -> float:
        """How long to wait before the next attempt.

        Raises:
            TallystickError: there will be none: the failure is final, or the deadline would pass.
        """
        self._maybe_applied |= failure.maybe_applied
        if isinstance(failure.error, Corrupt):
            self._damage = failure.error
        if isinstance(failure.error, Refused) and failure.is_final:
            raise failure.error from None  # it says all: how gRPC carried it would only make tracebacks long
        if failure.is_final:
            raise failure.error
        pause_s = max(failure.retry_after_s, wait_s(self._attempt, self._rng))
        self._attempt += 1
        if now_s + pause_s + LEAST_ATTEMPT_S >= self.deadline_s:
            raise self.final(failure.error)
        return pause_s

    def final(self, error: TallystickError) -> TallystickError:
        """What to say when this was the last error: not that nothing happened, if something may have."""
        if not self._maybe_applied:
            return self._damage or error
        metadata = {**error.metadata, "idempotency_key": self._key} if self._key else error.metadata
        final = Undecided(f"an attempt may have been applied; the last one said: {error.message}", metadata=metadata)
        final.__cause__ = error
        return final
