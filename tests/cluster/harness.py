"""The public kit's processes, as our own tests drive them: on a folder of theirs, with TLS, with what passed recorded.

    async with Cluster(folder) as cluster:
        leader = await cluster.wait_for_leader()
        async with cluster.connect("demo") as client:
            await client.agent("x").append(ops.set("/n", 1))
        cluster.kill(leader)
        await cluster.wait_for_leader(among=cluster.others(leader))
        await cluster.start(leader)

Tests that share a cluster each `begin` on it: all is well again, and they have a namespace of their own.

With `proxied=True` every link runs through a proxy: `cut(a, b)` holds back what a says to b, `isolate(a)` cuts a off
from all other nodes, `heal()` mends everything. All else is `tallystick.testing.local_base`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

import tallystick
from tallystick import Client, Consistency
from tallystick.schemas import SchemaKnowledge
from tallystick.testing.local_base import TIMEOUT_S, LocalProcesses
from tallystick.testing.local_proxy import Proxy


class Cluster(LocalProcesses):
    """See the module.

    Args:
        folder: where data folders (`<folder>/<node id>`, unless `data_folders` says otherwise) and logs go.
        flags: further flags of `tallystick serve`, the same for all nodes.
        node_flags: further flags by node.
        contexts: without them the nodes have no worker, and start faster.
        proxied: all links through proxies, so that they can be cut.
        record: proxies between nodes keep what passes through them.
        certs: a folder made by `tallystick certs`: TLS everywhere.
        environment: of the nodes, beside ours.
    """

    def __init__(
        self,
        folder: Path,
        *,
        node_ids: Sequence[str] = ("a", "b", "c"),
        cluster_id: str = "test",
        flags: Sequence[str] = (),
        node_flags: Mapping[str, Sequence[str]] | None = None,
        contexts: bool = True,
        proxied: bool = False,
        record: bool = False,
        certs: Path | None = None,
        data_folders: Mapping[str, Path] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._certs = certs
        self._begun = 0
        super().__init__(
            folder,
            node_ids=node_ids,
            cluster_id=cluster_id,
            flags=flags if contexts else (*flags, "--no-contexts"),
            node_flags={
                node_id: [*_tls_flags(certs, node_id), *(node_flags or {}).get(node_id, ())] for node_id in node_ids
            },
            proxied=proxied,
            record=record,
            tls=client_tls(certs, "client") if certs is not None else None,
            data_folders=data_folders,
            environment=environment,
        )

    @property
    def namespace(self) -> str:
        """That of the test which has begun last."""
        return f"demo-{self._begun}" if self._begun else "demo"

    async def begin(self) -> Self:
        """The cluster for the next test, whatever the former one left: all links are mended, all nodes run and are
        equal, and nobody has written to the namespace."""
        self.heal()
        for node in self.nodes.values():
            node.resume()
        up = {status.node_id for status in await self.statuses()}
        down = self.others(*up)
        if down:
            self.kill(*down)  # one that does not answer may be ending
            await self.start(*down)
        await self.wait_for_leader()
        await self.wait_equal()
        self._begun += 1
        return self

    def connect(
        self,
        namespace: str | None = None,
        *,
        nodes: Collection[str] | None = None,
        consistency: Consistency = Consistency.LINEARIZABLE,
        timeout_s: float = TIMEOUT_S,
        actor: str = "",
        schemas: Iterable[SchemaKnowledge] = (),
        client_cert: str = "client",
    ) -> Client:
        """A client of the test's namespace that knows all nodes, or these; with TLS, of this name."""
        return tallystick.connect(
            [self.endpoint(node_id) for node_id in nodes or self.node_ids],
            namespace=namespace or self.namespace,
            tls=client_tls(self._certs, client_cert) if self._certs is not None else None,
            consistency=consistency,
            timeout_s=timeout_s,
            actor=actor,
            schemas=schemas,
        )

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

    def cut(self, source: str, target: str) -> None:
        """What `source` says to `target` is held back from now on."""
        self.links.cut(source, target)

    def isolate(self, node_id: str) -> None:
        """Cuts a node off from all others, both ways."""
        self.links.partition([[node_id]])

    def client_link(self, node_id: str) -> Proxy:
        """The wire between clients and a node."""
        return self.links.client_link(node_id)

    def heal(self) -> None:
        """Mends all links."""
        self.links.heal()

    def recorded(self) -> bytes:
        """What passed between the nodes."""
        return self.links.recorded()


def client_tls(certs: Path, name: str) -> tallystick.TLS:
    """A client's certificate made by `tallystick certs`."""
    return tallystick.TLS(certs / "ca.pem", certs / f"client-{name}.pem", certs / f"client-{name}-key.pem")


def _tls_flags(certs: Path | None, node_id: str) -> list[str]:
    """The flags of a node with certificates made by `tallystick certs`; none without."""
    if certs is None:
        return []
    stem = certs / f"node-{node_id}"
    return [f"--tls-ca={certs / 'ca.pem'}", f"--tls-cert={stem}.pem", f"--tls-key={stem}-key.pem"]
