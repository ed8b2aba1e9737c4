"""One thread that syncs, for one loop that waits: a thread pool costs more than the sync itself on a fast disk."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from types import TracebackType
from typing import Protocol, Self

_Job = tuple[Callable[[], None], "asyncio.Future[None]"]


class Syncing(Protocol):
    """Runs jobs beside the event loop, one after the other, while it is entered."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def run(self, job: Callable[[], None]) -> asyncio.Future[None]:
        """Starts a job; the future has its outcome."""
        ...


class Syncer:
    """Runs jobs on its thread, one after the other. A context manager: leaving it ends the thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="journal-sync", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._jobs.put(None)
        self._thread.join()

    def run(self, job: Callable[[], None]) -> asyncio.Future[None]:
        """Starts a job; the future has its outcome."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._jobs.put((job, future))
        return future

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, future = item
            try:
                job()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the caller's
                self._loop.call_soon_threadsafe(_fail, future, error)
            else:
                self._loop.call_soon_threadsafe(_succeed, future)


def _succeed(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _fail(future: asyncio.Future[None], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
