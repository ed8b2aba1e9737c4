"""All outgoing links of a node: the `Transport` that consensus sends on.

Rules of this file:
- A peer has one link at a time: the next one begins when the last has ended, so that its receiver hears of the end
  first.
- A message for a node that is no member is dropped and counted: consensus may still have one for a node that was
  removed in the same step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from tallystick.log.v1 import log_pb2
from tallystick.peer.v1.peer_pb2 import RaftMessage
from tallystick_node.consensus.transport import Receiver
from tallystick_node.host import Host
from tallystick_node.peers.counters import LinkCounters
from tallystick_node.peers.identity import LocalNode
from tallystick_node.peers.link import PeerLink
from tallystick_node.peers.tls import PeerCredentials


class PeerLinks:
    """One link to each other member.

    Attributes:
        dropped: messages for nodes that are no members.

    Args:
        local: this node.
        members: peer endpoint (`host:port`) by node id; this node's own entry is passed over.
        credentials: none means that links run without TLS.
        receiver: hears of links that come and go, on the event loop.
        on_removed: called on the event loop with a peer's id each time that it says that this node is no longer a
            member; about once a second while it goes on saying so.
        on_members: called with the members that a peer knows, when it has accepted a link.
        host: what the links run on; None: this machine.
    """

    def __init__(
        self,
        local: LocalNode,
        members: Mapping[str, str],
        credentials: PeerCredentials | None,
        receiver: Receiver,
        *,
        on_removed: Callable[[str], None] | None = None,
        on_members: Callable[[log_pb2.Members], None] | None = None,
        host: Host | None = None,
    ) -> None:
        self._local = local
        self._credentials = credentials
        self._receiver = receiver
        self._on_removed = on_removed
        self._on_members = on_members
        self._host = host
        self._links: dict[str, PeerLink] = {}
        self._tasks: dict[asyncio.Task[None], PeerLink] = {}  # also of links that are ending
        self._group: asyncio.TaskGroup | None = None
        self.dropped = 0
        self.update(members)

    @property
    def connected(self) -> frozenset[str]:
        """The peers that have accepted our stream."""
        return frozenset(peer_id for peer_id, link in self._links.items() if link.is_connected)

    @property
    def removed_by(self) -> frozenset[str]:
        """The peers that, when last heard, said that this node is no longer a member."""
        return frozenset(peer_id for peer_id, link in self._links.items() if link.is_removed)

    @property
    def counters(self) -> Mapping[str, LinkCounters]:
        """What was counted, by peer."""
        return {peer_id: link.counters for peer_id, link in self._links.items()}

    def send(self, peer_id: str, message: RaftMessage) -> None:
        """Hand a message over. Never blocks; dropped while the link is down, or where there is no such member."""
        link = self._links.get(peer_id)
        if link is None:
            self.dropped += 1
        else:
            link.send(message)

    def update(self, members: Mapping[str, str]) -> None:
        """These are the members from now on, as given to the constructor.

        Links to others end, and the receiver hears of it, a little later; links to new ones begin; one whose endpoint
        changed is dialled anew.
        """
        wanted = {peer_id: endpoint for peer_id, endpoint in members.items() if peer_id != self._local.node_id}
        ended = {peer_id: link for peer_id, link in self._links.items() if wanted.get(peer_id) != link.endpoint}
        for peer_id, link in ended.items():
            del self._links[peer_id]
            for task, held in self._tasks.items():
                if held is link:
                    task.cancel()
        for peer_id, endpoint in wanted.items():
            if peer_id not in self._links:
                before = ended.get(peer_id)
                self._links[peer_id] = self._make(peer_id, endpoint, before.counters if before else None)
                self._begin(self._links[peer_id])

    async def run(self) -> None:
        """Hold all links until cancelled; then every stream is ended and every channel closed.

        What a receiver raises comes out here: nothing goes on after it.
        """
        try:
            async with asyncio.TaskGroup() as self._group:
                for link in self._links.values():
                    self._begin(link)
                await asyncio.get_running_loop().create_future()  # links come and go until we are cancelled
        finally:
            self._group = None

    def _make(self, peer_id: str, endpoint: str, counters: LinkCounters | None) -> PeerLink:
        return PeerLink(
            self._local,
            peer_id,
            endpoint,
            self._credentials,
            self._receiver,
            counters=counters,
            on_removed=self._on_removed,
            on_members=self._on_members,
            host=self._host,
        )

    def _begin(self, link: PeerLink) -> None:
        if self._group is None:
            return  # `run` will
        before = {task for task, held in self._tasks.items() if held.peer_id == link.peer_id}
        task = self._group.create_task(_hold(link, before), name=f"peer link to {link.peer_id}")
        self._tasks[task] = link
        task.add_done_callback(self._tasks.pop)


async def _hold(link: PeerLink, before: set[asyncio.Task[None]]) -> None:
    if before:
        await asyncio.wait(before)
    await link.run()
