"""The wires of a local cluster: who reaches whom, each wire a proxy that can be cut.

    clients ──> proxy ──> node a ──> proxy ──> node b ...

Rules of this file:
- A wire belongs to who speaks first on it: of two nodes each has its own wire to the other, and what a says to b
  passes on a's. Cutting a to b holds that whole wire and leaves b's to a alone.
- All clients together are one place, `CLIENTS`: one wire to each node. Cut towards a node, requests are lost; cut
  from it, answers are: the request happens, and who asked does not hear of it.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
from collections.abc import Collection, Iterator, Sequence
from itertools import permutations
from typing import Final

from tallystick.testing.local_proxy import Proxy

CLIENTS: Final = "clients"
"""In `cut` and `partition`: all clients of the cluster."""

_PORTS: Final = range(10_000, 20_000)  # below the ports that the kernel gives to outgoing connections
_PORTS_OF_A_PROCESS: Final = 500


class Links:
    """All wires of a cluster.

    Args:
        client_addresses: where each node listens to clients, by its id.
        peer_addresses: where each listens to nodes.
        proxied: False: no proxies; nothing can be cut.
        record: wires between nodes keep what passes through them.
    """

    def __init__(
        self,
        client_addresses: dict[str, str],
        peer_addresses: dict[str, str],
        ports: Iterator[str],
        *,
        proxied: bool = True,
        record: bool = False,
    ) -> None:
        self._client_addresses = client_addresses
        self._peer_addresses = peer_addresses
        self._places = (CLIENTS, *client_addresses)
        self._clients: dict[str, Proxy] = {}
        self._peers: dict[tuple[str, str], Proxy] = {}
        if proxied:
            self._clients = {node_id: Proxy(next(ports), address) for node_id, address in client_addresses.items()}
            self._peers = {
                (source, target): Proxy(next(ports), peer_addresses[target], record=record)
                for source, target in permutations(client_addresses, 2)
            }

    async def start(self) -> None:
        """Opens all wires."""
        for proxy in self._all():
            await proxy.start()

    async def stop(self) -> None:
        """Closes all wires."""
        for proxy in self._all():
            await proxy.stop()

    def endpoint(self, node_id: str) -> str:
        """Where clients reach a node."""
        link = self._clients.get(node_id)
        return link.listen if link is not None else self._client_addresses[node_id]

    def peer_endpoint(self, source: str, target: str) -> str:
        """Where a node reaches another; its own address, if it is the same."""
        link = self._peers.get((source, target))
        return link.listen if link is not None else self._peer_addresses[target]

    def client_link(self, node_id: str) -> Proxy:
        """The wire between clients and a node."""
        return self._clients[node_id]

    def cut(self, source: str, target: str) -> None:
        """What `source` says to `target` is held back from now on.

        Raises:
            ValueError: there is no such wire.
        """
        self._check(source, target)
        if source == target:
            raise ValueError(f"there is no wire from {source!r} to itself")
        if source == CLIENTS:
            self._clients[target].cut(back=False)
        elif target == CLIENTS:
            self._clients[source].cut(forth=False)
        else:
            self._peers[source, target].cut()

    def partition(self, groups: Sequence[Collection[str]]) -> None:
        """Cuts every wire between two groups, both ways. Nodes named nowhere are a group together.

        Raises:
            ValueError: an unknown name, or one named twice; nothing is cut then.
        """
        group_of: dict[str, int] = {}
        for number, group in enumerate(groups):
            if isinstance(group, str):
                raise ValueError(f"a group is a list of names, not {group!r}")  # noqa: TRY004 - one error for callers
            for name in group:
                self._check(name)
                if name in group_of:
                    raise ValueError(f"{name!r} is named twice")
                group_of[name] = number
        for source, target in permutations(self._places, 2):
            if CLIENTS in (source, target) and CLIENTS not in group_of:
                continue
            if group_of.get(source) != group_of.get(target):
                self.cut(source, target)

    def heal(self) -> None:
        """Mends all wires; what was held back arrives."""
        for proxy in self._all():
            proxy.heal()

    def recorded(self) -> bytes:
        """What passed between the nodes."""
        return b"".join(bytes(proxy.recorded) for proxy in self._peers.values())

    def _all(self) -> Iterator[Proxy]:
        yield from self._clients.values()
        yield from self._peers.values()

    def _check(self, *names: str) -> None:
        for name in names:
            if name not in self._places:
                raise ValueError(f"{name!r} is none of {', '.join(self._places)}")


def free_addresses() -> Iterator[str]:
    """Addresses on this machine that nobody listens on at the moment, each once.

    Processes that run tests side by side draw from parts of their own: a node that is down must find its port again.
    """
    first = os.getpid() * _PORTS_OF_A_PROCESS % len(_PORTS)
    for port in random.sample(_PORTS[first : first + _PORTS_OF_A_PROCESS], _PORTS_OF_A_PROCESS):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            yield f"127.0.0.1:{port}"
