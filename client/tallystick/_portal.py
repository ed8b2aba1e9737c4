"""One thread with an event loop of its own: where the blocking client lets the asyncio one run.

Rules of this file:
- Whoever waits can be interrupted (Ctrl-C): what it waited for is then cancelled.
- Closing ends everything that runs here; who waits for it then is told, never left waiting.
- What is called back on this thread (a resolver, an observer) cannot wait for this thread: it is told so.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import inspect
import queue
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine
from types import TracebackType
from typing import Final, Generic, Self, TypeVar, cast

from tallystick.errors import Reason, Unavailable, Undecided

T = TypeVar("T")

_GRACE_S: Final = 2.0
"""How long calls may take to fail by themselves once the client is closed, before they are cancelled."""
_JOIN_S: Final = 10.0


class Portal:
    """Runs coroutines on its own thread, for threads that wait for them."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=_serve, args=(self._loop,), name="tallystick", daemon=True)
        self._thread.start()
        # A client that is dropped without `close`, and one that is alive when the program ends.
        self._stop = weakref.finalize(self, _stop, self._loop, self._thread)

    def run(self, coroutine: Coroutine[object, None, T]) -> T:
        """Waits for the coroutine.

        Raises:
            Unavailable: the client is closed; nothing was begun.
            Undecided: the client was closed by another thread meanwhile.
            RuntimeError: this is the thread of the loop: whoever waited here would wait for itself.
        """
        future = self._submit(coroutine)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise Undecided("the client was closed before the answer came") from None
        except BaseException:
            future.cancel()  # we were interrupted; a future that is done does not mind
            raise

    def call(self, function: Callable[[], T]) -> T:
        """Calls it on the thread of the loop, and waits for it; on that thread itself, at once.

        Raises: as `run`.
        """
        if threading.current_thread() is self._thread:
            return function()
        return self.run(_called(function))

    def run_with(self, make: Callable[[Here], Coroutine[object, None, T]]) -> T:
        """Waits for a coroutine that calls back: what `here` was given is called by the thread that waits.

        A signal that interrupts such a call cancels the coroutine, as it does while it waits.

        Raises: as `run`.
        """
        errands: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        future = self._submit(make(Here(self._loop, errands.put)))
        future.add_done_callback(lambda _: errands.put(None))
        try:
            while (errand := errands.get()) is not None:
                errand()
            return future.result()
        except concurrent.futures.CancelledError:
            raise Undecided("the client was closed before the answer came") from None
        except BaseException:
            future.cancel()
            raise

    def close(self, last: Callable[[], Coroutine[object, None, None]]) -> None:
        """Runs this last coroutine, ends all others and the thread. A second time does nothing."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        try:
            asyncio.run_coroutine_threadsafe(_wind_up(last), self._loop).result()
        finally:
            self._stop()

    def _submit(self, coroutine: Coroutine[object, None, T]) -> concurrent.futures.Future[T]:
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError(
                "the blocking client cannot be called from where it calls back: it would wait for itself"
            )
        with self._lock:
            if not self._closed:
                return asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        coroutine.close()
        raise Unavailable("the client is closed", reason=Reason.STOPPING)


class Here:
    """Has functions of a caller called by that caller's thread, while the loop's waits for what they return."""

    def __init__(self, loop: asyncio.AbstractEventLoop, send: Callable[[Callable[[], None]], None]) -> None:
        self._loop = loop
        self._send = send

    def __call__(self, given: T) -> T:
        """A coroutine function in place of a function; anything else as it is."""
        if not callable(given):
            return given

        async def called(*args: object, **kwargs: object) -> object:
            answer: asyncio.Future[object] = self._loop.create_future()
            self._send(lambda: self._run(answer, lambda: given(*args, **kwargs)))
            result = await answer
            return await result if inspect.isawaitable(result) else result  # a coroutine function's runs on the loop

        functools.update_wrapper(called, given)
        return cast("T", called)

    def _run(self, answer: asyncio.Future[object], function: Callable[[], object]) -> None:
        """On the caller's thread. What is no `Exception` is the caller's own, and goes up there."""
        try:
            result = function()
        except Exception as error:  # noqa: BLE001 - it is raised where the function was called
            self._loop.call_soon_threadsafe(_fail, answer, error)
        else:
            self._loop.call_soon_threadsafe(_answer, answer, result)


class SyncIterator(Generic[T]):
    """An iterator over what an asyncio one yields. Nothing is fetched ahead; closing it cancels the call behind it.

    A `with` block closes it, and so does dropping it (asyncio then closes the generator that it drove).
    """

    def __init__(self, portal: Portal, inner: AsyncGenerator[T, None]) -> None:
        self._portal = portal
        self._inner = inner
        self._step: asyncio.Task[T] | None = None
        self._closed = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        if self._closed:
            raise StopIteration
        try:
            return self._portal.run(self._next())
        except StopAsyncIteration:
            raise StopIteration from None
        except Undecided:
            if self._closed:  # by another thread, while this one waited
                raise StopIteration from None
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the iteration, also one that another thread waits in."""
        if self._closed:
            return
        self._closed = True
        try:
            self._portal.run(self._close())
        except Unavailable:  # the client is closed: all has ended
            return

    async def _next(self) -> T:
        self._step = asyncio.ensure_future(_step(self._inner))
        try:
            return await self._step
        finally:
            self._step.cancel()

    async def _close(self) -> None:
        if self._step is not None:
            self._step.cancel()
            await asyncio.wait((self._step,))
        await self._inner.aclose()


def _answer(future: asyncio.Future[object], result: object) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[object], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


async def _called(function: Callable[[], T]) -> T:
    return function()


async def _step(inner: AsyncGenerator[T, None]) -> T:
    return await anext(inner)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


def _stop(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(loop.stop)
    if thread is not threading.current_thread():
        thread.join(_JOIN_S)


async def _wind_up(last: Callable[[], Coroutine[object, None, None]]) -> None:
    await last()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if not others:
        return
    _, stuck = await asyncio.wait(others, timeout=_GRACE_S)
    for task in stuck:
        task.cancel()
    if stuck:
        await asyncio.wait(stuck, timeout=_GRACE_S)
