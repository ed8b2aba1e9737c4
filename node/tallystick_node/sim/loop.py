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
from asyncio.events import Handle, TimerHandle
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Generator
from concurrent.futures import Executor
from typing import Any, Final, Never, TypeVar, TypeVarTuple, Unpack

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
        self.held: list[Handle] = []  # kept for ever once it is gone: dropping them would run its `finally` blocks

    def context(self) -> contextvars.Context:
        """A context in which all is this process's."""
        context = contextvars.copy_context()
        context.run(_PROCESS.set, self)
        return context


_PROCESS: Final[contextvars.ContextVar[Process | None]] = contextvars.ContextVar("process", default=None)


def current_process() -> Process | None:
    """Whose code runs now; None: that of whoever runs the simulation."""
    return _PROCESS.get()


class _Future(asyncio.Future[T]):
    def __init__(self, number: int, *, loop: asyncio.AbstractEventLoop) -> None:
        self._number = number
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._number


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

    _ready: deque[Handle]
    _scheduled: list[TimerHandle]
    _stopping: bool

    def __init__(self) -> None:
        super().__init__()
        self._now_s = START_S
        self._numbers = 0
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
        self._numbers += 1
        return _Future(self._numbers, loop=self)

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[T]:
        """See asyncio."""
        self._numbers += 1
        named = None if name is None else str(name)
        return _Task(self._numbers, coro, loop=self, name=named, context=context)

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> Handle:
        """See asyncio."""
        handle = Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> Handle:
        """See asyncio; there are no other threads."""
        return self.call_soon(callback, *args, context=context)

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
        self._ready.extend(held)

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
                self._ready.extend(held)
            left = asyncio.all_tasks(self)
            if not left:
                break
            self.run_until_complete(_wait(left))
        self.run_until_complete(self.shutdown_asyncgens())
        self.close()

    # What BaseEventLoop asks of its heirs.

    def _run_once(self) -> None:
        if not self._ready:
            self._advance()
        for _ in range(len(self._ready)):
            handle = self._ready.popleft()
            if handle.cancelled():
                continue
            process = handle._context.get(_PROCESS)  # type: ignore[attr-defined]  # noqa: SLF001 - no other way
            if process is None or process.state is State.RUNS or self._is_ending:
                handle._run()  # noqa: SLF001 - what an event loop does
            else:
                process.held.append(handle)

    def _advance(self) -> None:
        """Moves the time to the next timer, and all that is due by then to `_ready`."""
        if self._timer_cancelled_count > _PRUNE_FROM and self._timer_cancelled_count * 2 > len(self._scheduled):
            self._scheduled = [timer for timer in self._scheduled if not timer.cancelled()]
            heapq.heapify(self._scheduled)
            self._timer_cancelled_count = 0
        while self._scheduled and self._scheduled[0].cancelled():
            heapq.heappop(self._scheduled)
            self._timer_cancelled_count -= 1
        if not self._scheduled:
            if self._stopping:
                return
            raise Deadlock("nothing is left to be done, and the simulation waits for something")
        self._now_s = max(self._now_s, self._scheduled[0].when())
        while self._scheduled and self._scheduled[0].when() <= self._now_s:
            timer = heapq.heappop(self._scheduled)
            timer._scheduled = False  # type: ignore[attr-defined]  # noqa: SLF001 - a cancellation asks for it
            if timer.cancelled():
                self._timer_cancelled_count -= 1
            else:
                self._ready.append(timer)

    _timer_cancelled_count: int

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
