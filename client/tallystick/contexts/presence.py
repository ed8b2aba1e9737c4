"""Who is here: what each one says of itself, as long as it goes on saying so.

Rules of this file:
- The own state is said again every `HEARTBEAT_S`; a node forgets who has been silent for 30 s. It stands under the
  writer id of the replica.
- What others say is a picture of now: a reader that is slow misses changes in between, never the last.
- A broken stream is opened anew, at any node. While none answers, others stay as they were for `TTL_S`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc

from tallystick._backoff import ATTEMPT_S, Failure, wait_s
from tallystick._calls import AttemptError, Calls
from tallystick._cancelling import cancellations, raise_if_cancelled
from tallystick._channel import Endpoint
from tallystick._failures import failure_of
from tallystick._json import JSON, JSONLike, decode, encode
from tallystick.contexts.ending import end
from tallystick.contexts.limits import PRESENCE_BYTES
from tallystick.errors import Corrupt, Invalid, Reason, Refused, TallystickError, Unavailable
from tallystick.v1 import context_pb2

if TYPE_CHECKING:
    from grpc.aio import StreamStreamCall

    Call = StreamStreamCall[context_pb2.PresenceRequest, context_pb2.PresenceResponse]

HEARTBEAT_S: Final = 10.0
TTL_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Present:
    """One who is here.

    Attributes:
        writer: its id; two programs of one actor are two.
        actor: "": somebody of another protocol.
        state: what it says of itself.
    """

    writer: int
    actor: str
    state: JSON


class Presence:
    """The presence of one context. Made by `Context.presence`; the first use joins."""

    def __init__(
        self, calls: Calls, ref: context_pb2.ContextRef, *, actor: str, writer: Callable[[], int | None]
    ) -> None:
        self._calls, self._ref, self._actor, self._writer_now = calls, ref, actor, writer
        self._others: dict[int, Present] = {}
        self._clock = 0
        self._own = b""
        self._writer = 0
        self._changed = asyncio.Event()
        self._said = asyncio.Event()
        self._joined = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None
        self._error: TallystickError | None = None

    def set(self, state: Mapping[str, JSONLike]) -> None:
        """Says this of oneself from now on, for example `{"doing": "task 3"}`.

        Raises:
            Invalid: it is not JSON, or larger than 8 KiB.
            TallystickError: the presence was refused.
        """
        text = encode(dict(state))
        if len(text) > PRESENCE_BYTES:
            raise Invalid(
                f"a presence of {len(text)} bytes", reason=Reason.TOO_LARGE, metadata={"limit": str(PRESENCE_BYTES)}
            )
        self._say(text)

    def leave(self) -> None:
        """Says nothing of oneself any more: gone, for the others."""
        if self._own:
            self._say(b"")

    async def others(self, *, timeout_s: float | None = None) -> tuple[Present, ...]:
        """Who else is here; waits until a node has said so once.

        Raises:
            Unavailable: no node answers in time.
        """
        self._start()
        try:
            async with asyncio.timeout(timeout_s or self._calls.timeout_s):
                await self._joined.wait()
        except TimeoutError:
            raise Unavailable("no node says who is here") from None
        self._check()
        return tuple(self._others[writer] for writer in sorted(self._others))

    def changes(self) -> AsyncGenerator[tuple[Present, ...], None]:
        """Who else is here, now and after each change."""
        return self._changes()

    async def _changes(self) -> AsyncGenerator[tuple[Present, ...], None]:
        seen: tuple[Present, ...] | None = None
        while True:
            changed = self._changed
            now = await self.others()
            if now != seen:
                seen = now
                yield now
            await changed.wait()

    async def close(self) -> None:
        """Leaves."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await end(runner)

    def _say(self, text: bytes) -> None:
        self._check()
        self._own = text
        self._clock += 1
        self._said.set()
        self._start()

    def _start(self) -> None:
        if self._runner is None:
            self._runner = asyncio.get_running_loop().create_task(self._run())

    def _check(self) -> None:
        if self._error is not None:
            raise self._error

    async def _run(self) -> None:
        calls, attempt = self._calls, 0
        while self._error is None:
            endpoint = calls.endpoints.for_any(calls.outside.clock())
            try:
                calls.check_open()
                await self._join(endpoint)
            except AttemptError as failed:
                calls.failed(endpoint, failed.failure)
                if failed.failure.is_final and isinstance(failed.failure.error, Refused):
                    self._end(failed.failure.error)
                    return
                attempt = 0 if self._joined.is_set() else attempt + 1
            except Unavailable:
                attempt += 1
            await asyncio.sleep(wait_s(attempt, calls.outside.rng))

    async def _join(self, endpoint: Endpoint) -> None:
        """One stream, until it breaks."""
        await self._calls.ready(endpoint, ATTEMPT_S)
        self._writer = self._writer_now() or 0
        call: Call = endpoint.contexts.Presence(None)
        before = cancellations()
        opening = context_pb2.PresenceOpen(context=self._ref, actor=self._actor, writer=self._writer)
        speaker: asyncio.Task[None] | None = None
        try:
            await call.write(context_pb2.PresenceRequest(open=opening))
            speaker = asyncio.create_task(self._speak(call))
            is_first = True
            while True:
                response = await call.read()
                if not isinstance(response, context_pb2.PresenceResponse):
                    raise AttemptError(Failure(Unavailable(f"{endpoint.address} ended the presence")))
                self._take(response, is_first=is_first)
                is_first = False
                endpoint.succeeded()
        except grpc.aio.AioRpcError as rpc:
            raise_if_cancelled(before)
            raise AttemptError(failure_of(rpc, writes=False, endpoint=endpoint.address)) from rpc
        except asyncio.InvalidStateError:
            raise AttemptError(Failure(Unavailable(f"{endpoint.address} ended the presence"))) from None
        except asyncio.CancelledError:
            self._calls.check_cut(writes=False)
            task = asyncio.current_task()
            if task is not None and not task.cancelling():  # the speaker ended the stream
                raise AttemptError(Failure(Unavailable("a new writer id speaks"))) from None
            raise
        finally:
            call.cancel()
            if speaker is not None:
                await end(speaker)

    async def _speak(self, call: Call) -> None:
        """Says the own state, when it changes and every `HEARTBEAT_S`."""
        is_due = bool(self._own)
        while True:
            if self._own and (self._writer_now() or 0) != self._writer:
                call.cancel()  # the replica writes under another id now: the stream is opened anew with it
                return
            if is_due and self._writer:
                state = context_pb2.PresenceState(writer=self._writer, clock=self._clock, state=self._own)
                try:
                    await call.write(context_pb2.PresenceRequest(state=state))
                except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                    return  # the reader learns why
            is_due = bool(self._own)
            self._said.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._said.wait()
                    is_due = True

    def _take(self, response: context_pb2.PresenceResponse, *, is_first: bool) -> None:
        if is_first:
            self._others.clear()
        for state in response.states:
            if state.writer == self._writer:
                continue
            if state.state:
                self._others[state.writer] = Present(state.writer, state.actor, _decoded(state.state))
            else:
                self._others.pop(state.writer, None)
        self._joined.set()
        self._wake()

    def _end(self, error: TallystickError) -> None:
        self._error = error
        self._joined.set()
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


def _decoded(text: bytes) -> JSON:
    try:
        return decode(text)
    except Corrupt:  # somebody of another protocol: it is here, whatever it says
        return None
