"""The client's side of simulated gRPC: what `grpc.aio.Channel` is to the client library and to the links of peers.

Rules of this file:
- It behaves as gRPC does where our code can see it: states, fail-fast while it cannot connect, backoff between
  attempts, CancelledError for who cancels or closes, AioRpcError for the rest.
- A call belongs to one connection and dies with it. Nothing is retried.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import grpc

from tallystick_node.sim.calls import Call, Kind, Method
from tallystick_node.sim.frames import GOAWAY
from tallystick_node.sim.network import CLIENT, SERVER, Connection, Frame, Network

State = grpc.ChannelConnectivity
_BACKOFF_GROWTH: Final = 1.6
_DEFAULTS: Final = {
    "grpc.keepalive_time_ms": 20_000,
    "grpc.keepalive_timeout_ms": 10_000,
    "grpc.initial_reconnect_backoff_ms": 1_000,
    "grpc.min_reconnect_backoff_ms": 20_000,
    "grpc.max_reconnect_backoff_ms": 120_000,
}


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
        self._waiting: dict[Call[Any, Any], None] = {}
        self._calls: dict[Call[Any, Any], None] = {}

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
    ) -> Method[Any, Any]:
        """See gRPC."""
        return Method(self, method, request_serializer, response_deserializer, Kind.UNARY, Kind.UNARY)

    def unary_stream(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes] | None = None,
        response_deserializer: Callable[[bytes], Any] | None = None,
        **_registered: object,
    ) -> Method[Any, Any]:
        """See gRPC."""
        return Method(self, method, request_serializer, response_deserializer, Kind.UNARY, Kind.STREAM)

    def stream_stream(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes] | None = None,
        response_deserializer: Callable[[bytes], Any] | None = None,
        **_registered: object,
    ) -> Method[Any, Any]:
        """See gRPC."""
        return Method(self, method, request_serializer, response_deserializer, Kind.STREAM, Kind.STREAM)

    stream_unary = stream_stream  # not used by anything of ours; the stubs want the name

    # What its calls need.

    def begin(self, call: Call[Any, Any]) -> None:
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

    def left(self, call: Call[Any, Any]) -> None:
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
        self._calls: dict[int, Call[Any, Any]] = {}
        self._count = 0

    def open(self, call: Call[Any, Any]) -> None:
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
