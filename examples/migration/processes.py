"""Child processes that cannot be left behind.

Rules of this file:
- Every child dies with this process, even if it is killed with -9: nodes ask the kernel for it, agents hang on their
  standard input. Leaving `Children` ends the others, SIGTERM first.
- Each runs in a session of its own: a Ctrl-C at the terminal reaches only us, and we end them in order.
- A child that ends badly and was not killed by us is a failure of the whole, at once.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_STOP_S: Final = 10.0
_LAST_WORDS_BYTES: Final = 2000


class ChildFailed(Exception):
    """A child ended by itself, with a bad exit code."""


class Child:
    """A process, and the file that has what it says on standard error (on standard output too, without a leash)."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.pid = process.pid
        self.exited = asyncio.create_task(process.wait())
        self.killed = False
        self._process = process
        self._log = log

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal, if it still runs; from now on it may end."""
        self.killed = True
        if not self.exited.done():
            self._process.send_signal(number)

    async def holds(self) -> str:
        """Waits until a process on a leash holds; where it does."""
        if self._process.stdout is None:
            raise ValueError(f"{self.name} is on no leash")
        line = await self._process.stdout.readline()
        if not line:
            raise ChildFailed(f"{self.name} ended before it held; its last words:\n{self.last_words()}")
        return line.decode().strip()

    def tell(self) -> None:
        """Lets a process on a leash go on: one line on its standard input."""
        if self._process.stdin is None:
            raise ValueError(f"{self.name} is on no leash")
        self._process.stdin.write(b"\n")

    def last_words(self) -> str:
        """The end of its output."""
        return self._log.read_bytes()[-_LAST_WORDS_BYTES:].decode(errors="replace").strip()


class Children:
    """All child processes; `async with`, so that none is left."""

    def __init__(self) -> None:
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._all: list[Child] = []
        self._guards: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()
        if self.failed.done():
            self.failed.exception()  # seen: who waited for it was told
        self.failed.cancel()

    async def start(self, name: str, command: Sequence[str], log: Path, *, leash: bool = False) -> Child:
        """Starts a process. `failed` raises `ChildFailed` if it ends badly by itself."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("TALLYSTICK_")}
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE if leash else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if leash else output,
                stderr=output,
                env=environment,
                start_new_session=True,
            )
        child = Child(name, process, log)
        self._all.append(child)
        self._guards.append(asyncio.create_task(self._guard(child)))
        return child

    async def _guard(self, child: Child) -> None:
        code = await asyncio.shield(child.exited)
        if code != 0 and not child.killed and not self.failed.done():
            self.failed.set_exception(
                ChildFailed(f"{child.name} ended with exit code {code}; its last words:\n{child.last_words()}")
            )

    async def _stop(self) -> None:
        for child in self._all:
            child.signal(signal.SIGTERM)
        running = [child.exited for child in self._all if not child.exited.done()]
        if running:
            await asyncio.wait(running, timeout=_STOP_S)
        for child in self._all:
            child.signal(signal.SIGKILL)
        await asyncio.gather(*(child.exited for child in self._all), *self._guards)
