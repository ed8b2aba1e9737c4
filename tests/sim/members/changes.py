"""What is asked of a cluster whose members change; the lines besides those of `tests.sim.faults`.

add d b         d, a spare or removed node, shall be a learner; b is asked. `leader` asks whoever believes it leads
promote d b     it shall be a voter
remove c b      it shall be no member any more; it runs on
hand_over d     whoever leads shall let d lead; without a name, whoever has most of the log
desert 0.05     whoever leads is cut off, and asked to remove all others, one each so many seconds
wipe            all that are no members begin anew with empty disks, if no log may say that they are
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from tallystick.peer.v1.peer_pb2 import MemberChange
from tallystick_node.consensus.members import Member
from tests.sim.faults import LONGEST_S, Faults
from tests.sim.members.history import MembersHistory
from tests.sim.members.node import MembersNode
from tests.sim.network import Network
from tests.sim.script import Fault, Script
from tests.sim.world import World

KINDS: Final = ("add", "add", "add", "promote", "promote", "promote", "remove", "remove", "hand_over", "wipe", "desert")
"""What a seed draws from."""
LEADER: Final = "leader"
_QUIET_S: Final = 0.5
_GIVE_UP_S: Final = (0.3, 2.0)
"""Whoever wants a change waits for so long."""


class Changes(Faults):
    """Faults, and what is asked meanwhile."""

    def __init__(
        self, world: World, network: Network, nodes: Mapping[str, MembersNode], history: MembersHistory
    ) -> None:
        super().__init__(world, network, nodes)
        self._cluster = nodes
        self._history = history
        self._rng = world.rng_for("changes")
        self._asked = 0
        self._strikes |= {
            "add": lambda name, at: self._ask(MemberChange.KIND_ADD, name, at),
            "promote": lambda name, at: self._ask(MemberChange.KIND_PROMOTE, name, at),
            "remove": lambda name, at: self._ask(MemberChange.KIND_REMOVE, name, at),
            "hand_over": self.hand_over,
            "wipe": self.wipe,
            "desert": self.desert,
        }

    def hand_over(self, to: str | None = None) -> None:
        """Whoever believes it leads lets another lead."""
        for name in self._leaders():
            if name != to:
                self._cluster[name].hand_over(to)

    def desert(self, gap_s: str) -> None:
        """A leader that nobody hears must not make itself a majority by removing those that it does not hear."""
        for leader in self._leaders():
            others = [name for name in self._cluster[leader].replica.members.node_ids if name != leader]
            self.isolate(leader)
            for place, other in enumerate(others):
                self._world.after(place * float(gap_s), partial(self._ask, MemberChange.KIND_REMOVE, other, leader))
        self._world.after(LONGEST_S, self._network.join)

    def wipe(self) -> None:
        """Removed nodes alone, and only if no log may say that they are members: a voter that forgets what it
        acknowledged is a lost disk, which no cluster of three survives for sure.

        All of them: one that was removed before another, and still runs, may take that other for a voter. It would be
        elected by it once that other has forgotten everything. See consensus/DESIGN.md, Limits.
        """
        decided, index = self._history.members, self._history.members_index
        gone = [node for name, node in self._cluster.items() if name not in decided.node_ids]
        members = [self._cluster[name] for name in decided.node_ids]
        is_known = all(node.machine.durable_index >= index >= node.members_index for node in members)
        if is_known and all(node.members_index <= index for node in gone):
            for node in gone:
                node.wipe()

    def _ask(self, kind: MemberChange.Kind.ValueType, name: str, at: str) -> None:
        for asked in self._leaders() if at == LEADER else [at]:
            self._ask_one(kind, name, self._cluster[asked])

    def _ask_one(self, kind: MemberChange.Kind.ValueType, name: str, node: MembersNode) -> None:
        self._asked += 1
        proposal_id = b"change" + self._asked.to_bytes(10, "big")
        member = Member(name)
        if kind == MemberChange.KIND_ADD:
            member = Member(name, peer_endpoint=str(self._asked))  # so that a log tells who wanted it
        change = MemberChange(kind=kind, member=member.to_proto())
        self._history.changes[proposal_id] = change
        node.propose_change(proposal_id, change)
        self._world.after(self._rng.uniform(*_GIVE_UP_S), lambda: node.give_up(proposal_id))


def draw(
    rng: random.Random, names: Sequence[str], kinds: Sequence[str], seconds: float, gap_s: tuple[float, float]
) -> Script:
    """Lines of these kinds for so many seconds."""
    script: list[Fault] = []
    at_s = _QUIET_S
    while kinds and at_s < seconds:
        script.append(_draw_one(rng, names, rng.choice(kinds), round(at_s, 4)))
        at_s += rng.uniform(*gap_s)
    return tuple(script)


def _draw_one(rng: random.Random, names: Sequence[str], kind: str, at_s: float) -> Fault:
    name = rng.choice(names)
    if kind == "wipe":
        return Fault(at_s, kind)
    if kind == "desert":
        return Fault(at_s, kind, (f"{rng.uniform(0.0, 0.1):.3f}",))
    if kind == "hand_over":
        return Fault(at_s, kind, (name,) if rng.random() < 0.5 else ())
    return Fault(at_s, kind, (name, LEADER if rng.random() < 0.5 else rng.choice(names)))
