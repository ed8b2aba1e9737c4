"""An event loop on which nothing waits: time is a number that moves to the next timer when nothing else is to be done.

Rules of this file:
- Nothing real: no selector, no thread, no clock. Whoever asks for the time moves it by a microsecond, as a real clock
  moves while code runs (some loops end by that).
- The order of everything depends on the order of calls alone: tasks and futures hash by their number, not by their
  place in memory, so that even sets of them are walked in the same order in every process.
- A callback belongs to the `Process` in whose context it was made. That of a process that stands is put aside until it
  goes on; that of one that is gone is never called.
"""

from __future__ import annotations

import asyncio
import contextvars
import enum
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Generator
from concurrent.futures import Executor
from typing import Any, Final, Never, TypeVar, TypeVarTuple, Unpack, cast

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

START_S: Final = 1000.0
"""What the clock shows at first."""
_LOOK_S: Final = 1e-6
_END_ROUNDS: Final = 10
_END_S: Final = 60.0
"""How long tasks may take to end once they are cancelled."""
_PRUNE_FROM: Final = 256
"""Cancelled timers are thrown out when there are more than this, and half of all."""


class Deadlock(RuntimeError):
    """Nothing is left to be done, and someone waits."""


class State(enum.Enum):
    """Of a process."""

    RUNS = enum.auto()
    STANDS = enum.auto()
    GONE = enum.auto()


class Process:
    """Whose code runs: a node's process, from its start to its end. Tasks inherit it from who made them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.state = State.RUNS
        self.held: list[_Due] = []  # kept for ever once it is gone: dropping them would run its `finally` blocks

    def context(self) -> contextvars.Context:
        """A context in which all is this process's."""
        context = contextvars.copy_context()
        context.run(_PROCESS.set, self)
        return context


_RUNS: Final = State.RUNS
_PROCESS: Final[contextvars.ContextVar[Process | None]] = contextvars.ContextVar("process", default=None)


def current_process() -> Process | None:
    """Whose code runs now; None: that of whoever runs the simulation."""
    return _PROCESS.get()


class _Due:
    """A callback that is to be called: what asyncio's `Handle` and `TimerHandle` are, and no more, for there are many.

    Attributes:
        when_s: a timer's time; 0: it is no timer.
    """

    __slots__ = ("args", "callback", "context", "is_cancelled", "loop", "when_s")

    def __init__(
        self,
        loop: SimLoop,
        callback: Callable[..., object],
        args: tuple[object, ...],
        context: contextvars.Context,
        when_s: float = 0.0,
    ) -> None:
        self.loop = loop
        self.callback = callback
        self.args = args
        self.context = context
        self.when_s = when_s
        self.is_cancelled = False

    def cancel(self) -> None:
        """See asyncio."""
        if not self.is_cancelled:
            self.is_cancelled = True
            self.callback, self.args = _nothing, ()
            if self.when_s:
                self.loop.timer_cancelled()

    def cancelled(self) -> bool:
        """See asyncio."""
        return self.is_cancelled

    def when(self) -> float:
        """See asyncio."""
        return self.when_s


def _nothing() -> None:
    """What a cancelled callback does."""


class _Future(asyncio.Future[T]):
    __slots__ = ("number",)
    number: int

    def __hash__(self) -> int:
        return self.number


class _Task(asyncio.Task[T]):
    def __init__(
        self,
        number: int,
        coroutine: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        loop: asyncio.AbstractEventLoop,
        name: str | None,
        context: contextvars.Context | None,
    ) -> None:
        self._number = number
        super().__init__(coroutine, loop=loop, name=name or f"task-{number}", context=context)

    def __hash__(self) -> int:
        return self._number


class SimLoop(asyncio.BaseEventLoop):
    """See the module.

    Attributes:
        thread_s: how long a job in a thread takes, in seconds; asked for each.
        failures: what callbacks raised: bugs.
    """

    _stopping: bool

    def __init__(self) -> None:
        super().__init__()
        self._now_s = START_S
        self._numbers = itertools.count(1)
        self._timer_numbers = itertools.count()
        self._due: deque[_Due] = deque()
        self._timers: list[tuple[float, int, _Due]] = []
        """A heap: by time, and of those of one time the one that was made first."""
        self._cancelled_timers = 0
        self.thread_s: Callable[[], float] = lambda: 0.001
        self.failures: list[str] = []
        self._is_ending = False
        self._processes: list[Process] = []
        self.set_exception_handler(_keep_failure)

    def time(self) -> float:
        """The virtual time."""
        self._now_s += _LOOK_S
        return self._now_s

    @property
    def now_s(self) -> float:
        """The virtual time, looked at from outside of it."""
        return self._now_s

    def create_future(self) -> asyncio.Future[Any]:
        """See asyncio."""
        future: _Future[Any] = _Future(loop=self)
        future.number = next(self._numbers)
        return future

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[T]:
        """See asyncio."""
        named = None if name is None else str(name)
        return _Task(next(self._numbers), coro, loop=self, name=named, context=context)

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """See asyncio."""
        due = _Due(self, callback, args, contextvars.copy_context() if context is None else context)
        self._due.append(due)
        return cast("asyncio.Handle", due)

    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """See asyncio; there are no other threads."""
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """See asyncio."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """See asyncio."""
        due = _Due(self, callback, args, contextvars.copy_context() if context is None else context, when)
        heapq.heappush(self._timers, (when, next(self._timer_numbers), due))
        return cast("asyncio.TimerHandle", due)

    def timer_cancelled(self) -> None:
        """One of the timers will not be called."""
        self._cancelled_timers += 1

    def run_in_executor(
        self, _executor: Executor | None, job: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Runs the job at once; who waits for it hears of it after `thread_s`."""
        future: asyncio.Future[T] = self.create_future()
        try:
            result = job(*args)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the caller's
            self.call_later(self.thread_s(), _fail, future, error)
        else:
            self.call_later(self.thread_s(), _succeed, future, result)
        return future

    def release(self, process: Process) -> None:
        """A process that stood goes on, with all that came meanwhile."""
        process.state = State.RUNS
        held, process.held = process.held, []
        self._due.extend(held)

    def begin_process(self, name: str) -> Process:
        """Begins a process; it is remembered until the end."""
        process = Process(name)
        self._processes.append(process)
        return process

    def end(self) -> None:
        """Cancels all tasks, also those of processes that stand or are gone, and runs until they have ended.

        What they raise while they end concerns nobody. The loop is closed then.
        """
        self.set_exception_handler(lambda _loop, _context: None)
        self._is_ending = True
        for _ in range(_END_ROUNDS):
            for task in asyncio.all_tasks(self):
                task.cancel()
            for process in self._processes:
                held, process.held = process.held, []
                self._due.extend(held)
            left = asyncio.all_tasks(self)
            if not left:
                break
            self.run_until_complete(_wait(left))
        self.run_until_complete(self.shutdown_asyncgens())
        self.close()

    # What BaseEventLoop asks of its heirs.

    def _run_once(self) -> None:
        ready = self._due
        if not ready:
            self._advance()
        for _ in range(len(ready)):
            due = ready.popleft()
            if due.is_cancelled:
                continue
            process = due.context.get(_PROCESS)
            if process is not None and process.state is not _RUNS and not self._is_ending:
                process.held.append(due)
                continue
            try:
                due.context.run(due.callback, *due.args)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:  # noqa: BLE001 - what an event loop does
                self.call_exception_handler({"message": f"Exception in {due.callback!r}", "exception": error})

    def _advance(self) -> None:
        """Moves the time to the next timer, and all that is due by then to what is done next."""
        timers = self._timers
        if self._cancelled_timers > _PRUNE_FROM and self._cancelled_timers * 2 > len(timers):
            timers[:] = [timer for timer in timers if not timer[2].is_cancelled]
            heapq.heapify(timers)
            self._cancelled_timers = 0
        while timers and timers[0][2].is_cancelled:
            heapq.heappop(timers)
            self._cancelled_timers -= 1
        if not timers:
            if self._stopping:
                return
            raise Deadlock("nothing is left to be done, and the simulation waits for something")
        self._now_s = max(self._now_s, timers[0][0])
        while timers and timers[0][0] <= self._now_s:
            due = heapq.heappop(timers)[2]
            due.when_s = 0.0  # it is counted no more
            if due.is_cancelled:
                self._cancelled_timers -= 1
            else:
                self._due.append(due)

    def _process_events(self, _events: object) -> Never:
        raise AssertionError("there is no selector")

    def _write_to_self(self) -> None:
        """Nobody sleeps who would have to be woken."""


def _succeed(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[T], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


def _keep_failure(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    if isinstance(loop, SimLoop) and "exception" in context:
        loop.failures.append(f"{context.get('message')}: {context['exception']!r}")


async def _wait(tasks: Collection[asyncio.Task[Any]]) -> None:
    await asyncio.wait(tasks, timeout=_END_S)
