"""The client's side of simulated gRPC: what `grpc.aio.Channel` is to the client library and to the links of peers.

Rules of this file:
- It behaves as gRPC does where our code can see it: states, fail-fast while it cannot connect, backoff between
  attempts, CancelledError for who cancels or closes, AioRpcError for the rest.
- A call belongs to one connection and dies with it. Nothing is retried.
"""

from __future__ import annotations

import asyncio
import contextvars
import enum
from collections.abc import Callable, Generator, Sequence
from typing import Any, Final, Generic, TypeVar, cast

import grpc

from tallystick_node.sim.frames import CANCEL, DATA, END, GOAWAY, HALF, OPEN, ROOM, Intake, Window
from tallystick_node.sim.network import CLIENT, SERVER, Connection, Frame, Network

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")
Metadata = Sequence[tuple[str, str | bytes]]

State = grpc.ChannelConnectivity
_BACKOFF_GROWTH: Final = 1.6
_EOF: Final[object] = getattr(grpc.aio, "EOF")  # noqa: B009 - its stubs do not know it
_DEFAULTS: Final = {
    "grpc.keepalive_time_ms": 20_000,
    "grpc.keepalive_timeout_ms": 10_000,
    "grpc.initial_reconnect_backoff_ms": 1_000,
    "grpc.min_reconnect_backoff_ms": 20_000,
    "grpc.max_reconnect_backoff_ms": 120_000,
}


class _Kind(enum.Enum):
    UNARY = enum.auto()
    STREAM = enum.auto()


class SimChannel:
    """A channel from a place to an address."""

    def __init__(self, network: Network, place: str, address: str, options: Sequence[tuple[str, int | str]]) -> None:
        figures = {**_DEFAULTS, **{name: value for name, value in options if isinstance(value, int)}}
        self._network = network
        self._loop = network.loop
        self._place = place
        self._address = address
        self._keepalive_s = (figures["grpc.keepalive_time_ms"] + figures["grpc.keepalive_timeout_ms"]) / 1000
        self._attempt_s = figures["grpc.min_reconnect_backoff_ms"] / 1000
        self._backoff_from_s = figures["grpc.initial_reconnect_backoff_ms"] / 1000
        self._backoff_to_s = figures["grpc.max_reconnect_backoff_ms"] / 1000
        self._backoff_s = self._backoff_from_s
        self._context = contextvars.copy_context()
        self._state = State.IDLE
        self._changed: list[asyncio.Future[None]] = []
        self._attempt = 0
        self._link: _Link | None = None
        self._waiting: dict[_Call[Any, Any], None] = {}
        self._calls: dict[_Call[Any, Any], None] = {}

    # What grpc.aio.Channel has.

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """See gRPC."""
        if try_to_connect and self._state is State.IDLE:
            self._connect()
        return self._state

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """See gRPC."""
        while self._state is last_observed_state:
            changed = self._loop.create_future()
            self._changed.append(changed)
            await changed

    async def close(self, grace: float | None = None) -> None:
        """See gRPC; `grace` is None wherever we close."""
        del grace
        self._attempt += 1
        for call in [*self._waiting, *self._calls]:
            call.cancel()
        if self._link is not None:
            self._link.close()
            self._link = None
        self._set_state(State.SHUTDOWN)

    def unary_unary(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes] | None = None,
        response_deserializer: Callable[[bytes], Any] | None = None,
        **_registered: object,
    ) -> _Method[Any, Any]:
        """See gRPC."""
        return _Method(self, method, request_serializer, response_deserializer, _Kind.UNARY, _Kind.UNARY)

    def unary_stream(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes] | None = None,
        response_deserializer: Callable[[bytes], Any] | None = None,
        **_registered: object,
    ) -> _Method[Any, Any]:
        """See gRPC."""
        return _Method(self, method, request_serializer, response_deserializer, _Kind.UNARY, _Kind.STREAM)

    def stream_stream(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes] | None = None,
        response_deserializer: Callable[[bytes], Any] | None = None,
        **_registered: object,
    ) -> _Method[Any, Any]:
        """See gRPC."""
        return _Method(self, method, request_serializer, response_deserializer, _Kind.STREAM, _Kind.STREAM)

    stream_unary = stream_stream  # not used by anything of ours; the stubs want the name

    # What its calls need.

    def begin(self, call: _Call[Any, Any]) -> None:
        """A call wants to leave."""
        if self._state is State.READY and self._link is not None:
            self._calls[call] = None
            self._link.open(call)
        elif self._state is State.SHUTDOWN:
            call.ended(grpc.StatusCode.CANCELLED, "the channel is closed", ())
        elif self._state is State.TRANSIENT_FAILURE:
            call.ended(grpc.StatusCode.UNAVAILABLE, f"cannot connect to {self._address}", ())
        else:
            self._waiting[call] = None
            self._connect()

    def left(self, call: _Call[Any, Any]) -> None:
        """A call is over."""
        self._waiting.pop(call, None)
        self._calls.pop(call, None)

    def lost(self, link: _Link) -> None:
        """The connection is gone, or takes no new calls."""
        if self._link is link:
            self._link = None
            self._set_state(State.IDLE)

    # Connecting.

    def _connect(self) -> None:
        if self._state is not State.IDLE:
            return
        self._set_state(State.CONNECTING)
        self._attempt += 1
        attempt = self._attempt
        self._loop.call_later(self._attempt_s, self._failed, attempt, context=self._context)
        self._network.connect(
            self._place,
            self._address,
            self._keepalive_s,
            self._context,
            lambda connection: self._connected(attempt, connection),
        )

    def _connected(self, attempt: int, connection: Connection | None) -> _Link | None:
        if attempt != self._attempt or self._state is not State.CONNECTING:
            if connection is not None:
                connection.close(CLIENT)
            return None
        if connection is None:
            self._failed(attempt)
            return None
        self._attempt += 1
        self._backoff_s = self._backoff_from_s
        self._link = _Link(self, connection)
        self._set_state(State.READY)
        waiting, self._waiting = self._waiting, {}
        for call in waiting:
            self.begin(call)
        return self._link

    def _failed(self, attempt: int) -> None:
        if attempt != self._attempt or self._state is not State.CONNECTING:
            return
        self._attempt += 1
        self._set_state(State.TRANSIENT_FAILURE)
        pause_s = self._backoff_s * self._network.rng.uniform(0.8, 1.2)
        self._backoff_s = min(self._backoff_s * _BACKOFF_GROWTH, self._backoff_to_s)
        self._loop.call_later(pause_s, self._rested, context=self._context)
        waiting, self._waiting = self._waiting, {}
        for call in waiting:
            call.ended(grpc.StatusCode.UNAVAILABLE, f"cannot connect to {self._address}", ())

    def _rested(self) -> None:
        if self._state is State.TRANSIENT_FAILURE:
            self._set_state(State.IDLE)

    def _set_state(self, state: grpc.ChannelConnectivity) -> None:
        if self._state is State.SHUTDOWN:
            return
        self._state = state
        changed, self._changed = self._changed, []
        for future in changed:
            if not future.done():
                future.set_result(None)


class _Link:
    """A channel's end of one connection, and the calls on it."""

    def __init__(self, channel: SimChannel, connection: Connection) -> None:
        self._channel = channel
        self._connection = connection
        self._calls: dict[int, _Call[Any, Any]] = {}
        self._count = 0

    def open(self, call: _Call[Any, Any]) -> None:
        """Begins a call."""
        self._count += 1
        self._calls[self._count] = call
        call.opened(self, self._count)

    def send(self, frame: Frame) -> None:
        """Sends something of a call."""
        self._connection.send(SERVER, frame)

    def leave(self, number: int) -> None:
        """The call is over."""
        self._calls.pop(number, None)

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close(CLIENT)

    def arrived(self, frame: Frame) -> None:
        """See `End`."""
        if frame[0] == GOAWAY:
            self._channel.lost(self)
            return
        call = self._calls.get(cast("int", frame[1]))
        if call is not None:
            call.arrived(frame)

    def broke(self, why: str) -> None:
        """See `End`."""
        self._channel.lost(self)
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.ended(grpc.StatusCode.UNAVAILABLE, why, ())


class _Method(Generic[RequestT, ResponseT]):
    """A multi-callable: makes calls of one method."""

    def __init__(
        self,
        channel: SimChannel,
        name: str,
        serialize: Callable[[RequestT], bytes] | None,
        deserialize: Callable[[bytes], ResponseT] | None,
        requests: _Kind,
        responses: _Kind,
    ) -> None:
        self._channel = channel
        self.name = name
        self.serialize = serialize or cast("Callable[[RequestT], bytes]", lambda data: data)
        self.deserialize = deserialize or cast("Callable[[bytes], ResponseT]", lambda data: data)
        self.takes_one = requests is _Kind.UNARY
        self.gives_one = responses is _Kind.UNARY

    def __call__(
        self,
        request: RequestT | None = None,
        *,
        timeout: float | None = None,
        metadata: Metadata = (),
        **_options: object,
    ) -> _Call[RequestT, ResponseT]:
        call = _Call(self, self._channel, request, timeout, metadata)
        self._channel.begin(call)
        return call


class _Call(Generic[RequestT, ResponseT]):
    """A call, of any kind."""

    def __init__(
        self,
        method: _Method[RequestT, ResponseT],
        channel: SimChannel,
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
        self._link: _Link | None = None
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

    def opened(self, link: _Link, number: int) -> None:
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
        match frame:
            case (kind, _, bytes(message), int(_)) if kind == DATA:
                self._intake.put(message)
            case (kind, _, int(taken), int(_)) if kind == ROOM:
                self._window.made_room(taken)
            case (kind, _, grpc.StatusCode() as code, str(details), tuple(trailing), int(_)) if kind == END:
                self.ended(code, details, trailing)

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
