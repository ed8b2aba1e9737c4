"""Callers that wait for the verdict on their proposal, and their deadlines.

One sweep looks after all deadlines, so that waiting costs a caller one future and no timer of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from tallystick.errors import NoLeader, Reason, TallystickError, Undecided, error_for
from tallystick_node.consensus.intake import Verdict
from tallystick_node.consensus.proposals import Applied, Refused

Result = TypeVar("Result")

LEADER_WAIT_S: Final = 0.5
"""A proposal waits this long for a leader to appear; then the caller tries another node."""

SWEEP_EVERY_S: Final = 0.05
"""How late a deadline may be noticed."""

_REFUSALS: Final = {
    Reason.NO_LEADER: "the leader changed; nothing happened",
    Reason.OVERLOADED: "too much is waiting to be decided",
    Reason.DISK_FULL: "the disk is full, or nearly: writes are refused, reads are served",
    Reason.MEMBER_NOT_FOUND: "the cluster has no such member",
    Reason.MEMBER_EXISTS: "the cluster has this member already",
}


class GiveUp(Protocol):
    """Takes a proposal back; True when it never left this node. With `only_queued` one that did is left alone."""

    def __call__(self, proposal_id: bytes, *, only_queued: bool = False) -> bool: ...


@dataclass(slots=True)
class _Waiter(Generic[Result]):
    future: asyncio.Future[Result]
    leader_deadline_s: float
    deadline_s: float


class Waiters(Generic[Result]):
    """See the module."""

    def __init__(self, clock: Callable[[], float], give_up: GiveUp) -> None:
        self._clock = clock
        self._give_up = give_up
        self._waiting: dict[bytes, _Waiter[Result]] = {}

    def add(self, proposal_id: bytes, timeout_s: float) -> asyncio.Future[Result]:
        """A future for the result; it fails with NoLeader, Overloaded or Undecided."""
        now_s = self._clock()
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        leader_deadline_s = now_s + min(LEADER_WAIT_S, timeout_s)
        self._waiting[proposal_id] = _Waiter(future, leader_deadline_s, now_s + timeout_s)
        return future

    def remove(self, proposal_id: bytes) -> None:
        """The caller has gone."""
        if self._waiting.pop(proposal_id, None) is not None:
            self._give_up(proposal_id)

    def settle(self, proposal_id: bytes, verdict: Verdict[Result]) -> None:
        """Hands a verdict to its caller, if there still is one."""
        waiter = self._waiting.pop(proposal_id, None)
        if waiter is None or waiter.future.done():
            return
        if isinstance(verdict, Applied):
            waiter.future.set_result(verdict.result)
        else:
            waiter.future.set_exception(_error_of(verdict))

    def sweep(self) -> None:
        """Ends the waiting of those whose deadline has come."""
        now_s = self._clock()
        for proposal_id, waiter in list(self._waiting.items()):
            if now_s >= waiter.leader_deadline_s and self._give_up(proposal_id, only_queued=True):
                self._fail(proposal_id, NoLeader("no leader in reach: no majority, or an election is under way"))
            elif now_s >= waiter.deadline_s:
                self._give_up(proposal_id)
                self._fail(proposal_id, Undecided("no majority acknowledged this in time"))

    def fail_all(self) -> None:
        """The node stops: what was queued did not happen, what was sent may have."""
        for proposal_id in list(self._waiting):
            if self._give_up(proposal_id):
                self._fail(proposal_id, NoLeader("this node is stopping", reason=Reason.STOPPING))
            else:
                self._fail(proposal_id, Undecided("this node stopped before the outcome was known"))

    def _fail(self, proposal_id: bytes, error: TallystickError) -> None:
        waiter = self._waiting.pop(proposal_id, None)
        if waiter is not None and not waiter.future.done():
            waiter.future.set_exception(error)


def _error_of(verdict: Verdict[Result]) -> TallystickError:
    if isinstance(verdict, Refused):
        return error_for(verdict.reason, _REFUSALS.get(verdict.reason, "the leader refused this"))
    return Undecided("the leader changed before the outcome was known")
