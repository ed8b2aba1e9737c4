"""What an archive is, whatever it is made of.

Rules of this file:
- What `put` returned from is there after any crash: synced, or answered by the store.
- The same name is always put with the same bytes, so a `put` that was cut short is just done again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

Apart: TypeAlias = Callable[[Callable[[], str]], Awaitable[str]]
"""Does blocking work beside the loop."""


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


async def on_a_thread(work: Callable[[], str]) -> str:
    """Does it on a thread of its own, which a process that ends does not wait for: an archive may hang for ever."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[str] = loop.create_future()

    def tell(result: str | Exception) -> None:
        if done.done():
            return
        if isinstance(result, Exception):
            done.set_exception(result)
        else:
            done.set_result(result)

    def run() -> None:
        try:
            result: str | Exception = work()
        except Exception as error:  # noqa: BLE001 - handed to who waits, whatever it is
            result = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell, result)

    threading.Thread(target=run, name="archive", daemon=True).start()
    return await done
