"""The HTTP port: `/yjs/<namespace>/<context>` for Yjs clients, `/healthz` for who asks whether this node
serves, `/metrics` for Prometheus.

Rules of this file:
- A page of a browser is let in only from an origin that was named: a page from anywhere could else talk to this port.
- With TLS a client shows a certificate, as on the client port, and its common name is who it is.
"""

from __future__ import annotations

import http
import logging
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response
from websockets.typing import Origin

from tallystick.errors import TallystickError
from tallystick_node.config.readers import split_address
from tallystick_node.config.values import TLSConfig
from tallystick_node.contexts import limits
from tallystick_node.web.connection import refuse, serve_client
from tallystick_node.web.rooms import Rooms

log: Final = logging.getLogger(__name__)

CONNECTIONS: Final = 2000
"""Yjs clients at once; more are refused with 503."""

_MESSAGE_BYTES: Final = limits.UPDATE_BYTES + 1024
_ACTOR_CHARS: Final = 200
_PREFIX: Final = "/yjs/"


class WebServer:
    """Serves the HTTP port between `start` and `stop`.

    Args:
        metrics: what `/metrics` says.
        is_serving: what `/healthz` says: 200 or 503.
    """

    def __init__(
        self,
        rooms: Rooms,
        metrics: Callable[[], Awaitable[bytes]],
        is_serving: Callable[[], bool],
        origins: Sequence[str],
    ) -> None:
        self._rooms = rooms
        self._metrics = metrics
        self._is_serving = is_serving
        self._origins: list[Origin | None] = [None, *(Origin(origin) for origin in origins)]
        self._server: Server | None = None
        self.connections = 0

    async def start(self, address: str, tls: TLSConfig | None) -> None:
        """Listens on `host:port`."""
        host, port = split_address(address)
        self._server = await serve(
            self._client,
            host,
            port,
            ssl=None if tls is None else _ssl(tls),
            process_request=self._route,
            origins=self._origins,
            max_size=_MESSAGE_BYTES,
            compression=None,
            server_header=None,
            logger=_wire_log(),
        )

    async def stop(self) -> None:
        """Closes every connection with 1001, upon which clients come back, and takes no more."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _route(self, connection: ServerConnection, request: Request) -> Response | None:
        path = urlsplit(request.path).path
        if path == "/healthz":
            status = http.HTTPStatus.OK if self._is_serving() else http.HTTPStatus.SERVICE_UNAVAILABLE
            return connection.respond(status, f"{status.phrase}\n")
        if path == "/metrics":
            response = connection.respond(http.HTTPStatus.OK, (await self._metrics()).decode())
            del response.headers["Content-Type"]
            response.headers["Content-Type"] = CONTENT_TYPE_PLAIN_0_0_4
            return response
        if room_of(path) is None:
            return connection.respond(http.HTTPStatus.NOT_FOUND, "Not Found\n")
        if self.connections >= CONNECTIONS:
            return connection.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, "too many connections\n")
        return None

    async def _client(self, socket: ServerConnection) -> None:
        request = socket.request
        room_name = room_of(urlsplit(request.path).path) if request is not None else None
        if request is None or room_name is None:
            return
        self.connections += 1
        try:
            async with AsyncExitStack() as stack:
                actor = _actor(socket, request)
                room = await stack.enter_async_context(self._rooms.open(*room_name, actor, _peer(socket)))
                await serve_client(socket, room)
        except TallystickError as error:
            log.info("a Yjs client was refused", extra={"event": "web_refused", "reason": str(error.reason)})
            await refuse(socket, error)
        finally:
            self.connections -= 1


def room_of(path: str) -> tuple[str, str] | None:
    """Namespace and name of the context in a path; None: it names none.

    Example:
        >>> room_of("/yjs/demo/the%20plan")
        ('demo', 'the plan')
    """
    if not path.startswith(_PREFIX):
        return None
    namespace, slash, name = path.removeprefix(_PREFIX).partition("/")
    if not (namespace and slash and name):
        return None
    return unquote(namespace), unquote(name)


def _peer(socket: ServerConnection) -> str:
    address: object = socket.remote_address
    return f"web:{address[0]}" if isinstance(address, tuple) and address else "web:?"


def _actor(socket: ServerConnection, request: Request) -> str:
    """Who it is: by its certificate, else as it says in `?actor=`."""
    session = socket.transport.get_extra_info("ssl_object")
    if session is not None:
        for part in (session.getpeercert() or {}).get("subject", ()):
            for key, value in part:
                if key == "commonName":
                    return str(value)
    given = parse_qs(urlsplit(request.path).query).get("actor", ["web"])
    return given[0][:_ACTOR_CHARS]


def _wire_log() -> logging.Logger:
    """What the library says of each connection, but for what is worth a look at night."""
    wire_log = logging.getLogger(f"{__name__}.wire")
    wire_log.setLevel(logging.WARNING)
    return wire_log


def _ssl(tls: TLSConfig) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tls.cert, tls.key)
    context.load_verify_locations(tls.ca)
    context.verify_mode = ssl.CERT_REQUIRED
    return context
