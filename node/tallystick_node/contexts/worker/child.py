"""One run of the worker process, from its start to its end, as the node's event loop sees it.

Rules of this file:
- An answer is small, and there may be many: the event loop has its turn after a bounded number of them.
- What a worker answered before it died is heard before its death is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, cast

from google.protobuf.message import DecodeError, Message

from tallystick.worker.v1.worker_pb2 import Response
from tallystick_node.contexts.worker.frames import Frames, FrameTooLarge, encode
from tallystick_node.contexts.worker.limits import (
    ANSWERS_PER_TURN,
    ANSWERS_PER_TURN_BYTES,
    LAST_WORDS_BYTES,
)
from tallystick_node.contexts.worker.line import NotAsked

_END_S: Final = 2.0


class Child(asyncio.Protocol):
    """See the module.

    Args:
        on_answer: called for each answer, in order.
    """

    def __init__(self, on_answer: Callable[[Response], None]) -> None:
        self._on_answer = on_answer
        self._loop = asyncio.get_running_loop()
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._reading_words: asyncio.Task[None] | None = None
        self._has_turn = False
        self._is_lost = False
        self._words = b""
        self.ended: asyncio.Future[None] = self._loop.create_future()
        """Done when the wire has ended, and everything on it was heard."""
        self.complaint = ""
        """What was wrong with what it said."""

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid if self._process is not None else 0

    @property
    def last_words(self) -> str:
        """The end of what it said on its standard error."""
        return self._words.decode(errors="replace")

    async def start(self, command: Sequence[str]) -> None:
        """Starts the process; its standard input is its end of the wire.

        Raises:
            OSError: it cannot be started.
        """
        started = False
        try:
            await self._start(command)
            started = True
        finally:
            if not started:
                self._give_up()

    async def _start(self, command: Sequence[str]) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                await self._make(command, theirs)
            except BaseException:
                ours.close()
                raise
        ours.settimeout(0.0)
        try:
            await self._loop.create_unix_connection(lambda: self, sock=ours)
        except BaseException:
            ours.close()
            raise
        self._reading_words = asyncio.create_task(self._read_words(), name="last words")

    async def _make(self, command: Sequence[str], wire: socket.socket) -> None:
        """Makes the process. It is made whole also if that is cancelled meanwhile: else nobody would end it."""
        making = asyncio.create_task(
            asyncio.create_subprocess_exec(
                *command, stdin=wire.fileno(), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
            )
        )
        try:
            await asyncio.wait((making,))
        finally:
            while not making.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait((making,))
            if making.exception() is None:
                self._process = making.result()
        making.result()

    def send(self, message: Message) -> None:
        """Sends a message; lost if the process is."""
        if self._transport is not None and not self._is_lost:
            self._transport.write(encode(message))

    async def end(self) -> int:
        """Kills it if it runs still, for more than the moment between its last word and its end; the exit code,
        negative for a signal."""
        if self._process is None:
            return 0
        if self.ended.done():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_END_S):
                    await self._process.wait()
        self.kill()
        code = await self._process.wait()
        await self._shut()
        return code

    def kill(self) -> None:
        """SIGKILL, if it runs."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)

    def cpu_s(self) -> float:
        """Processor time that it has used; 0 where the system does not say."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            stat = Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8", errors="replace")
            fields = stat.rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return 0.0

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one, and says so nowhere
        if self.ended.done():  # given up meanwhile
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        if self.complaint:
            return
        self._frames.feed(data)
        if not self._has_turn:
            self._hear()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        del exc
        self._is_lost = True
        if not self._has_turn:
            self._hear()

    # Inside.

    def _hear(self) -> None:
        """Hands on some answers; with more to come, reading waits until they were heard."""
        self._has_turn = False
        try:
            has_more = self._hear_some()
        except (FrameTooLarge, DecodeError, NotAsked) as error:
            self.complaint = f"{type(error).__name__}: {error}"
            self._frames = Frames()
            self.kill()
            return
        if has_more:
            self._has_turn = True
            self._loop.call_soon(self._hear)
        self._let_read(may_read=not has_more)
        if self._is_lost and not has_more and not self.ended.done():
            self.ended.set_result(None)

    def _hear_some(self) -> bool:
        before_bytes = self._frames.buffered_bytes
        for _ in range(ANSWERS_PER_TURN):
            data = self._frames.take()
            if data is None:
                return False
            self._on_answer(Response.FromString(data))
            if before_bytes - self._frames.buffered_bytes >= ANSWERS_PER_TURN_BYTES:
                break
        return self._frames.has_next

    def _let_read(self, *, may_read: bool) -> None:
        if self._transport is None or self._is_lost or self._transport.is_closing():
            return
        if may_read:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()

    def _give_up(self) -> None:
        """Nothing will be heard of it: its start was cut. uvloop tells nothing of a wire that was never whole."""
        if self._transport is not None:
            self._transport.abort()
        if not self.ended.done():
            self.ended.set_result(None)

    async def _read_words(self) -> None:
        assert self._process is not None and self._process.stderr is not None  # noqa: S101, PT018 - for the type
        while words := await self._process.stderr.read(LAST_WORDS_BYTES):
            self._words = (self._words + words)[-LAST_WORDS_BYTES:]

    async def _shut(self) -> None:
        if self._reading_words is not None:
            await self._reading_words
        if self._transport is not None:
            await self.ended
            self._transport.close()
        elif not self.ended.done():
            self.ended.set_result(None)
