"""`LocalCluster`: a cluster of real nodes on this machine, and what can go wrong with it.

    async with LocalCluster(nodes=3) as cluster:
        async with cluster.connect(namespace="demo") as client:
            await client.agent("x").append(ops.set("/n", 1))
            leader = await cluster.wait_for_leader()
            await cluster.partition([leader], cluster.others(leader))
            await client.agent("x").append(ops.set("/n", 2))       # the others have elected another
            await cluster.heal()

`LocalCluster(nodes=3).sync()` is the same for code without an event loop; `tallystick.testing.pytest_plugin` has
fixtures of both. Each node is a `tallystick serve` of its own, with its own data folder and ports; every wire, between
nodes and from clients to nodes, runs through a proxy that can be cut.

Rules of this file:
- What a method says has happened when it returns: a killed node is gone, a frozen one stands, a started one answers.
- A fault of several nodes or wires hits all of them at once, or none (an unknown name is refused first).
- Nothing is left at the end: processes, ports, and the folder unless one was given. If this process is killed, the
  kernel kills the nodes; a folder in the temporary directory is then all that remains.
"""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from tallystick import Client, Consistency
from tallystick.testing.local_base import TIMEOUT_S, LocalProcesses
from tallystick.testing.local_links import CLIENTS
from tallystick.testing.local_node import LocalClusterError
from tallystick.testing.local_place import Beside
from tallystick.testing.local_wait import eventually

if TYPE_CHECKING:
    from tallystick.testing.sync_cluster import SyncLocalCluster

NODES_MAX: Final = 9

_NAMES: Final = "abcdefghi"
_PAUSE_S: Final = 5.0


class LocalCluster(LocalProcesses):
    """See the module. Used as `async with`, once.

    Args:
        nodes: how many (they are called a, b, c, ...), or their names.
        folder: where data and logs go; it stays. None: a temporary one, gone at the end.
        flags: further flags of `tallystick serve`, the same for all nodes.

    Raises:
        ValueError: no nodes, more than `NODES_MAX`, or two of one name.
        LocalClusterError: (when entered) the extra [node] is not installed, or a node does not start.
    """

    def __init__(
        self, nodes: int | Sequence[str] = 3, *, folder: Path | None = None, flags: Sequence[str] = ()
    ) -> None:
        count = nodes if isinstance(nodes, int) else len(nodes)
        if not 1 <= count <= NODES_MAX:
            raise ValueError(f"a local cluster has 1 to {NODES_MAX} nodes, not {count}")
        node_ids = tuple(_NAMES[:count] if isinstance(nodes, int) else nodes)
        if len({*node_ids, CLIENTS}) <= count:
            raise ValueError(f"names of nodes differ, and none is {CLIENTS!r}: {', '.join(node_ids)}")
        self._is_temporary = folder is None
        self._was_entered = False
        super().__init__(
            folder or Path(tempfile.gettempdir()) / f"tallystick-{uuid.uuid4().hex}",
            node_ids=node_ids,
            cluster_id="local",
            flags=flags,
        )

    async def __aenter__(self) -> Self:
        if self._was_entered:
            raise LocalClusterError("this cluster was used before: make another")
        self._was_entered = True
        # A temporary folder that is there already is somebody else's.
        self.folder.mkdir(mode=0o700, parents=not self._is_temporary, exist_ok=not self._is_temporary)
        try:
            return await super().__aenter__()
        except BaseException:
            self._remove_folder()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await super().__aexit__(kind, error, trace)
        finally:
            self._remove_folder()

    def sync(self) -> SyncLocalCluster:
        """The same cluster for code without an event loop; used as `with`, instead of this one."""
        from tallystick.testing.sync_cluster import SyncLocalCluster

        return SyncLocalCluster(self)

    def connect_beside(
        self, node_id: str, namespace: str = "demo", *, timeout_s: float = TIMEOUT_S, actor: str = ""
    ) -> Client:
        """A client on the machine of this node: it reaches no other, so a partition has it on the node's side.

        Raises:
            ValueError: an unknown name.
        """
        (known,) = self._known([node_id])
        return Client(
            [self.endpoint(known)],
            namespace=namespace,
            tls=self._tls,
            consistency=Consistency.LINEARIZABLE,
            timeout_s=timeout_s,
            actor=actor,
            outside=Beside(self.endpoint(known)),
        )

    # Faults of nodes.

    async def kill(self, *node_ids: str) -> None:
        """SIGKILL, all at once: they are gone, their disks stay."""
        nodes = [self.nodes[node_id] for node_id in self._known(node_ids)]
        for node in nodes:
            node.pause()  # none goes on while another is killed
        for node in nodes:
            node.kill()

    async def pause(self, *node_ids: str) -> None:
        """Freezes nodes (SIGSTOP), as a long pause of a virtual machine does: connections stay open, nothing answers.

        Raises:
            LocalClusterError: one does not run.
        """
        nodes = [self.nodes[node_id] for node_id in self._known(node_ids)]
        for node in nodes:
            self._check_runs(node)
        for node in nodes:
            node.pause()

        async def all_stand() -> bool:
            return all(node.is_paused for node in nodes)

        await eventually(all_stand, within_s=_PAUSE_S, what=f"{', '.join(node_ids)} stand")

    async def resume(self, *node_ids: str) -> None:
        """Thaws nodes; those that were not frozen do not mind."""
        for node_id in self._known(node_ids):
            self.nodes[node_id].resume()

    async def stop(self, node_id: str) -> int:
        """Asks a node to end (SIGTERM), frozen or not; its exit code, 0 if all went well.

        Raises:
            subprocess.TimeoutExpired: it did not end.
        """
        self._known([node_id])
        self.nodes[node_id].resume()
        return await super().stop(node_id)

    async def start(self, *node_ids: str) -> None:
        """Starts nodes that were killed or stopped, with the data that they had, and waits until they answer.

        Raises:
            LocalClusterError: one runs already, or ended by itself.
            AssertionError: they did not answer within `START_S`.
        """
        await super().start(*self._known(node_ids))

    async def restart(self, *node_ids: str) -> None:
        """Stops those of these nodes that run, one after the other, and starts all; they answer when this returns.

        Raises:
            LocalClusterError: one ended by itself.
            AssertionError: they did not answer within `START_S`.
        """
        for node_id in self._known(node_ids):
            if self.nodes[node_id].is_running:
                await self.stop(node_id)
        await self.start(*node_ids)

    async def add_node(self, node_id: str, *, flags: Sequence[str] = ()) -> None:
        """Starts a further node with an empty folder, which waits to be added: `tallystick serve --join`.

        It answers when this returns, and its wires are whole. It becomes a member by `client.members.add(node_id,
        client_endpoint=cluster.endpoint(node_id), peer_endpoint=cluster.peer_endpoint(node_id))`.

        Raises:
            ValueError: a bad name, one that is taken, or `NODES_MAX` nodes are there.
            LocalClusterError: it ended by itself.
            AssertionError: it did not answer within `START_S`.
        """
        if node_id == CLIENTS or len(self.nodes) >= NODES_MAX:
            raise ValueError(f"at most {NODES_MAX} nodes, none of them {CLIENTS!r}")
        await super().add_node(node_id, flags=flags)

    # Faults of the network.

    async def partition(self, *groups: Collection[str]) -> None:
        """Cuts every wire between two groups, both ways; within a group nothing changes, and older cuts stay.

        Nodes that are named nowhere are a group together: `partition(["a"])` cuts a off from all others. Clients reach
        every node, unless "clients" is in a group too: then they reach only the nodes of that group.

        Raises:
            ValueError: an unknown name, or one named twice.
        """
        self.links.partition(groups)

    async def cut(self, source: str, target: str) -> None:
        """One way: what `source` says to `target` is held back, and so are the answers to just that.

        "clients" is all clients: cut towards a node, requests do not arrive; cut from it, answers do not, though what
        was asked happens.

        Raises:
            ValueError: an unknown name.
        """
        self.links.cut(source, target)

    async def heal(self) -> None:
        """Mends all wires. What was held back arrives, late, as TCP would send it again."""
        self.links.heal()

    def _known(self, node_ids: Collection[str]) -> Collection[str]:
        for node_id in node_ids:
            if node_id not in self.nodes:
                raise ValueError(f"{node_id!r} is none of {', '.join(self.node_ids)}")
        return node_ids

    def _remove_folder(self) -> None:
        if self._is_temporary:
            shutil.rmtree(self.folder, ignore_errors=True)  # a failed test should say why, not this
