"""A cluster of real processes on this machine, and what can go wrong with it.

    async with Cluster(folder) as cluster:
        leader = await cluster.wait_for_leader()
        async with cluster.connect("demo") as client:
            await client.agent("x").append(ops.set("/n", 1))
        cluster.kill(leader)
        await cluster.wait_for_leader(among=cluster.others(leader))
        await cluster.start(leader)

With `proxied=True` every link runs through a proxy: `cut(a, b)` holds back what a says to b, `isolate(a)` cuts a off
from all other nodes, `heal()` mends everything.

Rules of this file:
- Nothing outlives the `async with`: processes are killed, proxies closed. Data folders and logs stay in `folder`.
- A failure inside the `async with` carries the ends of the nodes' logs as a note.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import tallystick
from tallystick import Client, Consistency, NodeStatus, Role, TallystickError
from tests.cluster.harness_node import NodePlan, NodeProcess
from tests.cluster.harness_proxy import Proxy
from tests.cluster.harness_wait import eventually

START_S: Final = 30.0
"""Within which a cluster has a leader after its processes were started: the machine may be busy."""

_PORTS: Final = range(10_000, 32_000)  # below the ports that the kernel gives to outgoing connections
_STATUS_S: Final = 1.0


class Cluster:
    """See the module.

    Args:
        folder: where data folders (`<folder>/<node id>`, unless `data_folders` says otherwise) and logs go.
        flags: further flags of `tallystick serve`, the same for all nodes.
        proxied: all links through proxies, so that they can be cut.
        record: proxies between nodes keep what passes through them.
        certs: a folder made by `tallystick certs`: TLS everywhere.
    """

    def __init__(
        self,
        folder: Path,
        *,
        node_ids: Sequence[str] = ("a", "b", "c"),
        cluster_id: str = "test",
        flags: Sequence[str] = (),
        proxied: bool = False,
        record: bool = False,
        certs: Path | None = None,
        data_folders: Mapping[str, Path] | None = None,
    ) -> None:
        self.folder = folder
        self.node_ids = tuple(node_ids)
        ports = free_addresses()
        self._certs = certs
        client_addresses = {node_id: next(ports) for node_id in node_ids}
        peer_addresses = {node_id: next(ports) for node_id in node_ids}
        self._peer_links: dict[tuple[str, str], Proxy] = {}
        self._client_links: dict[str, Proxy] = {}
        if proxied:
            for node_id in node_ids:
                self._client_links[node_id] = Proxy(next(ports), client_addresses[node_id])
                for other in node_ids:
                    if other != node_id:
                        self._peer_links[node_id, other] = Proxy(next(ports), peer_addresses[other], record=record)
        self._endpoints = {
            node_id: self._client_links[node_id].listen if proxied else client_addresses[node_id]
            for node_id in node_ids
        }
        self.nodes = {
            node_id: NodeProcess(
                NodePlan(
                    node_id=node_id,
                    cluster_id=cluster_id,
                    data_folder=(data_folders or {}).get(node_id, folder / node_id),
                    log_file=folder / f"{node_id}.log",
                    client_address=client_addresses[node_id],
                    peer_address=peer_addresses[node_id],
                    members=tuple(self._member(node_id, other, peer_addresses[other]) for other in node_ids),
                    flags=(*flags, *self._tls_flags(node_id)),
                )
            )
            for node_id in node_ids
        }
        self._observer: Client | None = None

    # Its life.

    async def __aenter__(self) -> Self:
        try:
            for proxy in self._proxies():
                await proxy.start()
            for node in self.nodes.values():
                node.start()
            self._observer = self.connect("observer")
            await self.wait_for_leader(within_s=START_S)
        except BaseException as error:
            await self._close(error)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close(error)

    async def _close(self, error: BaseException | None) -> None:
        if error is not None:
            error.add_note(self.log_tails())
        for node in self.nodes.values():
            node.kill()
        if self._observer is not None:
            await self._observer.close()
        for proxy in self._proxies():
            await proxy.stop()

    # Clients.

    def endpoint(self, node_id: str) -> str:
        """Where clients reach this node."""
        return self._endpoints[node_id]

    def connect(
        self,
        namespace: str = "demo",
        *,
        nodes: Collection[str] | None = None,
        consistency: Consistency = Consistency.LINEARIZABLE,
        timeout_s: float = 20.0,
        actor: str = "",
        client_cert: str = "client",
    ) -> Client:
        """A client that knows all nodes, or these."""
        return tallystick.connect(
            [self._endpoints[node_id] for node_id in nodes or self.node_ids],
            namespace=namespace,
            tls=client_tls(self._certs, client_cert) if self._certs is not None else None,
            consistency=consistency,
            timeout_s=timeout_s,
            actor=actor,
        )

    # What it says.

    async def status(self, node_id: str) -> NodeStatus | None:
        """What a node says of itself; None if it does not answer."""
        assert self._observer is not None, "the cluster is not open"
        try:
            return await self._observer.status(self._endpoints[node_id], timeout_s=_STATUS_S)
        except TallystickError:
            return None

    async def statuses(self, among: Collection[str] | None = None) -> list[NodeStatus]:
        """Of all nodes that answer."""
        answers = await asyncio.gather(*(self.status(node_id) for node_id in among or self.node_ids))
        return [answer for answer in answers if answer is not None]

    async def wait_for_leader(self, *, among: Collection[str] | None = None, within_s: float = START_S) -> str:
        """The leader that a majority of all follows, looking at these nodes only (None: all)."""
        majority = len(self.node_ids) // 2 + 1

        async def look() -> str | None:
            answers = await self.statuses(among)
            leaders = [answer for answer in answers if answer.role is Role.LEADER]
            for leader in sorted(leaders, key=lambda answer: answer.term, reverse=True)[:1]:
                following = [a for a in answers if a.leader_id == leader.node_id and a.term == leader.term]
                if len(following) >= majority:
                    return leader.node_id
            return None

        return await eventually(look, within_s=within_s, what="a leader that a majority follows")

    async def wait_equal(self, *, within_s: float = START_S) -> NodeStatus:
        """Waits until all nodes have applied the same, and checks that it led to the same; one of their statuses."""

        async def look() -> NodeStatus | None:
            answers = await self.statuses()
            places = {(answer.applied_index, answer.commit_index) for answer in answers}
            if (
                len(answers) < len(self.node_ids)
                or len(places) > 1
                or answers[0].applied_index < answers[0].commit_index
            ):
                return None
            digests = {answer.state_digest for answer in answers}
            assert len(digests) == 1, f"nodes differ at {answers[0].applied_index}: {digests}"
            return answers[0]

        return await eventually(look, within_s=within_s, what="all nodes at one applied index")

    def others(self, *node_ids: str) -> tuple[str, ...]:
        """All nodes but these."""
        return tuple(node_id for node_id in self.node_ids if node_id not in node_ids)

    def log_tails(self) -> str:
        """The ends of all nodes' logs, for a failed test."""
        return "\n".join(f"--- log of node {node.node_id}\n{node.log_tail()}" for node in self.nodes.values())

    # Faults of nodes.

    async def start(self, *node_ids: str) -> None:
        """Starts nodes that do not run, and waits until they answer."""
        for node_id in node_ids:
            self.nodes[node_id].start()

        async def all_answer() -> bool:
            for node_id in node_ids:
                assert self.nodes[node_id].is_running, f"node {node_id} ended by itself"
            return len(await self.statuses(node_ids)) == len(node_ids)

        await eventually(all_answer, within_s=START_S, what=f"{', '.join(node_ids)} answer")

    async def stop(self, node_id: str) -> int:
        """SIGTERM; the exit code."""
        return await self.nodes[node_id].stop()

    def kill(self, *node_ids: str) -> None:
        """SIGKILL, all at once; gone when this returns."""
        for node_id in node_ids:
            self.nodes[node_id].pause()  # none goes on while another is killed
        for node_id in node_ids:
            self.nodes[node_id].kill()

    def pause(self, node_id: str) -> None:
        """Freezes a node."""
        self.nodes[node_id].pause()

    def resume(self, node_id: str) -> None:
        """Thaws it."""
        self.nodes[node_id].resume()

    # Faults of links.

    def cut(self, source: str, target: str) -> None:
        """What `source` says to `target` is held back from now on."""
        self._peer_links[source, target].cut()

    def isolate(self, node_id: str) -> None:
        """Cuts a node off from all others, both ways."""
        for source, target in self._peer_links:
            if node_id in (source, target):
                self.cut(source, target)

    def client_link(self, node_id: str) -> Proxy:
        """The wire between clients and a node."""
        return self._client_links[node_id]

    def heal(self) -> None:
        """Mends all links."""
        for proxy in self._proxies():
            proxy.heal()

    def recorded(self) -> bytes:
        """What passed between the nodes."""
        return b"".join(bytes(proxy.recorded) for proxy in self._peer_links.values())

    # Inside.

    def _proxies(self) -> Iterator[Proxy]:
        yield from self._client_links.values()
        yield from self._peer_links.values()

    def _member(self, seen_by: str, node_id: str, peer_address: str) -> str:
        link = self._peer_links.get((seen_by, node_id))
        return f"{node_id}={link.listen if link is not None else peer_address},{self._endpoints[node_id]}"

    def _tls_flags(self, node_id: str) -> list[str]:
        return tls_flags(self._certs, node_id) if self._certs is not None else []


def tls_flags(certs: Path, node_id: str) -> list[str]:
    """The flags of a node with certificates made by `tallystick certs`."""
    stem = certs / f"node-{node_id}"
    return [f"--tls-ca={certs / 'ca.pem'}", f"--tls-cert={stem}.pem", f"--tls-key={stem}-key.pem"]


def client_tls(certs: Path, name: str) -> tallystick.TLS:
    """A client's certificate made by `tallystick certs`."""
    return tallystick.TLS(certs / "ca.pem", certs / f"client-{name}.pem", certs / f"client-{name}-key.pem")


def free_addresses() -> Iterator[str]:
    """Addresses on this machine that nobody listens on at the moment, each once."""
    for port in random.sample(_PORTS, len(_PORTS)):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            yield f"127.0.0.1:{port}"
