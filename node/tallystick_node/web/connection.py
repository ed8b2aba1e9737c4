"""One Yjs client on a WebSocket: what it says is merged, what others do it is told.

Rules of this file:
- The protocol has no acks: what a client sent is durable when this node would have acknowledged it, which it never
  hears. Durability is promised to Tallystick's own client alone.
- A close code from 4400 to 4499 tells a stock client not to come back; 4500 to 4599 to try again.
- A client drops a line that is silent for 30 s, so something is sent every `ALIVE_S`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from tallystick.errors import Denied, Invalid, NotFound, QuotaExceeded, Refused, TallystickError
from tallystick_node.web.messages import (
    BadMessageError,
    Kind,
    awareness_message,
    diff_message,
    read_awareness,
    read_message,
    state_vector_message,
    update_message,
)
from tallystick_node.web.rooms import Edited, Room

log: Final = logging.getLogger(__name__)

ALIVE_S: Final = 10.0
_REASON_BYTES: Final = 120  # a close frame has room for 123

_CLOSE_CODES: Final[tuple[tuple[type[TallystickError], int], ...]] = (
    (NotFound, 4404),
    (Denied, 4403),
    (QuotaExceeded, 4413),
    (Invalid, 4422),
    (Refused, 4409),
    (TallystickError, 4503),
)


def close_code(error: TallystickError) -> int:
    """What a stock client is told: 44xx, do not come back; 4503, try again."""
    return next(code for kind, code in _CLOSE_CODES if isinstance(error, kind))


async def serve_client(socket: ServerConnection, room: Room) -> None:
    """Until the client leaves, or breaks a rule. Closes the socket with a code that says which.

    Raises:
        TallystickError: the room refused, or is no more; the caller closes the socket with `close_code`.
    """
    tasks = [asyncio.create_task(until) for until in (_listen(socket, room), _tell(socket, room), _keep_alive(socket))]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    except ConnectionClosed:
        return
    except BadMessageError as error:
        await socket.close(4400, str(error)[:_REASON_BYTES])
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def refuse(socket: ServerConnection, error: TallystickError) -> None:
    """Closes the socket with what went wrong."""
    reason = f"{error.reason}: {error.message}".encode()[:_REASON_BYTES].decode(errors="ignore")
    await socket.close(close_code(error), reason)


async def _listen(socket: ServerConnection, room: Room) -> None:
    await socket.send(state_vector_message(await room.state_vector()))
    await socket.send(awareness_message(room.presences()))
    async for data in socket:
        if isinstance(data, str):
            raise BadMessageError("text, where bytes are spoken")
        message = read_message(data)
        match message.kind:
            case Kind.STATE_VECTOR:
                await socket.send(diff_message(await room.diff(message.payload)))
            case Kind.UPDATE:
                if not await room.merge(message.payload):  # it has more that we lack: let it send all of that
                    await socket.send(state_vector_message(await room.state_vector()))
            case Kind.AWARENESS:
                room.present(read_awareness(message.payload))
            case Kind.QUERY_AWARENESS:
                await socket.send(awareness_message(room.presences()))
            case Kind.OTHER:
                continue


async def _tell(socket: ServerConnection, room: Room) -> None:
    async for news in room.news():
        if isinstance(news, Edited):
            await socket.send(update_message(news.update))
        else:
            await socket.send(awareness_message(news.states))


async def _keep_alive(socket: ServerConnection) -> None:
    while True:
        await asyncio.sleep(ALIVE_S)
        await socket.send(awareness_message(()))
