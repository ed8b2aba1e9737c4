"""Keeps agents running, each in one place at a time: `tallystick.supervise(client, {"migrator": migrate, ...})`.

Several supervisors, on several machines, may want the same agents: each agent runs where its lease is held, and when
that process dies, freezes or is cut off, another takes over.

    waiting for the lease ──> running ──> done
          ^                      │ failed: again, after a pause that grows
          └── lease lost ────────┘ cancelled here, running elsewhere

Rules of this file:
- A program runs only while its lease is held, and is cancelled when it is lost. What it writes after that is refused.
- To stop means to cancel the programs, which may flush and checkpoint in `finally`, still under their leases; then
  the leases are released, so that others need not wait for their end.
- One agent's failure is its own affair.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import signal
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeAlias

from tallystick._outside import Outside
from tallystick.errors import Invalid, StaleOwner, TallystickError
from tallystick.leases.lease import DEFAULT_TTL_S, Lease

if TYPE_CHECKING:
    from tallystick._agent import Agent
    from tallystick._client import Client

MAX_AGENTS: Final = 1000
"""Agents of one supervisor: each is a task and, while it runs, a lease that is renewed."""

DEFAULT_GRACE_S: Final = 10.0
"""How long a program may take to end when it is told to."""

FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 30.0
"""Between a failure and the next attempt; it doubles from the one to the other, with full jitter."""

SOUND_S: Final = 60.0
"""A program that ran for so long begins with the first pause again."""

_TURN_S: Final = 3600.0

log = logging.getLogger(__name__)

Program: TypeAlias = "Callable[[Agent, Lease], Awaitable[None]]"
"""What an agent does, from its beginning or from where its state says it was."""


class Standing(enum.StrEnum):
    """How an agent is, as its supervisor sees it."""

    WAITING = "waiting"
    """Another has its lease, or no majority answers."""
    RUNNING = "running"
    PAUSED = "paused"
    """It failed, and is about to be tried again."""
    DONE = "done"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Supervised:
    """An agent under a supervisor.

    Attributes:
        starts: how often its program was begun here.
        failures: in a row.
        error: the last failure in one line; "" if there was none.
        epoch: of the lease that it runs under; 0 if it does not.
    """

    name: str
    standing: Standing = Standing.WAITING
    starts: int = 0
    failures: int = 0
    error: str = ""
    epoch: int = 0


class Supervisor:
    """See the module. Made by `supervise`; used as `async with`."""

    def __init__(
        self, client: Client, programs: Mapping[str, Program], outside: Outside, *, ttl_s: float, grace_s: float
    ) -> None:
        if len(programs) > MAX_AGENTS:
            raise Invalid(f"a supervisor has at most {MAX_AGENTS} agents", metadata={"limit": str(MAX_AGENTS)})
        self._client = client
        self._programs = dict(programs)
        self._outside = outside
        self._ttl_s = ttl_s
        self._grace_s = grace_s
        self._stopping = asyncio.Event()
        self._seen = {name: Supervised(name) for name in self._programs}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def __aenter__(self) -> Self:
        for name in self._programs:
            self._tasks[name] = asyncio.create_task(self._keep(name), name=f"supervise {name}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def agents(self) -> Mapping[str, Supervised]:
        """How each agent is, by name."""
        return dict(self._seen)

    def stop_soon(self) -> None:
        """Tells all programs to end; returns at once. Fit for a signal handler."""
        self._stopping.set()

    async def stop(self) -> None:
        """Cancels the programs, waits for their ends (`grace_s`), and releases their leases."""
        self._stopping.set()
        await self.wait()

    async def wait(self) -> None:
        """Returns once every agent is done, or all were told to end and have."""
        if self._tasks:
            await asyncio.wait(self._tasks.values())

    async def run_until_signalled(self, *signals: signal.Signals) -> None:
        """Waits until all are done, or one of the signals comes (SIGTERM and SIGINT if none is named): then stops."""
        loop = asyncio.get_running_loop()
        caught = signals or (signal.SIGTERM, signal.SIGINT)
        for each in caught:
            loop.add_signal_handler(each, self.stop_soon)
        try:
            await self.wait()
        finally:
            for each in caught:
                loop.remove_signal_handler(each)

    async def _keep(self, name: str) -> None:
        """Has one agent run here whenever its turn comes, until it is done."""
        failures = 0
        while not self._stopping.is_set():
            self._see(name, Standing.WAITING, failures=failures)
            began_s = self._outside.clock()
            try:
                if await self._turn(name):
                    self._see(name, Standing.DONE)
                    return
                failures = 0
            except Exception as error:  # noqa: BLE001 - whatever a program raises: it is told of, and tried again
                failures = 1 if self._outside.clock() - began_s > SOUND_S else failures + 1
                self._failed(name, error, failures)
                await self._pause(failures)
        self._see(name, Standing.STOPPED)

    async def _turn(self, name: str) -> bool:
        """Waits for the lease and runs the program under it; True: it came to its end, False: the lease was lost."""
        agent = self._client.agent(name)
        lease = agent.lease(ttl_s=self._ttl_s, wait_s=_TURN_S)
        if not await self._acquired(lease):
            return False
        async with contextlib.AsyncExitStack() as held:
            held.push_async_exit(lease)
            seen = self._seen[name]
            self._see(name, Standing.RUNNING, starts=seen.starts + 1, failures=seen.failures, epoch=lease.epoch)
            log.info("agent started", extra={"event": "agent_started", "agent": name, "epoch": lease.epoch})
            program = asyncio.ensure_future(self._programs[name](agent, lease))
            return await self._watch_over(name, program, lease)

    async def _acquired(self, lease: Lease) -> bool:
        """Whether its turn came before the supervisor was told to stop."""
        entering = asyncio.create_task(lease.__aenter__())
        stopping = asyncio.create_task(self._stopping.wait())
        is_entered = False
        try:
            await asyncio.wait((entering, stopping), return_when=asyncio.FIRST_COMPLETED)
            if entering.cancelled():
                raise RuntimeError("waiting for the lease was cancelled, and not by the supervisor")
            if entering.done():
                entering.result()
                is_entered = True
            return is_entered
        finally:
            await _ended(stopping)
            if not is_entered:
                await _ended(entering)
                if not entering.cancelled() and entering.exception() is None:  # its turn came as it was given up
                    await lease.__aexit__(None, None, None)

    async def _watch_over(self, name: str, program: asyncio.Future[None], lease: Lease) -> bool:
        lost = asyncio.create_task(lease.wait_lost())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((program, lost, stopping), return_when=asyncio.FIRST_COMPLETED)
            if program.done() and not program.cancelled():
                error = program.exception()
                if lease.is_lost and isinstance(error, StaleOwner):
                    return False
                if error is not None and not isinstance(error, Exception):
                    raise RuntimeError(f"it ended with {_line(error)}") from error
                program.result()
                return True
            if program.cancelled() and not (lease.is_lost or self._stopping.is_set()):
                raise RuntimeError("it was cancelled, and not by its supervisor")
            log.info("agent told to end", extra={"event": "agent_ending", "agent": name, "is_lost": lease.is_lost})
            return False
        finally:
            await _ended(lost)
            await _ended(stopping)
            await self._end(name, program)

    async def _end(self, name: str, program: asyncio.Future[None]) -> None:
        """Cancels the program and waits for its end; what it does longer than it may, it does without its lease."""
        if program.done():
            return
        program.cancel()
        await asyncio.wait((program,), timeout=self._grace_s)
        if not program.done():
            log.warning("agent does not end", extra={"event": "agent_overdue", "agent": name})
            await self._outlasted(program)
        if program.done() and not program.cancelled() and program.exception() is not None:
            self._see(name, self._seen[name].standing, error=_line(program.exception()))

    async def _outlasted(self, program: asyncio.Future[None]) -> None:
        """Waits for a program that does not end, so that it never runs twice here; not if all is to stop."""
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait((program, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await _ended(stopping)

    async def _pause(self, failures: int) -> None:
        longest_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(failures, 20))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._outside.rng.uniform(0.0, longest_s)):
                await self._stopping.wait()

    def _failed(self, name: str, error: Exception, failures: int) -> None:
        told = {"event": "agent_failed", "agent": name, "failures": failures, "why": type(error).__name__}
        log.warning("agent failed", extra=told, exc_info=None if isinstance(error, TallystickError) else error)
        self._see(name, Standing.PAUSED, failures=failures, error=_line(error))

    def _see(
        self,
        name: str,
        standing: Standing,
        *,
        starts: int | None = None,
        failures: int = 0,
        error: str = "",
        epoch: int = 0,
    ) -> None:
        before = self._seen[name]
        self._seen[name] = Supervised(
            name, standing, before.starts if starts is None else starts, failures, error or before.error, epoch
        )


def supervise(
    client: Client,
    programs: Mapping[str, Program],
    *,
    ttl_s: float = DEFAULT_TTL_S,
    grace_s: float = DEFAULT_GRACE_S,
) -> Supervisor:
    """Keeps these agents running here whenever their turn comes: `async with tallystick.supervise(...) as supervisor`.

    Example:
        async def migrate(agent, lease):
            snap = await agent.rehydrate()
            ...

        async with tallystick.supervise(client, {"migrator": migrate}) as supervisor:
            await supervisor.run_until_signalled()

    Args:
        programs: what each agent does, by name; called with the `Agent` and its `Lease`. It is begun anew when it
            raises, not when it returns.
        ttl_s: of the leases: how long an agent that died without a word is missing before it runs elsewhere.
        grace_s: how long a program may take to end when it is told to.

    Raises:
        Invalid: too many agents.
    """
    return Supervisor(client, programs, client.outside, ttl_s=ttl_s, grace_s=grace_s)


async def _ended(task: asyncio.Task[Lease] | asyncio.Task[bool]) -> None:
    task.cancel()
    await asyncio.wait((task,))
    if not task.cancelled():
        task.exception()  # looked at: its failure is told elsewhere


def _line(error: BaseException | None) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
