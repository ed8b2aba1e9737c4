"""A supervisor, and programs and leases that end in unusual ways. (Usual ones: tests/sim_cluster/test_supervise.py.)"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from random import Random
from typing import cast

import pytest

from tallystick import Agent, Client, Lease, Supervisor, supervise
from tallystick._outside import Machine
from tallystick.supervising import Program, Standing

DEADLINE_S = 20.0


class FakeLease:
    """A lease that is never lost. `blocks`: it is another's turn, until the very moment when it is given up."""

    def __init__(self, *, blocks: bool = False) -> None:
        self._blocks = blocks
        self.waits = asyncio.Event()
        self.left = 0
        self.is_lost, self.epoch = False, 1

    async def __aenter__(self) -> FakeLease:
        self.waits.set()
        if self._blocks:
            with contextlib.suppress(asyncio.CancelledError):  # the answer had come
                await asyncio.Event().wait()
        return self

    async def __aexit__(self, *_error: object) -> None:
        self.left += 1

    async def wait_lost(self) -> bool:
        return await asyncio.Event().wait()


class FakeClient:
    """Its agents have this lease. It is also the agent, and the pauses after failures are short."""

    def __init__(self, lease: FakeLease) -> None:
        self._lease = lease
        self.outside = Machine()
        self.outside.rng = cast("Random", self)

    def agent(self, _name: str) -> FakeClient:
        return self

    def lease(self, **_options: object) -> FakeLease:
        return self._lease

    def uniform(self, _low: float, _high: float) -> float:
        return 0.001


def supervised(lease: FakeLease, program: Program) -> Supervisor:
    return supervise(cast("Client", FakeClient(lease)), {"a": program}, grace_s=DEADLINE_S)


async def test_a_lease_that_comes_as_all_is_to_stop_is_released() -> None:
    lease = FakeLease(blocks=True)

    async def never(_agent: Agent, _lease: Lease) -> None:
        raise AssertionError

    async with asyncio.timeout(DEADLINE_S), supervised(lease, never) as supervisor:
        await lease.waits.wait()
        await supervisor.stop()
        await supervisor.stop()
    assert lease.left == 1 and supervisor.agents["a"].standing is Standing.STOPPED


class Crash(BaseException):
    """What no `except Exception` sees."""


def cancelled() -> BaseException:
    return asyncio.CancelledError()


@pytest.mark.parametrize("ends_with", [cancelled, Crash])
async def test_a_program_that_ends_with_no_exception_of_the_usual_kind_has_failed(
    ends_with: Callable[[], BaseException],
) -> None:
    lease, starts = FakeLease(), 0

    async def program(_agent: Agent, _lease: Lease) -> None:
        nonlocal starts
        starts += 1
        if starts < 3:
            raise ends_with()

    async with asyncio.timeout(DEADLINE_S), supervised(lease, program) as supervisor:
        await supervisor.wait()
        seen = supervisor.agents["a"]
    assert (seen.standing, seen.starts, lease.left) == (Standing.DONE, 3, 3)
    assert seen.error.startswith("RuntimeError: it ")
