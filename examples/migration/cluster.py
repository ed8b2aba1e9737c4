"""Three nodes on this machine, each a `tallystick serve` of its own, that can be killed and started again."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import tallystick
from examples.migration.processes import Child, Children

_NAMES: Final = "abc"
_PORTS: Final = range(26_000, 32_000)
"""Below the ports that the kernel hands out: a killed node must find its own again."""
_PAUSE_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Node:
    """A node: where it keeps its data, where clients and other nodes find it."""

    name: str
    folder: Path
    endpoint: str
    peer_endpoint: str


class Cluster:
    """The nodes and their processes; whoever owns `children` ends them."""

    def __init__(self, folder: Path, children: Children) -> None:
        ports = free_ports()
        self.nodes = tuple(
            Node(name, folder / name, f"127.0.0.1:{next(ports)}", f"127.0.0.1:{next(ports)}") for name in _NAMES
        )
        self._children = children
        self._running: dict[str, Child] = {}

    @property
    def endpoints(self) -> str:
        """Of all nodes, separated by commas."""
        return ",".join(node.endpoint for node in self.nodes)

    async def start(self) -> None:
        """Starts all nodes."""
        for node in self.nodes:
            await self.start_node(node)

    async def start_node(self, node: Node) -> None:
        """Starts a node, on the data that it left."""
        members = [f"--member={other.name}={other.peer_endpoint},{other.endpoint}" for other in self.nodes]
        command = [
            sys.executable, "-m", "tallystick_node.cli", "serve", f"--exit-with-parent={os.getpid()}",
            "--cluster-id=example", f"--node-id={node.name}", f"--data-folder={node.folder / 'data'}",
            f"--client-address={node.endpoint}", f"--peer-address={node.peer_endpoint}", *members,
        ]  # fmt: skip
        log = node.folder / "node.log"
        self._running[node.name] = await self._children.start(f"node {node.name}", command, log)

    async def kill(self, node: Node) -> None:
        """SIGKILL: no goodbye, nothing flushed. Returns when it is gone."""
        child = self._running[node.name]
        child.signal(signal.SIGKILL)
        await asyncio.shield(child.exited)

    async def leader(self, client: tallystick.Client) -> Node:
        """Who leads; waits until the nodes agree on one, without an end of its own."""
        while True:
            answers = [answer.status for answer in await client.statuses() if answer.status is not None]
            leaders = {answer.leader_id for answer in answers}
            if len(answers) > len(self.nodes) // 2 and len(leaders) == 1:
                found = [node for node in self.nodes if node.name in leaders]
                if found:
                    return found[0]
            await asyncio.sleep(_PAUSE_S)


def free_ports() -> Iterator[int]:
    """Ports of 127.0.0.1 that nobody uses, each once, in no order."""
    for port in random.sample(_PORTS, len(_PORTS)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:  # in use: the next one
                continue
        yield port
