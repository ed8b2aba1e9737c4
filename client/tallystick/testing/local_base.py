"""Nodes of one cluster as processes on this machine: up, asked, awaited, down. Faults are put on top of it.

Rules of this file:
- Nothing outlives the `async with`: processes are killed, proxies closed. Data folders and logs stay in `folder`.
- A failure inside the `async with` carries the ends of the nodes' logs as a note.
- Nodes are asked how they do at their own address, past all proxies: a test sees what the cut-off ones say.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import tallystick
from tallystick import TLS, Client, Consistency, NodeStatus, Role, TallystickError
from tallystick.schemas.known import SchemaKnowledge
from tallystick.testing.local_entrance import owner_among
from tallystick.testing.local_links import Links, free_addresses
from tallystick.testing.local_node import LocalClusterError, NodePlan, NodeProcess, check_installed
from tallystick.testing.local_wait import eventually

START_S: Final = 60.0
"""Within which a cluster has a leader after its processes were started: the machine may be busy."""
TIMEOUT_S: Final = 20.0
"""Of a client's calls, unless it says otherwise: long enough for an election on a busy machine."""

_STATUS_S: Final = 1.0


class LocalProcesses:
    """See the module.

    Args:
        folder: where data folders (`<folder>/<node id>`, unless `data_folders` says otherwise) and logs go.
        flags: further flags of `tallystick serve`, the same for all nodes.
        node_flags: further flags by node.
        proxied: all links through proxies, so that they can be cut.
        record: proxies between nodes keep what passes through them.
        tls: what clients present.
        environment: of the nodes, beside ours.
    """

    def __init__(
        self,
        folder: Path,
        *,
        node_ids: Sequence[str],
        cluster_id: str = "test",
        flags: Sequence[str] = (),
        node_flags: Mapping[str, Sequence[str]] | None = None,
        proxied: bool = True,
        record: bool = False,
        tls: TLS | None = None,
        data_folders: Mapping[str, Path] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self._tls = tls
        self._cluster_id = cluster_id
        self._flags = tuple(flags)
        self._environment = environment or {}
        self._ports = free_addresses()
        client_addresses = {node_id: next(self._ports) for node_id in node_ids}
        peer_addresses = {node_id: next(self._ports) for node_id in node_ids}
        self.links = Links(client_addresses, peer_addresses, self._ports, self._owner, proxied=proxied, record=record)
        self.nodes: dict[str, NodeProcess] = {}
        for node_id in node_ids:
            self._plan(
                node_id,
                (client_addresses[node_id], peer_addresses[node_id]),
                (*flags, *(node_flags or {}).get(node_id, ())),
                among=node_ids,
                data_folder=(data_folders or {}).get(node_id),
            )
        self._observer: Client | None = None

    def _plan(
        self,
        node_id: str,
        addresses: tuple[str, str],
        flags: Sequence[str],
        *,
        among: Collection[str],
        data_folder: Path | None = None,
    ) -> None:
        """A node and its command line; `addresses`: where it listens to clients and to nodes."""
        members = tuple(f"{name}={self.links.peer_endpoint(name)},{self.links.endpoint(name)}" for name in among)
        plan = NodePlan(
            node_id=node_id,
            cluster_id=self._cluster_id,
            data_folder=data_folder or self.folder / node_id,
            log_file=self.folder / f"{node_id}.log",
            client_address=addresses[0],
            peer_address=addresses[1],
            members=members,
            flags=tuple(flags),
            environment=self._environment,
        )
        self.nodes[node_id] = NodeProcess(plan)

    @property
    def node_ids(self) -> tuple[str, ...]:
        """The names of the nodes, running or not."""
        return tuple(self.nodes)

    # Its life.

    async def __aenter__(self) -> Self:
        check_installed()
        try:
            await self.links.start()
            for node in self.nodes.values():
                node.start()
            self._observer = tallystick.connect(
                [node.plan.client_address for node in self.nodes.values()], namespace="observer", tls=self._tls
            )
            await self._until_started()
        except BaseException as error:
            await self._close(error)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close(error)

    async def _until_started(self) -> None:
        async def look() -> str | None:
            for node in self.nodes.values():
                self._check_runs(node)
            return await self.leader()

        await eventually(look, within_s=START_S, what="the nodes have started and elected a leader")

    async def _close(self, error: BaseException | None) -> None:
        if error is not None:
            error.add_note(self.log_tails())
        try:
            for node in self.nodes.values():
                node.kill()
        finally:
            if self._observer is not None:
                await self._observer.close()
            await self.links.stop()

    # Clients.

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Where clients reach the nodes, in the order of `node_ids`: what `tallystick.connect` takes."""
        return tuple(self.links.endpoint(node_id) for node_id in self.node_ids)

    def endpoint(self, node_id: str) -> str:
        """Where clients reach this node."""
        return self.links.endpoint(node_id)

    def peer_endpoint(self, node_id: str) -> str:
        """Where the other nodes reach this one: with `endpoint`, what `client.members.add` wants to know."""
        return self.links.peer_endpoint(node_id)

    def connect(
        self,
        namespace: str = "demo",
        *,
        nodes: Collection[str] | None = None,
        consistency: Consistency = Consistency.LINEARIZABLE,
        timeout_s: float = TIMEOUT_S,
        actor: str = "",
        schemas: Iterable[SchemaKnowledge] = (),
    ) -> Client:
        """A client that knows all nodes, or these to begin with: it learns of the leader from whoever answers."""
        return tallystick.connect(
            [self.endpoint(node_id) for node_id in nodes or self.node_ids],
            namespace=namespace,
            tls=self._tls,
            consistency=consistency,
            timeout_s=timeout_s,
            actor=actor,
            schemas=schemas,
        )

    # What it says.

    async def status(self, node_id: str) -> NodeStatus | None:
        """What a node says of itself; None if it does not answer."""
        if self._observer is None:
            raise LocalClusterError("the cluster is not open: use it in `async with`")
        try:
            return await self._observer.status(self.nodes[node_id].plan.client_address, timeout_s=_STATUS_S)
        except TallystickError:
            return None

    async def statuses(self, among: Collection[str] | None = None) -> list[NodeStatus]:
        """Of all nodes that answer, or of these."""
        answers = await asyncio.gather(*(self.status(node_id) for node_id in among or self.node_ids))
        return [answer for answer in answers if answer is not None]

    async def leader(self, *, among: Collection[str] | None = None) -> str | None:
        """The leader that a majority of the voters follows, looking at these nodes only (None: all), or None."""
        answers = await self.statuses(among)
        leaders = [answer for answer in answers if answer.role is Role.LEADER]
        for leader in sorted(leaders, key=lambda answer: answer.term, reverse=True)[:1]:
            voters = {member.node_id for member in leader.members if not member.is_learner}
            following = {a.node_id for a in answers if a.leader_id == leader.node_id and a.term == leader.term}
            if 2 * len(voters & following) > len(voters):
                return leader.node_id
        return None

    async def wait_for_leader(self, *, among: Collection[str] | None = None, within_s: float = START_S) -> str:
        """`leader`, as soon as there is one.

        Raises:
            AssertionError: there was none within the time.
        """
        return await eventually(
            lambda: self.leader(among=among), within_s=within_s, what="a leader that a majority follows"
        )

    async def wait_equal(self, *, among: Collection[str] | None = None, within_s: float = START_S) -> NodeStatus:
        """Waits until all nodes, or these, have applied the same, and checks that it led to the same; one's status.

        Raises:
            AssertionError: they did not within the time, or their states differ.
        """

        async def look() -> NodeStatus | None:
            answers = await self.statuses(among)
            places = {(answer.applied_index, answer.commit_index) for answer in answers}
            if (
                len(answers) < len(among or self.node_ids)
                or len(places) > 1
                or answers[0].applied_index < answers[0].commit_index
            ):
                return None
            digests = {answer.state_digest for answer in answers}
            if len(digests) != 1:
                raise AssertionError(f"nodes differ at {answers[0].applied_index}: {digests}")
            return answers[0]

        return await eventually(look, within_s=within_s, what="all nodes at one applied index")

    def others(self, *node_ids: str) -> tuple[str, ...]:
        """All nodes but these."""
        return tuple(node_id for node_id in self.node_ids if node_id not in node_ids)

    def log_tails(self) -> str:
        """The ends of all nodes' logs, for a failed test."""
        return "\n".join(f"--- log of node {node.node_id}\n{node.log_tail()}" for node in self.nodes.values())

    # Up and down.

    async def start(self, *node_ids: str) -> None:
        """Starts nodes that do not run, and waits until they answer.

        Raises:
            LocalClusterError: one runs already, or ended by itself.
            AssertionError: they did not answer within `START_S`.
        """
        for node_id in node_ids:
            self.nodes[node_id].start()

        async def all_answer() -> bool:
            for node_id in node_ids:
                self._check_runs(self.nodes[node_id])
            return len(await self.statuses(node_ids)) == len(node_ids)

        await eventually(all_answer, within_s=START_S, what=f"{', '.join(node_ids)} answer")

    async def stop(self, node_id: str) -> int:
        """SIGTERM; the exit code.

        Raises:
            subprocess.TimeoutExpired: it did not end.
        """
        return await self.nodes[node_id].stop()

    # More and fewer.

    async def add_node(self, node_id: str, *, flags: Sequence[str] = ()) -> None:
        """Starts a further node with an empty folder, which waits to be added: `tallystick serve --join`.

        It answers when this returns. It becomes a member by `client.members.add(node_id,
        client_endpoint=cluster.endpoint(node_id), peer_endpoint=cluster.peer_endpoint(node_id))`.

        Raises:
            ValueError: there is a node of this name.
            LocalClusterError: it ended by itself.
            AssertionError: it did not answer within `START_S`.
        """
        if node_id in self.nodes:
            raise ValueError(f"there is a node {node_id!r}")
        addresses = (next(self._ports), next(self._ports))
        await self.links.add(node_id, *addresses)
        self._plan(node_id, addresses, (*self._flags, *flags, "--join"), among=(*self.nodes, node_id))
        await self.start(node_id)

    async def remove_node(self, node_id: str) -> None:
        """Kills a node and forgets it: its folder is gone, its wires are closed. `client.members.remove` comes before.

        Raises:
            ValueError: there is no node of this name.
        """
        if node_id not in self.nodes:
            raise ValueError(f"{node_id!r} is none of {', '.join(self.node_ids)}")
        node = self.nodes.pop(node_id)
        node.kill()
        await self.links.remove(node_id)
        await asyncio.to_thread(shutil.rmtree, node.plan.data_folder, ignore_errors=True)

    # Inside.

    def _owner(self, local_port: int, remote_port: int) -> str | None:
        pids = {node_id: node.pid for node_id, node in self.nodes.items() if node.is_running}
        return owner_among(pids, local_port, remote_port)

    @staticmethod
    def _check_runs(node: NodeProcess) -> None:
        if not node.is_running:
            raise LocalClusterError(
                f"node {node.node_id} ended by itself with exit code {node.exit_code}:\n{node.log_tail()}"
            )
