"""A TCP proxy that can be cut: the wire between two processes, in the hands of a test.

Rules of this file:
- `cut` is silent: nothing is forwarded and nothing is closed, as when a cable is pulled. What was sent meanwhile waits
  in the kernel and arrives after `heal`, late, as TCP would send it again. It may hold one way only.
- `reset` closes all connections and refuses new ones until `heal`.
- What is recorded is bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

_CHUNK_BYTES: Final = 64 * 1024
_RECORDED_BYTES_MAX: Final = 64 * 1024 * 1024


class Proxy:
    """Listens on `listen`, forwards to `target` (both `host:port`) between `start` and `stop`.

    With `listen` empty it does not: connections are handed to it (`accept`).

    Attributes:
        recorded: all bytes that passed in either direction, if `record` was asked for.
    """

    def __init__(self, listen: str, target: str, *, record: bool = False) -> None:
        self.listen: Final = listen
        self.recorded = bytearray()
        self._target = target
        self._record = record
        self._forth = asyncio.Event()
        self._back = asyncio.Event()
        self._refusing = False
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.heal()

    async def start(self) -> None:
        """Listens from now on."""
        if not self.listen:
            return
        host, _, port = self.listen.rpartition(":")
        self._server = await asyncio.start_server(self.accept, host, int(port))

    async def stop(self) -> None:
        """Closes everything."""
        if self._server is not None:
            self._server.close()
        self._refusing = True
        await self._drop_connections()

    def cut(self, *, forth: bool = True, back: bool = True) -> None:
        """Forward nothing, close nothing: of what goes to the target (`forth`), of what comes from it (`back`)."""
        if forth:
            self._forth.clear()
        if back:
            self._back.clear()

    async def reset(self) -> None:
        """Close what is open, refuse what comes."""
        self._refusing = True
        await self._drop_connections()

    def heal(self) -> None:
        """Forward again."""
        self._refusing = False
        self._forth.set()
        self._back.set()

    async def _drop_connections(self) -> None:
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves a connection until it ends; in a task of its own."""
        task = asyncio.current_task()
        if task is None or self._refusing:
            writer.transport.abort()
            return
        self._connections.add(task)
        try:
            # A cancelled handler would be reported by asyncio's server; this one just ends.
            with contextlib.suppress(asyncio.CancelledError):
                await self._serve(reader, writer)
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self._target.rpartition(":")
        try:
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            return
        pumps = [
            asyncio.create_task(self._pump(reader, far_writer, self._forth)),
            asyncio.create_task(self._pump(far_reader, writer, self._back)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            far_writer.transport.abort()  # before any await: the wait below may be cancelled
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event) -> None:
        with contextlib.suppress(OSError):
            while True:
                await gate.wait()
                data = await reader.read(_CHUNK_BYTES)
                if not data:
                    return
                await gate.wait()
                if self._record and len(self.recorded) < _RECORDED_BYTES_MAX:
                    self.recorded += data
                writer.write(data)
                await writer.drain()
