"""One run of a worker, as its supervisor sees it: a process (`child`), or what stands in for one in the simulation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from google.protobuf.message import Message

from tallystick.worker.v1.worker_pb2 import Response


class Running(Protocol):
    """See the module.

    Attributes:
        ended: done when nothing more will be heard of it.
        complaint: what was wrong with what it said.
    """

    ended: asyncio.Future[None]
    complaint: str

    @property
    def pid(self) -> int:
        """Of the process; 0: none."""
        ...

    @property
    def last_words(self) -> str:
        """The end of what it said on its standard error."""
        ...

    async def start(self, command: Sequence[str]) -> None:
        """Starts it.

        Raises:
            OSError: it cannot be started.
        """
        ...

    def send(self, message: Message) -> None:
        """Sends a request; lost if it has ended."""
        ...

    async def end(self) -> int:
        """Kills it if it runs still; its exit code, negative for a signal."""
        ...

    def kill(self) -> None:
        """SIGKILL, if it runs."""
        ...

    def cpu_s(self) -> float:
        """Processor time that it has used; 0 where that is not known."""
        ...


MakeRunning = Callable[[Callable[[Response], None]], Running]
"""Makes one that is not started; what it answers is handed to the function, in order."""
