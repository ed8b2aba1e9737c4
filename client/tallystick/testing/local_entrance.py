"""The one address at which all other nodes reach a node; who knocks decides on which wire it goes on.

Members have one endpoint each, the same for all, since it stands in the cluster's log; yet each pair of nodes is to
have a wire that can be cut alone. So the entrance looks up which node's process holds the other end of a connection.

Rules of this file: whoever is none of the nodes is sent away. Linux only: the kernel says in /proc who holds what.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tallystick.testing.local_proxy import Proxy

Owner = Callable[[int, int], str | None]
"""The node whose process holds the connection from a port to a port of this machine."""

_TABLES: Final = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_OPEN: Final = "01"  # the state of a connection, as the kernel numbers them


class Entrance:
    """Listens on `listen` between `start` and `stop`, and hands each connection to the wire of who opened it."""

    def __init__(self, listen: str, owner: Owner, wires: Mapping[str, Proxy]) -> None:
        self.listen: Final = listen
        self._owner = owner
        self._wires = wires
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listens from now on."""
        host, _, port = self.listen.rpartition(":")
        self._server = await asyncio.start_server(self._accept, host, int(port))

    def stop(self) -> None:
        """Takes no more connections; those that are open are the wires'."""
        if self._server is not None:
            self._server.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = int(self.listen.rpartition(":")[2])
        node_id = self._owner(int(writer.get_extra_info("peername")[1]), port)
        wire = self._wires.get(node_id) if node_id is not None else None
        if wire is None:
            writer.transport.abort()
        else:
            await wire.accept(reader, writer)


def owner_among(pids: Mapping[str, int], local_port: int, remote_port: int) -> str | None:
    """The node, of these and their processes, that holds the connection between these two ports; None: none of them."""
    inode = _inode(local_port, remote_port)
    if inode is None:
        return None
    held = f"socket:[{inode}]"
    return next((node_id for node_id, pid in pids.items() if _holds(pid, held)), None)


def _inode(local_port: int, remote_port: int) -> str | None:
    """Of the connection between two ports, if it is open at both ends: whoever gave up its attempt is not looked for.

    Under load attempts are given up faster than they are looked at, and there are thousands of rows: so the row is
    found by a pattern, not by reading each.
    """
    ends = rf"\S+:{local_port:04X} \S+:{remote_port:04X}"
    row = re.compile(rf"^ *\d+: {ends} {_OPEN} (?:\S+ +){{5}}(\d+) ", re.MULTILINE)
    for table in _TABLES:
        with contextlib.suppress(OSError):  # a machine without IPv6 has no table of it
            if found := row.search(table.read_text()):
                return found[1]
    return None


def _holds(pid: int, held: str) -> bool:
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)  # noqa: PTH208 - the names alone; there may be many
    except OSError:  # it has ended
        return False
    for name in names:
        with contextlib.suppress(OSError):  # closed meanwhile
            if os.readlink(f"{folder}/{name}") == held:  # noqa: PTH115 - no Path for each of many names
                return True
    return False
