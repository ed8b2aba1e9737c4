"""What can go wrong with a simulated cluster: each fault is a method that happens at once.

Rules of this file:
- An unknown name is refused before anything happens.
- A fault that asks nothing of anybody is not `async`: it has happened when the method returns.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import permutations
from pathlib import Path

from tallystick_node.sim import decay
from tallystick_node.sim.host import QUICK_SYNC_S
from tallystick_node.sim.network import CLIENTS, Network
from tallystick_node.sim.node import SimNode
from tallystick_node.sim.trace import Trace


class Faults:
    """The faults of one cluster.

    Attributes:
        nodes: the nodes by name.
        network: what is between them.
    """

    nodes: dict[str, SimNode]
    network: Network
    trace: Trace

    # Of processes.

    def kill(self, *node_ids: str) -> None:
        """SIGKILL, all at once: they are gone, their disks stay, with all that was written."""
        for node in self._known(node_ids):
            node.kill()

    def power_cut(self, *node_ids: str) -> None:
        """The power of these goes, all at once: what was not synced is lost, and nobody is told."""
        for node in self._known(node_ids):
            node.kill(power=True)

    def pause(self, *node_ids: str) -> None:
        """Freezes nodes: connections stay open, nothing answers."""
        for node in self._known(node_ids):
            node.pause()

    def resume(self, *node_ids: str, clock_stood: bool = False) -> None:
        """Thaws nodes; those that were not frozen do not mind.

        Args:
            clock_stood: their monotonic clocks did not see the time pass, as on a suspended machine.
        """
        for node in self._known(node_ids):
            node.resume(clock_stood=clock_stood)

    # Of the network.

    def partition(self, *groups: Collection[str]) -> None:
        """Cuts every wire between two groups, both ways; within a group nothing changes, and older cuts stay.

        Nodes that are named nowhere are a group together: `partition(["a"])` cuts a off from all others. Clients reach
        every node, unless "clients" is in a group too: then they reach only the nodes of that group.

        Raises:
            ValueError: an unknown name, or one named twice.
        """
        group_of: dict[str, int] = {}
        for number, group in enumerate(groups):
            if isinstance(group, str):
                raise ValueError(f"a group is a list of names, not {group!r}")  # noqa: TRY004 - one error for callers
            for name in self._places(group):
                if name in group_of:
                    raise ValueError(f"{name!r} is named twice")
                group_of[name] = number
        self.trace.add("partition " + "|".join(",".join(group) for group in groups))
        for source, target in permutations((*self.nodes, CLIENTS), 2):
            if CLIENTS in (source, target) and CLIENTS not in group_of:
                continue
            if group_of.get(source) != group_of.get(target):
                self.network.cut(source, target)

    def cut(self, source: str, target: str) -> None:
        """One way: what `source` says does not reach `target`. "clients" is all clients.

        Raises:
            ValueError: an unknown name.
        """
        self._places((source, target))
        self.trace.add(f"cut {source}>{target}")
        self.network.cut(source, target)

    def mend(self, source: str, target: str) -> None:
        """Ends a cut of one way; what was held back arrives."""
        self._places((source, target))
        self.trace.add(f"mend {source}>{target}")
        self.network.restore(source, target)

    def drop(self, one: str, other: str) -> None:
        """Breaks every connection between two places; they connect again, and what was on its way is lost."""
        self._places((one, other))
        self.trace.add(f"drop {one}-{other}")
        self.network.drop(one, other)

    def delay(self, source: str, target: str, most_s: float, least_s: float = 0.0) -> None:
        """Messages this way take a while, each its own; those of different connections overtake each other."""
        self._places((source, target))
        self.trace.add(f"delay {source}>{target} {most_s:g}")
        self.network.delay_s[source, target] = (least_s, most_s)

    def heal(self) -> None:
        """Mends all wires and ends all delays. What was held back arrives, late, as TCP would send it again."""
        self.trace.add("heal")
        self.network.heal()

    # Of disks.

    def slow_disk(self, node_id: str, most_s: float) -> None:
        """Each sync takes up to this long."""
        (node,) = self._known([node_id])
        self.trace.add(f"slow disk {node_id} {most_s:g}")
        node.machine.sync_s = (QUICK_SYNC_S[0], max(most_s, QUICK_SYNC_S[1]))

    def stick_disk(self, node_id: str) -> None:
        """No sync returns, until `heal_disk` or the end of the process."""
        (node,) = self._known([node_id])
        self.trace.add(f"stuck disk {node_id}")
        node.machine.stick()

    def fill_disk(self, node_id: str, room_bytes: int = 0) -> None:
        """The disk has this much room left."""
        (node,) = self._known([node_id])
        self.trace.add(f"full disk {node_id} {room_bytes}")
        node.machine.files.room_bytes = room_bytes

    def heal_disk(self, node_id: str) -> None:
        """The disk is quick, works, and has room."""
        (node,) = self._known([node_id])
        self.trace.add(f"heal disk {node_id}")
        node.machine.sync_s = QUICK_SYNC_S
        node.machine.unstick()
        node.machine.files.refill()

    def rot(self, node_id: str) -> bool:
        """Flips a bit of the journal, at rest; whether there was any. The node that finds it must stop."""
        (node,) = self._known([node_id])
        where = node.machine.files.rot()
        self.trace.add(f"rot {node_id} {where}")
        node.machine.is_rotten = node.machine.is_rotten or bool(where)
        return bool(where)

    def rot_state(self, node_id: str) -> bool:
        """Flips a bit of the database of a node that is down; whether there was any. It has to fetch a peer's.

        Raises:
            ValueError: the node runs.
        """
        (node,) = self._known([node_id])
        if node.is_up:
            raise ValueError(f"node {node_id} runs: its database may be read at any time")
        where = node.rot_state()
        self.trace.add(f"rot state {node_id} {where}")
        return where >= 0

    # Of documents.

    def kill_worker(self, node_id: str) -> None:
        """The worker that holds a node's documents is killed; the node goes on, and starts another."""
        (node,) = self._known([node_id])
        self.trace.add(f"kill worker {node_id}")
        if node.worker is not None:
            node.worker.kill()

    def stall_worker(self, node_id: str) -> None:
        """It stands, until `wake_worker` or until its node has enough of it."""
        (node,) = self._known([node_id])
        self.trace.add(f"stall worker {node_id}")
        if node.worker is not None:
            node.worker.stands = True

    def wake_worker(self, node_id: str) -> None:
        """It goes on."""
        (node,) = self._known([node_id])
        self.trace.add(f"wake worker {node_id}")
        if node.worker is not None:
            node.worker.stands = False

    def rot_documents(self, node_id: str) -> bool:
        """Flips a bit of the documents of a node that is down; whether there were any. It has to fetch its peers'.

        Raises:
            ValueError: the node runs; likewise those below.
        """
        (node,) = self._known([node_id])
        is_done = self._decay(node_id, "rot", lambda folder: bool(decay.rot(folder, node.machine.rng)))
        node.machine.are_documents_rotten = node.machine.are_documents_rotten or is_done
        return is_done

    def keep_documents(self, node_id: str) -> bool:
        """Copies the documents of a node that is down; whether there were any."""
        return self._decay(node_id, "keep", decay.keep)

    def bring_back_documents(self, node_id: str) -> bool:
        """Puts the copy that was kept in their place: an old disk; whether there was one."""
        return self._decay(node_id, "bring back", decay.bring_back)

    def lose_documents(self, node_id: str) -> bool:
        """Removes the documents of a node that is down; whether there were any."""
        return self._decay(node_id, "lose", decay.lose)

    def _decay(self, node_id: str, what: str, happen: Callable[[Path], bool]) -> bool:
        (node,) = self._known([node_id])
        if node.is_up:
            raise ValueError(f"node {node_id} runs: its documents are in use")
        is_done = happen(node.documents_folder)
        self.trace.add(f"{what} documents {node_id} {is_done}")
        if is_done and what != "keep":
            node.machine.has_lost_documents = True
        return is_done

    # Of clocks.

    def jump_clock(self, node_id: str, offset_s: float) -> None:
        """The wall clock is off by so much from now on, forth or back."""
        (node,) = self._known([node_id])
        self.trace.add(f"jump {node_id} {offset_s:g}")
        node.machine.wall_offset_s = offset_s

    # Inside.

    def _known(self, node_ids: Collection[str]) -> Sequence[SimNode]:
        for node_id in node_ids:
            if node_id not in self.nodes:
                raise ValueError(f"{node_id!r} is none of {', '.join(self.nodes)}")
        return [self.nodes[node_id] for node_id in node_ids]

    def _places(self, names: Collection[str]) -> Collection[str]:
        for name in names:
            if name not in self.nodes and name != CLIENTS:
                raise ValueError(f"{name!r} is none of {', '.join((*self.nodes, CLIENTS))}")
        return names
