"""The worker's end of the wire to its node: requests in batches, answers.

Rules of this file:
- It blocks: the worker has nothing else to do.
- A batch is what is there, and never waits for more; it is bounded by `BATCH_REQUESTS` and `BATCH_BYTES`.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Final

from tallystick.errors import Reason
from tallystick.v1.state_pb2 import Error
from tallystick.worker.v1.worker_pb2 import Request, Response
from tallystick_node.contexts.worker.frames import Frames, FrameTooLarge, encode
from tallystick_node.contexts.worker.limits import BATCH_BYTES, BATCH_REQUESTS

_READ_BYTES: Final = 256 * 1024
_WRITE_BYTES: Final = 256 * 1024


class Pipe:
    """See the module."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._connection.settimeout(None)
        self._frames = Frames()

    def read(self) -> list[Request]:
        """The next batch, in order; empty when the node has gone.

        Raises:
            FrameTooLarge: the other end is no node.
        """
        while not self._frames.has_next:
            data = self._receive(wait=True)
            if not data:
                return []
            self._frames.feed(data)
        while self._frames.buffered_bytes < BATCH_BYTES and (data := self._receive(wait=False)):
            self._frames.feed(data)
        return self._take()

    def write(self, responses: Iterable[Response]) -> None:
        """Sends answers, in order.

        Raises:
            OSError: the node has gone.
        """
        waiting = bytearray()
        for response in responses:
            waiting += _encode(response)
            if len(waiting) >= _WRITE_BYTES:
                self._connection.sendall(waiting)
                waiting.clear()
        if waiting:
            self._connection.sendall(waiting)

    def _receive(self, *, wait: bool) -> bytes:
        """What is there; empty: nothing is, or nothing ever will be, which the next one that waits finds out."""
        try:
            return self._connection.recv(_READ_BYTES, 0 if wait else socket.MSG_DONTWAIT)
        except BlockingIOError:
            return b""
        except ConnectionResetError:
            return b""

    def _take(self) -> list[Request]:
        batch: list[Request] = []
        size_bytes = 0
        while len(batch) < BATCH_REQUESTS and size_bytes < BATCH_BYTES and (data := self._frames.take()) is not None:
            batch.append(Request.FromString(data))
            size_bytes += len(data)
        return batch


def _encode(response: Response) -> bytes:
    try:
        return encode(response)
    except FrameTooLarge as error:
        sorry = Error(reason=Reason.TOO_LARGE, message=f"the answer is {error}: ask for less")
        return encode(Response(id=response.id, error=sorry))
