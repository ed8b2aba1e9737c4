"""The wires of a local cluster: who reaches whom, each wire a proxy that can be cut.

    clients ──> proxy ──> node a ──> entrance of b ──> proxy of a to b ──> node b ...

Rules of this file:
- A wire belongs to who speaks first on it: of two nodes each has its own wire to the other, and what a says to b
  passes on a's. Cutting a to b holds that whole wire and leaves b's to a alone.
- All clients together are one place, `CLIENTS`: one wire to each node. Cut towards a node, requests are lost; cut
  from it, answers are: the request happens, and who asked does not hear of it.
- Each node has one address for all other nodes, its entrance: the cluster's log names it to all of them alike.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import permutations
from typing import Final

from tallystick.testing.local_entrance import Entrance, Owner
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
        ports: addresses for wires.
        owner: which node holds a connection.
        proxied: False: no proxies; nothing can be cut.
        record: wires between nodes keep what passes through them.
    """

    def __init__(
        self,
        client_addresses: Mapping[str, str],
        peer_addresses: Mapping[str, str],
        ports: Iterator[str],
        owner: Owner,
        *,
        proxied: bool = True,
        record: bool = False,
    ) -> None:
        self._client_addresses: dict[str, str] = {}
        self._peer_addresses: dict[str, str] = {}
        self._ports = ports
        self._owner = owner
        self._proxied = proxied
        self._record = record
        self._clients: dict[str, Proxy] = {}
        self._entrances: dict[str, Entrance] = {}
        self._peers: dict[tuple[str, str], Proxy] = {}
        self._to: dict[str, dict[str, Proxy]] = {}
        for node_id, address in client_addresses.items():
            self._lay(node_id, address, peer_addresses[node_id])

    async def start(self) -> None:
        """Opens all wires."""
        for proxy in self._clients.values():
            await proxy.start()
        for entrance in self._entrances.values():
            await entrance.start()

    async def stop(self) -> None:
        """Closes all wires."""
        for entrance in self._entrances.values():
            entrance.stop()
        for proxy in self._all():
            await proxy.stop()

    async def add(self, node_id: str, client_address: str, peer_address: str) -> None:
        """Lays and opens the wires of a further node; none of them is cut."""
        self._lay(node_id, client_address, peer_address)
        if self._proxied:
            await self._clients[node_id].start()
            await self._entrances[node_id].start()

    async def remove(self, node_id: str) -> None:
        """Closes a node's wires and forgets them."""
        del self._client_addresses[node_id], self._peer_addresses[node_id]
        if not self._proxied:
            return
        self._entrances.pop(node_id).stop()
        gone = [self._clients.pop(node_id), *self._to.pop(node_id).values()]
        gone += [wires.pop(node_id) for wires in self._to.values()]
        for pair in [pair for pair in self._peers if node_id in pair]:
            del self._peers[pair]
        for proxy in gone:
            await proxy.stop()

    def _lay(self, node_id: str, client_address: str, peer_address: str) -> None:
        others = tuple(self._client_addresses)
        self._client_addresses[node_id] = client_address
        self._peer_addresses[node_id] = peer_address
        if not self._proxied:
            return
        self._clients[node_id] = Proxy(next(self._ports), client_address)
        self._to[node_id] = {}
        self._entrances[node_id] = Entrance(next(self._ports), self._owner, self._to[node_id])
        for other in others:
            self._lay_between(other, node_id)
            self._lay_between(node_id, other)

    def _lay_between(self, source: str, target: str) -> None:
        wire = Proxy("", self._peer_addresses[target], record=self._record)
        self._peers[source, target] = self._to[target][source] = wire

    @property
    def _places(self) -> tuple[str, ...]:
        return (CLIENTS, *self._client_addresses)

    def endpoint(self, node_id: str) -> str:
        """Where clients reach a node."""
        link = self._clients.get(node_id)
        return link.listen if link is not None else self._client_addresses[node_id]

    def peer_endpoint(self, node_id: str) -> str:
        """Where the other nodes reach a node."""
        entrance = self._entrances.get(node_id)
        return entrance.listen if entrance is not None else self._peer_addresses[node_id]

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
        if _is_free(port):
            yield f"127.0.0.1:{port}"


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
