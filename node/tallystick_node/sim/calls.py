"""Calls of simulated gRPC, as the client sees them: of one request or many, with one answer or many.

Rules of this file:
- A call belongs to one connection and dies with it. Nothing is retried.
- CancelledError for who cancels or closes, AioRpcError for the rest, as gRPC has it.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Generator, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar, cast

import grpc

from tallystick_node.sim.frames import CANCEL, DATA, END, HALF, OPEN, ROOM, Intake, Window
from tallystick_node.sim.network import Frame

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")
Metadata = Sequence[tuple[str, str | bytes]]

_EOF: Final[object] = getattr(grpc.aio, "EOF")  # noqa: B009 - its stubs do not know it


class Kind(enum.Enum):
    """Of a method's requests, and of its answers."""

    UNARY = enum.auto()
    STREAM = enum.auto()


class Wire(Protocol):
    """The connection that a call is on."""

    def send(self, frame: Frame) -> None:
        """Sends something of a call."""

    def leave(self, number: int) -> None:
        """The call is over."""


class Calls(Protocol):
    """The channel that calls are made on."""

    def begin(self, call: Call[Any, Any]) -> None:
        """A call wants to leave."""

    def left(self, call: Call[Any, Any]) -> None:
        """A call is over."""


class Method(Generic[RequestT, ResponseT]):
    """A multi-callable: makes calls of one method."""

    def __init__(
        self,
        channel: Calls,
        name: str,
        serialize: Callable[[RequestT], bytes] | None,
        deserialize: Callable[[bytes], ResponseT] | None,
        requests: Kind,
        responses: Kind,
    ) -> None:
        self._channel = channel
        self.name = name
        self.serialize = serialize or cast("Callable[[RequestT], bytes]", lambda data: data)
        self.deserialize = deserialize or cast("Callable[[bytes], ResponseT]", lambda data: data)
        self.takes_one = requests is Kind.UNARY
        self.gives_one = responses is Kind.UNARY

    def __call__(
        self,
        request: RequestT | None = None,
        *,
        timeout: float | None = None,
        metadata: Metadata = (),
        **_options: object,
    ) -> Call[RequestT, ResponseT]:
        call = Call(self, self._channel, request, timeout, metadata)
        self._channel.begin(call)
        return call


class Call(Generic[RequestT, ResponseT]):
    """A call, of any kind."""

    def __init__(
        self,
        method: Method[RequestT, ResponseT],
        channel: Calls,
        request: RequestT | None,
        timeout_s: float | None,
        metadata: Metadata,
    ) -> None:
        self._method = method
        self._channel = channel
        self._request = request
        self._metadata = tuple(metadata)
        self._loop = asyncio.get_running_loop()
        self._ends_s = None if timeout_s is None else self._loop.time() + timeout_s
        self._timer = None if self._ends_s is None else self._loop.call_at(self._ends_s, self._time_out)
        self._link: Wire | None = None
        self._number = 0
        self._intake = Intake()
        self._window = Window()
        self._status: tuple[grpc.StatusCode, str, Metadata] | None = None
        self._was_cancelled = False
        self._opening: asyncio.Future[None] | None = None

    # What grpc.aio's calls have.

    def __await__(self) -> Generator[Any, None, ResponseT]:
        return self._one().__await__()

    async def read(self) -> ResponseT | object:
        """See gRPC: a message, or EOF; raises the call's failure."""
        data = await self._intake.take()
        if data is not None:
            self._tell_room()
            return self._method.deserialize(data)
        self._raise_failure()
        return _EOF

    async def write(self, request: RequestT) -> None:
        """See gRPC."""
        await self._opened()
        if self._status is not None or not await self._window.wait():
            self._raise_failure()
            raise asyncio.InvalidStateError("the call is over")
        self._send_data(self._method.serialize(request))

    async def done_writing(self) -> None:
        """See gRPC."""
        await self._opened()
        self._send((HALF, self._number, 0))

    def cancel(self) -> bool:
        """See gRPC."""
        if self._status is not None:
            return False
        self._was_cancelled = True
        self._send((CANCEL, self._number, 0))
        self.ended(grpc.StatusCode.CANCELLED, "cancelled here", ())
        return True

    def done(self) -> bool:
        """See gRPC."""
        return self._status is not None

    # What its channel tells it.

    def opened(self, link: Wire, number: int) -> None:
        """It leaves, on this connection."""
        self._link, self._number = link, number
        left_s = None if self._ends_s is None else max(0.0, self._ends_s - self._loop.time())
        link.send((OPEN, number, self._method.name, self._metadata, left_s, 0))
        if self._method.takes_one and self._request is not None:
            self._send_data(self._method.serialize(self._request))
            link.send((HALF, number, 0))
        if self._opening is not None and not self._opening.done():
            self._opening.set_result(None)

    def arrived(self, frame: Frame) -> None:
        """Something of this call."""
        kind = frame[0]
        if kind == DATA:
            self._intake.put(cast("bytes", frame[2]))
        elif kind == ROOM:
            self._window.made_room(cast("int", frame[2]))
        elif kind == END:
            self.ended(*cast("tuple[grpc.StatusCode, str, Metadata]", frame[2:5]))

    def ended(self, code: grpc.StatusCode, details: str, trailing: Metadata) -> None:
        """It is over."""
        if self._status is not None:
            return
        self._status = (code, details, trailing)
        if self._timer is not None:
            self._timer.cancel()
        self._channel.left(self)
        if self._link is not None:
            self._link.leave(self._number)
        self._window.close()
        self._intake.close()
        if self._opening is not None and not self._opening.done():
            self._opening.set_result(None)

    # Inside.

    async def _one(self) -> ResponseT:
        data = await self._intake.take()
        if data is None:
            self._raise_failure()
            raise _error(grpc.StatusCode.INTERNAL, "no answer came", ())
        if self._status is None:  # the status comes behind the answer
            await self._intake.take()
        self._raise_failure()
        return self._method.deserialize(data)

    async def _opened(self) -> None:
        if self._link is None and self._status is None:
            self._opening = self._loop.create_future()
            await self._opening

    def _send(self, frame: Frame) -> None:
        if self._link is not None and self._status is None:
            self._link.send(frame)

    def _send_data(self, data: bytes) -> None:
        self._window.sent(len(data))
        self._send((DATA, self._number, data, len(data)))

    def _tell_room(self) -> None:
        taken = self._intake.room_made()
        if taken:
            self._send((ROOM, self._number, taken, 0))

    def _time_out(self) -> None:
        if self._status is None:
            self._send((CANCEL, self._number, 0))
            self.ended(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", ())

    def _raise_failure(self) -> None:
        if self._status is None:
            return
        code, details, trailing = self._status
        if self._was_cancelled:
            raise asyncio.CancelledError
        if code is not grpc.StatusCode.OK:
            raise _error(code, details, trailing)


def _error(code: grpc.StatusCode, details: str, trailing: Metadata) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(
        code, grpc.aio.Metadata(), grpc.aio.Metadata(*trailing), details=details, debug_error_string=details
    )
