"""The server's side of simulated gRPC: runs the real servicers for the calls that come in.

Rules of this file:
- A call runs in the process that serves it. It is cancelled when its client cancels, its deadline comes or its
  connection breaks, as gRPC does.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, NoReturn, cast

import grpc

from tallystick_node.sim.calls import Metadata
from tallystick_node.sim.frames import CANCEL, DATA, END, GOAWAY, HALF, OPEN, ROOM, Intake, Window
from tallystick_node.sim.network import CLIENT, SERVER, Connection, End, Frame, Network

log = logging.getLogger(__name__)

_OK: Final = (grpc.StatusCode.OK, "", ())


class _Details:
    """`grpc.HandlerCallDetails`."""

    def __init__(self, method: str, metadata: Metadata) -> None:
        self.method = method
        self.invocation_metadata = metadata


class SimServer:
    """What `grpc.aio.Server` is to the node, at one place of the network."""

    def __init__(self, network: Network, place: str, max_concurrent_calls: int | None) -> None:
        self._network = network
        self.place = place
        self.context = contextvars.copy_context()
        self._max_calls = max_concurrent_calls
        self._handlers: list[grpc.GenericRpcHandler[Any, Any]] = []
        self._addresses: list[str] = []
        self._links: dict[_Link, None] = {}
        self._accepted = 0
        self.tasks: dict[asyncio.Task[None], None] = {}
        self.is_stopping = False

    # What grpc.aio.Server has.

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler[Any, Any]]) -> None:
        """See gRPC."""
        self._handlers.extend(handlers)

    def add_registered_method_handlers(self, _service: str, _handlers: Mapping[str, object]) -> None:
        """See gRPC: the same as the generic ones, by another way."""

    def add_insecure_port(self, address: str) -> int:
        """See gRPC."""
        self._addresses.append(address)
        return int(address.rpartition(":")[2])

    def add_secure_port(self, _address: str, _credentials: object) -> NoReturn:
        """There is no TLS here."""
        raise NotImplementedError("the simulated network has no TLS")

    async def start(self) -> None:
        """See gRPC."""
        for address in self._addresses:
            self._network.listen(address, self)

    async def stop(self, grace: float | None) -> None:
        """See gRPC."""
        for address in self._addresses:
            self._network.unlisten(address, self)
        self.is_stopping = True
        for link in self._links:
            link.send((GOAWAY, 0))
        if grace and self.tasks:
            await asyncio.wait(list(self.tasks), timeout=grace)
        tasks = list(self.tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        links, self._links = self._links, {}
        for link in links:
            link.close()

    # Inside.

    def accept(self, connection: Connection) -> End:
        """See `Listener`."""
        self._accepted += 1
        link = _Link(self, connection, f"sim:{connection.places[CLIENT]}:{self._accepted}")
        self._links[link] = None
        return link

    def lost(self, link: _Link) -> None:
        """Its connection broke."""
        self._links.pop(link, None)

    def find(self, method: str, metadata: Metadata) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Who handles a method."""
        details = cast("grpc.HandlerCallDetails", _Details(method, metadata))
        for handler in self._handlers:
            found = handler.service(details)
            if found is not None:
                return found
        return None

    @property
    def is_full(self) -> bool:
        """Whether no call more is taken."""
        return self._max_calls is not None and len(self.tasks) >= self._max_calls


class _Link:
    """The server's end of one connection."""

    def __init__(self, server: SimServer, connection: Connection, peer: str) -> None:
        self.peer = peer
        self._server = server
        self._connection = connection
        self._calls: dict[int, _Call] = {}

    def send(self, frame: Frame) -> None:
        """To the client."""
        self._connection.send(CLIENT, frame)

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close(SERVER)

    def arrived(self, frame: Frame) -> None:
        """See `End`."""
        kind, number = frame[0], cast("int", frame[1])
        if kind == OPEN:
            self._open(number, *cast("tuple[str, Metadata, float | None]", frame[2:5]))
            return
        call = self._calls.get(number)
        if call is None:
            return
        if kind == DATA:
            call.intake.put(cast("bytes", frame[2]))
        elif kind == ROOM:
            call.window.made_room(cast("int", frame[2]))
        elif kind == HALF:
            call.intake.close()
        elif kind == CANCEL:
            call.abandon()

    def broke(self, _why: str) -> None:
        """See `End`."""
        self._server.lost(self)
        for call in list(self._calls.values()):
            call.abandon()

    def _open(self, number: int, method: str, metadata: Metadata, left_s: float | None) -> None:
        handler = self._server.find(method, metadata)
        if handler is None:
            self.send((END, number, grpc.StatusCode.UNIMPLEMENTED, method, (), 0))
        elif self._server.is_stopping:
            self.send((END, number, grpc.StatusCode.UNAVAILABLE, "the server is stopping", (), 0))
        elif self._server.is_full:
            self.send((END, number, grpc.StatusCode.RESOURCE_EXHAUSTED, "too many calls", (), 0))
        else:
            call = _Call(self, number, metadata, left_s)
            self._calls[number] = call
            call.task = asyncio.get_running_loop().create_task(call.serve(handler))
            self._server.tasks[call.task] = None
            call.task.add_done_callback(lambda task: self._done(number, task))

    def _done(self, number: int, task: asyncio.Task[None]) -> None:
        self._calls.pop(number, None)
        self._server.tasks.pop(task, None)


class _Call:
    """One call: its task, and the `ServicerContext` that the servicers see."""

    def __init__(self, link: _Link, number: int, metadata: Metadata, left_s: float | None) -> None:
        self._link = link
        self._number = number
        self._metadata = metadata
        self._loop = asyncio.get_running_loop()
        self._ends_s = None if left_s is None else self._loop.time() + left_s
        self._timer = None if self._ends_s is None else self._loop.call_at(self._ends_s, self.abandon)
        self._serialize: Any = None
        self._status: tuple[grpc.StatusCode, str, Metadata] | None = None
        self.intake = Intake()
        self.window = Window()
        self.task: asyncio.Task[None] | None = None
        self._is_abandoned = False

    # What grpc.aio.ServicerContext has, as far as our servicers ask.

    def time_remaining(self) -> float | None:
        """See gRPC."""
        return None if self._ends_s is None else max(0.0, self._ends_s - self._loop.time())

    def peer(self) -> str:
        """See gRPC: equal for the calls of one connection."""
        return self._link.peer

    def auth_context(self) -> Mapping[str, Sequence[bytes]]:
        """See gRPC: nobody shows a certificate."""
        return {}

    def invocation_metadata(self) -> Metadata:
        """See gRPC."""
        return self._metadata

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> NoReturn:
        """See gRPC."""
        self._status = (code, details, tuple(trailing_metadata))
        raise grpc.aio.AbortError

    async def write(self, message: object) -> None:
        """See gRPC."""
        if not await self.window.wait():
            raise asyncio.CancelledError
        data = self._serialize(message)
        self.window.sent(len(data))
        self._link.send((DATA, self._number, data, len(data)))

    # Inside.

    def abandon(self) -> None:
        """Nobody waits for it any longer."""
        self._is_abandoned = True
        self.window.close()
        if self.task is not None:
            self.task.cancel()

    async def serve(self, handler: grpc.RpcMethodHandler[Any, Any]) -> None:
        """Runs the handler and says how it ended."""
        self._serialize = handler.response_serializer or (lambda data: data)
        status: tuple[grpc.StatusCode, str, Metadata] | None = _OK
        try:
            await self._run(handler)
        except grpc.aio.AbortError:
            status = self._status
        except asyncio.CancelledError:
            status = (grpc.StatusCode.UNAVAILABLE, "the server is stopping", ())
        except Exception:
            log.exception("a simulated call failed")
            status = (grpc.StatusCode.UNKNOWN, "the handler raised", ())
        finally:
            if self._timer is not None:
                self._timer.cancel()
        if not self._is_abandoned and status is not None:
            self._link.send((END, self._number, *status, 0))

    async def _run(self, handler: grpc.RpcMethodHandler[Any, Any]) -> None:
        parse = handler.request_deserializer or (lambda data: data)
        requests: Any = self._requests(parse)
        async with contextlib.aclosing(requests):
            request = requests if handler.request_streaming else await anext(requests)
            behaviour = _behaviour(handler)
            if not handler.response_streaming:
                await self.write(await behaviour(request, self))
                return
            answers = behaviour(request, self)
            if not hasattr(answers, "__aiter__"):
                await answers  # it writes by the context
                return
            async with contextlib.aclosing(answers):
                async for answer in answers:
                    await self.write(answer)

    async def _requests(self, parse: Any) -> AsyncIterator[Any]:
        while (data := await self.intake.take()) is not None:
            taken = self.intake.room_made()
            if taken:
                self._link.send((ROOM, self._number, taken, 0))
            yield parse(data)


def _behaviour(handler: grpc.RpcMethodHandler[Any, Any]) -> Any:
    if handler.request_streaming:
        return handler.stream_stream if handler.response_streaming else handler.stream_unary
    return handler.unary_stream if handler.response_streaming else handler.unary_unary
