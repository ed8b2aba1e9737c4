"""`LocalCluster` for code without an event loop.

    with LocalCluster(nodes=3).sync() as cluster, cluster.connect(namespace="demo") as client:
        client.agent("x").append(ops.set("/n", 1))
        cluster.kill("a")
        cluster.wait_for_leader()

Rules of this file:
- Every method is the one of the same name of `LocalCluster`, run on a thread that lives as long as the cluster; what
  that one raises is raised here.
- It may be used by several threads; its clients are blocking ones with threads of their own.
"""

from __future__ import annotations

from collections.abc import Collection, Coroutine, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

import tallystick
from tallystick import Consistency, NodeStatus
from tallystick._portal import Portal
from tallystick.schemas.known import SchemaKnowledge
from tallystick.testing.local_base import START_S, TIMEOUT_S
from tallystick.testing.local_node import LocalClusterError

if TYPE_CHECKING:
    from tallystick.testing.local_cluster import LocalCluster

T = TypeVar("T")


class SyncLocalCluster:
    """See the module. Made by `LocalCluster.sync`; used as `with`, once."""

    def __init__(self, inner: LocalCluster) -> None:
        self._inner = inner
        self._portal: Portal | None = None

    def __enter__(self) -> Self:
        if self._portal is not None:
            raise LocalClusterError("this cluster was used before: make another")
        self._portal = Portal()
        try:
            self._run(self._inner.__aenter__())
        except BaseException:
            self._portal.close(_nothing)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._portal is None:
            return
        try:
            self._run(self._inner.__aexit__(kind, error, trace))
        finally:
            self._portal.close(_nothing)

    # Clients, and what the cluster says.

    @property
    def folder(self) -> Path:
        """Where data and logs are."""
        return self._inner.folder

    @property
    def node_ids(self) -> tuple[str, ...]:
        """The names of the nodes."""
        return self._inner.node_ids

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Where clients reach the nodes, in the order of `node_ids`: what `tallystick.sync.connect` takes."""
        return self._inner.endpoints

    def endpoint(self, node_id: str) -> str:
        """Where clients reach this node."""
        return self._inner.endpoint(node_id)

    def peer_endpoint(self, node_id: str) -> str:
        """Where the other nodes reach this one."""
        return self._inner.peer_endpoint(node_id)

    def connect(
        self,
        namespace: str = "demo",
        *,
        nodes: Collection[str] | None = None,
        consistency: Consistency = Consistency.LINEARIZABLE,
        timeout_s: float = TIMEOUT_S,
        actor: str = "",
        schemas: Iterable[SchemaKnowledge] = (),
    ) -> tallystick.sync.SyncClient:
        """A blocking client that knows all nodes, or these to begin with."""
        return tallystick.sync.connect(
            [self.endpoint(node_id) for node_id in nodes or self.node_ids],
            namespace=namespace,
            consistency=consistency,
            timeout_s=timeout_s,
            actor=actor,
            schemas=schemas,
        )

    def connect_beside(
        self, node_id: str, namespace: str = "demo", *, timeout_s: float = TIMEOUT_S, actor: str = ""
    ) -> tallystick.sync.SyncClient:
        """A blocking client on the machine of this node: it reaches no other.

        Raises:
            ValueError: an unknown name.
        """
        inner = self._inner.connect_beside(node_id, namespace, timeout_s=timeout_s, actor=actor)
        return tallystick.sync.SyncClient(Portal(), inner)

    def status(self, node_id: str) -> NodeStatus | None:
        """What a node says of itself; None if it does not answer."""
        return self._run(self._inner.status(node_id))

    def statuses(self, among: Collection[str] | None = None) -> list[NodeStatus]:
        """Of all nodes that answer, or of these."""
        return self._run(self._inner.statuses(among))

    def leader(self, *, among: Collection[str] | None = None) -> str | None:
        """The leader that a majority of the voters follows, looking at these nodes only; None if there is none."""
        return self._run(self._inner.leader(among=among))

    def wait_for_leader(self, *, among: Collection[str] | None = None, within_s: float = START_S) -> str:
        """`leader`, as soon as there is one; AssertionError if not within the time."""
        return self._run(self._inner.wait_for_leader(among=among, within_s=within_s))

    def wait_equal(self, *, among: Collection[str] | None = None, within_s: float = START_S) -> NodeStatus:
        """Waits until all nodes, or these, have applied the same, and checks that it led to the same; one's status."""
        return self._run(self._inner.wait_equal(among=among, within_s=within_s))

    def others(self, *node_ids: str) -> tuple[str, ...]:
        """All nodes but these."""
        return self._inner.others(*node_ids)

    def log_tails(self) -> str:
        """The ends of all nodes' logs, for a failed test."""
        return self._inner.log_tails()

    # Faults.

    def kill(self, *node_ids: str) -> None:
        """SIGKILL, all at once: they are gone, their disks stay."""
        self._run(self._inner.kill(*node_ids))

    def pause(self, *node_ids: str) -> None:
        """Freezes nodes (SIGSTOP)."""
        self._run(self._inner.pause(*node_ids))

    def resume(self, *node_ids: str) -> None:
        """Thaws nodes."""
        self._run(self._inner.resume(*node_ids))

    def stop(self, node_id: str) -> int:
        """Asks a node to end (SIGTERM); its exit code."""
        return self._run(self._inner.stop(node_id))

    def start(self, *node_ids: str) -> None:
        """Starts nodes that were killed or stopped, and waits until they answer."""
        self._run(self._inner.start(*node_ids))

    def restart(self, *node_ids: str) -> None:
        """Stops those that run and starts all; they answer when this returns."""
        self._run(self._inner.restart(*node_ids))

    def add_node(self, node_id: str, *, flags: Sequence[str] = ()) -> None:
        """Starts a further node, which waits to be added; see `LocalCluster.add_node`."""
        self._run(self._inner.add_node(node_id, flags=flags))

    def remove_node(self, node_id: str) -> None:
        """Kills a node and forgets it: its folder is gone, its wires are closed."""
        self._run(self._inner.remove_node(node_id))

    def partition(self, *groups: Collection[str]) -> None:
        """Cuts every wire between two groups, both ways; see `LocalCluster.partition`."""
        self._run(self._inner.partition(*groups))

    def cut(self, source: str, target: str) -> None:
        """One way: what `source` says to `target` is held back; see `LocalCluster.cut`."""
        self._run(self._inner.cut(source, target))

    def heal(self) -> None:
        """Mends all wires; what was held back arrives."""
        self._run(self._inner.heal())

    def _run(self, coroutine: Coroutine[object, None, T]) -> T:
        if self._portal is None:
            coroutine.close()
            raise LocalClusterError("the cluster is not open: use it in `with`")
        return self._portal.run(coroutine)


async def _nothing() -> None:
    """All was closed before."""
