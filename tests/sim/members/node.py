"""A node that reads, that may be of the cluster or not, and that may begin again with an empty disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tallystick.peer.v1.peer_pb2 import MemberChange
from tallystick_node.consensus.replica import Replica
from tests.sim.disk import ROOM_BYTES, SimFiles
from tests.sim.history import PromiseBroken
from tests.sim.members.history import MembersHistory
from tests.sim.members.machine import DigestingMachine
from tests.sim.network import Network
from tests.sim.node import SimNode
from tests.sim.world import World

_NOTHING: Final = -1


class MembersReplica(Replica[int]):
    """Notes when it begins to hand over.

    Attributes:
        began_handing_over: since it was looked at last.
    """

    began_handing_over = False

    def hand_over(self, to_node_id: str | None = None) -> None:
        self.began_handing_over = True
        super().hand_over(to_node_id)


class MembersNode(SimNode):
    """See the module.

    Attributes:
        wiped_count: how often it began anew.
        known_members_index: at least as new as the members that the journal of a node that is down may speak of.
    """

    replica_class = MembersReplica

    def __init__(
        self, name: str, names: Sequence[str], world: World, network: Network, history: MembersHistory
    ) -> None:
        super().__init__(name, names, world, network, history)
        self._promises = history
        self.machine = DigestingMachine(lambda entry: history.applied(name, entry))
        self._wanted_index = _NOTHING
        self.wiped_count = 0
        self.known_members_index = 0

    def start(self) -> None:
        self._wanted_index = _NOTHING
        super().start()

    def crash(self, *, loses_power: bool = True, tears: bool = False) -> None:
        self.known_members_index = max(self.known_members_index, self.members_index)
        super().crash(loses_power=loses_power, tears=tears)

    @property
    def members_index(self) -> int:
        """Of the newest members that its log speaks of, or may."""
        return self.replica.kernel._raft_log.members_index if self.is_up else self.known_members_index

    # What clients do.

    def propose_change(self, proposal_id: bytes, change: MemberChange) -> None:
        """Somebody asks this node for other members."""

        def propose() -> None:
            self.replica.propose_change(proposal_id, change)
            self._wake()

        if self.is_up:
            self._in_this_run(propose)()

    def read(self) -> None:
        """A client wants to read here, if none waits; what is acknowledged by now it must see."""

        def begin() -> None:
            self.replica.begin_read()
            self._wake()

        if self.is_up and self._wanted_index == _NOTHING:
            self._wanted_index = self._promises.acknowledged_index
            self._in_this_run(begin)()

    def end_read(self) -> None:
        """The reader waits no longer."""

        def end() -> None:
            self.replica.end_read()
            self._wanted_index = _NOTHING

        if self.is_up and self._wanted_index != _NOTHING:
            self._in_this_run(end)()

    def hand_over(self, to: str | None) -> None:
        """Whoever runs the cluster wants another leader."""

        def hand_over() -> None:
            self.replica.hand_over(to)
            self._wake()

        if self.is_up:
            self._in_this_run(hand_over)()

    # What goes wrong with it.

    def wipe(self) -> None:
        """It begins anew: with an empty disk, and with nothing on its way to it or from it."""
        if self.is_up:
            self.crash()
        self._run += 1
        self.wiped_count += 1
        self.disk = SimFiles(self._world.rng_for("disk", self.name, str(self.wiped_count)))
        self.disk.room_bytes = ROOM_BYTES
        self.machine = DigestingMachine(lambda entry: self._history.applied(self.name, entry))
        self._staged = None
        self.known_term = self.known_members_index = 0
        self._members = self._members.without(self.name)
        self._network.forget(self.name)
        self.start()

    # Inside.

    def _finish(self) -> None:
        super()._finish()
        if not self.is_up:
            return
        replica = self.replica
        if replica.take_read() is not None:
            wanted_index, self._wanted_index = self._wanted_index, _NOTHING
            self._promises.served(self.name, self.machine.applied_index, wanted_index)
        if replica.kernel.is_leader:
            self._promises.leads(self.name, replica.kernel.term)
        if replica._digests.odd:
            raise PromiseBroken(f"{self.name} finds {sorted(replica._digests.odd)} odd")
        if isinstance(replica, MembersReplica) and replica.began_handing_over:
            replica.began_handing_over = False
            self.strike()  # it may be replaced now, and as long as what it sent may be on its way
