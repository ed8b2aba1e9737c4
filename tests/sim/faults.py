"""What can go wrong: each kind of a script's line is a method here, and its arguments are the line's.

Rules of this file: a disk is damaged on a minority of the nodes only, for what a majority has lost is lost. A line that
would damage one more is a plain crash.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from tests.sim.disk import ROOM_BYTES
from tests.sim.network import Network
from tests.sim.node import SimNode
from tests.sim.running import QUICK_SYNC_S
from tests.sim.schemes import Schemes
from tests.sim.script import Fault
from tests.sim.world import World

KINDS: Final = (
    *("crash", "crash", "kill", "kill", "crash_leader", "crash_leader", "power_cut", "tear", "rot"),
    *("cut", "one_way", "isolate", "isolate", "split", "bridge", "flap", "flap", "drop", "straggle", "repeat"),
    *("falter", "falter", "falter", "rewind", "outage", "relapse", "delay", "slow_link"),
    *("slow_disk", "slow_disk", "stuck_disk", "full_disk", "pause"),
    *("machine_raises", "caller_raises", "crash_in_install"),
    *("heal", "heal", "heal", "heal", "heal"),
)
"""What a seed draws from; twice means twice as often."""

LONGEST_S: Final = 0.8
"""No fault strikes later than this after its line, and none of a node lasts longer."""


class Faults:
    """The faults of one simulation."""

    def __init__(self, world: World, network: Network, nodes: Mapping[str, SimNode]) -> None:
        self._world = world
        self._network = network
        self._nodes = nodes
        self._names = list(nodes)
        schemes = Schemes(world, network, nodes)
        self._strikes: dict[str, Callable[..., None]] = {
            "crash": self.crash,
            "kill": self.kill,
            "crash_leader": self.crash_leader,
            "tear": self.tear,
            "rot": self.rot,
            "cut": self.cut,
            "one_way": self._network.cut,
            "isolate": self.isolate,
            "split": self.split,
            "bridge": self.bridge,
            "drop": self.drop,
            "straggle": self.straggle,
            "repeat": self.repeat,
            "repeat_all": self.repeat_all,
            "falter": schemes.falter,
            "rewind": schemes.rewind,
            "outage": schemes.outage,
            "relapse": schemes.relapse,
            "delay": self.delay,
            "slow_link": self.slow_link,
            "slow_disk": self.slow_disk,
            "stuck_disk": self.stuck_disk,
            "full_disk": self.full_disk,
            "pause": self.pause,
            "machine_raises": self.machine_raises,
            "caller_raises": self.caller_raises,
            "crash_in_install": self.crash_in_install,
            "heal": self.heal,
        }

    def strike(self, fault: Fault) -> None:
        """Lets a line happen."""
        self._strikes[fault.kind](*fault.arguments)

    # Nodes.

    def crash(self, name: str, down_s: str) -> None:
        """A node loses its power for a while."""
        node = self._nodes[name]
        if node.is_up:
            node.crash()
            self._world.after(float(down_s), node.start)

    def kill(self, name: str, down_s: str) -> None:
        """Its process goes; what it wrote is there, synced or not."""
        node = self._nodes[name]
        if node.is_up:
            node.crash(loses_power=False)
            self._world.after(float(down_s), node.start)

    def crash_leader(self, down_s: str) -> None:
        """Every node that believes it leads loses its power."""
        for name in self._leaders():
            self.crash(name, down_s)

    def tear(self, name: str, down_s: str) -> None:
        """The power goes, and what was being written is torn: some sectors are missing, the last one is garbled."""
        node = self._nodes[name]
        if node.is_up:
            node.may_be_damaged = self._one_more_may_be_damaged()
            node.crash(tears=node.may_be_damaged)
            self._world.after(float(down_s), node.start)

    def rot(self, name: str, down_s: str) -> None:
        """While a node is down a bit of its journal changes."""
        node = self._nodes[name]
        self.crash(name, down_s)
        if not node.is_up and not node.is_damaged and self._one_more_may_be_damaged():
            node.may_be_damaged = True
            node.disk.rot()

    def pause(self, name: str, for_s: str) -> None:
        """Nothing of a node runs for a while; then all is late."""
        self._for_a_while(name, for_s, SimNode.pause, SimNode.resume)

    def machine_raises(self, name: str, when: str) -> None:
        """Its state machine raises what nobody expected, at the next entry."""
        self._nodes[name].machine.raises = when

    def caller_raises(self, name: str) -> None:
        """A caller fails on the verdict it is given."""
        self._nodes[name].caller_raises = True

    def crash_in_install(self, name: str) -> None:
        """It crashes in the middle of taking a peer's copy of the state, when it next does."""
        self._nodes[name].crashes_in_install = True

    # Disks.

    def slow_disk(self, name: str, longest_s: str) -> None:
        """A node's disk is slow, or quick again."""
        self._nodes[name].slow_disk(max(float(longest_s), QUICK_SYNC_S[1]))

    def stuck_disk(self, name: str, for_s: str) -> None:
        """A sync does not return for a while."""
        self._for_a_while(name, for_s, SimNode.stick, SimNode.unstick)

    def full_disk(self, name: str, for_s: str, room_bytes: str) -> None:
        """There is next to no room for a while."""
        self._nodes[name].fill_disk(int(room_bytes))
        self._world.after(float(for_s), lambda: self._nodes[name].fill_disk(ROOM_BYTES))

    # The network.

    def cut(self, one: str, other: str) -> None:
        """Two nodes do not hear each other."""
        self._network.cut(one, other)
        self._network.cut(other, one)

    def isolate(self, name: str) -> None:
        """A node is alone."""
        self.split(name)

    def split(self, *group: str) -> None:
        """A group and all others do not hear each other."""
        for one in group:
            for other in self._names:
                if other not in group:
                    self.cut(one, other)

    def bridge(self, middle: str, *group: str) -> None:
        """Likewise, but for one node that hears all, and that all hear."""
        for one in group:
            for other in self._names:
                if other != middle and other not in group:
                    self.cut(one, other)

    def drop(self, one: str, other: str, for_s: str) -> None:
        """A connection breaks, and is there again after a moment."""
        self._network.cut(one, other)
        self._world.after(float(for_s), lambda: self._network.restore(one, other))

    def straggle(self, one: str, other: str, for_s: str, late_s: str) -> None:
        """What is sent for a while comes late, in any order."""
        self._network.straggle(one, other, float(for_s), float(late_s))

    def repeat(self, one: str, other: str, for_s: str) -> None:
        """What is sent arrives twice."""
        self._network.repeat(one, other, float(for_s))

    def repeat_all(self, for_s: str) -> None:
        """Between all."""
        for one in self._names:
            for other in self._names:
                if one != other:
                    self.repeat(one, other, for_s)

    def delay(self, longest_s: str) -> None:
        """The network is slow, or quick again."""
        self._network.slow_all(float(longest_s))

    def slow_link(self, one: str, other: str, longest_s: str) -> None:
        """One direction is slow."""
        self._network.slow(one, other, float(longest_s))

    def heal(self) -> None:
        """The network is well."""
        self._network.heal()

    # Inside.

    def _leaders(self) -> list[str]:
        return [name for name, node in self._nodes.items() if node.is_up and node.replica.kernel.is_leader]

    def _for_a_while(
        self, name: str, for_s: str, begin: Callable[[SimNode], None], end: Callable[[SimNode], None]
    ) -> None:
        node = self._nodes[name]
        if node.is_up:
            begin(node)
            self._world.after(float(for_s), lambda: end(node))

    def _one_more_may_be_damaged(self) -> bool:
        damaged = sum(node.is_damaged or node.may_be_damaged for node in self._nodes.values())
        return damaged < (len(self._nodes) - 1) // 2
