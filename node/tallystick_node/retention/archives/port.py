"""What an archive is, whatever it is made of.

Rules of this file:
- What `put` returned from is there after any crash: synced, or answered by the store.
- The same name is always put with the same bytes, so a `put` that was cut short is just done again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor, Future
from typing import Protocol, TypeVar

T = TypeVar("T")


class Apart(Protocol):
    """Does blocking work beside the loop."""

    def __call__(self, work: Callable[[], T]) -> Awaitable[T]: ...


class ArchiveFailed(Exception):
    """It is not known to be in the archive; the sentence says why."""


class Archive(Protocol):
    """See the module."""

    async def put(self, name: str, data: bytes) -> str:
        """Where it is, now that it is durable. `name` is a path: its parts hold nothing that a path treats specially.

        Raises:
            ArchiveFailed: it is not known to be there.
        """
        ...

    async def has(self, name: str) -> bool:
        """Whether it is there, durably.

        Raises:
            ArchiveFailed: that is not known.
        """
        ...


async def on_a_thread(work: Callable[[], T]) -> T:
    """Does it on a thread of its own, which a process that ends does not wait for: an archive may hang for ever."""
    return await asyncio.get_running_loop().run_in_executor(_Daemons(), work)


class _Daemons(Executor):
    """A thread for each job."""

    def submit(self, job: Callable[..., T], /, *args: object, **kwargs: object) -> Future[T]:
        """See `Executor`."""
        future: Future[T] = Future()

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(job(*args, **kwargs))
            except Exception as error:  # noqa: BLE001 - whatever it is, it is for who waits
                future.set_exception(error)

        threading.Thread(target=run, name="archive", daemon=True).start()
        return future
