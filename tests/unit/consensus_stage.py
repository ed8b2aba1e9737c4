"""The stage of the golden scripts of consensus: see test_consensus_scripts.py for their form.

Three nodes, and a spare one, on the simulation's clock, network and disk, without any chance: a message takes 1 ms, a
sync 1 ms, and where pysyncobj draws an election timeout, `a` draws the shortest, `d` the longest.

Commands:
    start, spare d                 all three begin; the spare one does
    step SECONDS                   time passes
    propose NODE NAME, fill NODE COUNT      one proposal, or so many of which nobody hears
    read NODE                      a client wants to read
    add | promote | remove NODE AT          AT is asked for other members
    hand_over NODE [TO]            a node is asked to let another lead
    isolate NODE, cut ONE OTHER, heal       the network; `deaf ONE OTHER`: the first no longer reaches the other
    crash NODE, restart NODE
    keep_little                    before `start`: journals wait for nobody
    log, extent                    each node's entries as index.term, `|` behind what is decided; or the first and last

What is shown: who changes its role, term, leader or members and when, what callers are told, who wants and takes a
copy of the state.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

from tallystick.peer.v1.peer_pb2 import MemberChange
from tallystick_node.consensus.intake import Verdict
from tallystick_node.consensus.members import Member, Members
from tallystick_node.consensus.proposals import Applied, Refused
from tallystick_node.consensus.replica import Replica
from tallystick_node.storage.journal import Journal
from tests.sim.members.history import MembersHistory
from tests.sim.members.node import MembersNode
from tests.sim.network import Network
from tests.sim.world import World

NAMES: Final = "abc"
SPARE: Final = "d"
BEGIN_S: Final = 1000.0


class _Certain(random.Random):
    """Draws the same each time."""

    def __init__(self, value: float) -> None:
        super().__init__(1)
        self._value = value

    def random(self) -> float:
        return self._value


class _ScriptNode(MembersNode):
    """A node without chance."""

    def _make_replica(self, journal: Journal) -> Replica[int]:
        self._rng = _Certain(0.0)
        self._sync_s = (0.001, 0.001)
        rng = _Certain(min(0.9, (NAMES + SPARE).index(self.name) * 0.4))
        clock = self._world.clock
        return self.replica_class(
            self.name, self._members, journal, self.machine, tuning=self.tuning, clock=clock, rng=rng
        )


class _Told(MembersHistory):
    """Writes down what callers are told."""

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__(first_members=Members.of(Member(name) for name in NAMES))
        self._write = write
        self.names: dict[bytes, str] = {}

    def told(self, node: str, proposal_id: bytes, verdict: Verdict[int]) -> None:
        super().told(node, proposal_id, verdict)
        name = self.names.get(proposal_id)
        if name is None:
            return
        match verdict:
            case Applied(result=index):
                self._write(f"{node} tells: {name} is at {index}")
            case Refused(reason=reason):
                self._write(f"{node} tells: {name} is refused, {reason}")
            case _:
                self._write(f"{node} tells: {name} is undecided")

    def served(self, name: str, applied_index: int, wanted_index: int) -> None:
        super().served(name, applied_index, wanted_index)
        self._write(f"{name} reads at {applied_index}")


class Stage:
    """Runs commands and writes down what comes of them."""

    def __init__(self) -> None:
        self._world = World(1)
        self._network = Network(self._world)
        self._network._delay_s = (0.001, 0.001)
        self._history = _Told(self._write)
        self._nodes = {
            name: _ScriptNode(name, NAMES, self._world, self._network, self._history) for name in NAMES + SPARE
        }
        for node in self._nodes.values():
            node.peers = self._nodes
        self._shown = {name: ["is down", "", f"has members {' '.join(NAMES)}", ""] for name in self._nodes}
        self._commands: dict[str, Callable[..., None]] = {
            "start": self._start,
            "spare": lambda name: self._nodes[name].start(),
            "step": self._step,
            "propose": self._propose,
            "fill": self._fill,
            "read": lambda name: self._nodes[name].read(),
            "add": partial(self._change, MemberChange.KIND_ADD),
            "promote": partial(self._change, MemberChange.KIND_PROMOTE),
            "remove": partial(self._change, MemberChange.KIND_REMOVE),
            "hand_over": lambda name, to=None: self._nodes[name].hand_over(to),
            "isolate": self._isolate,
            "cut": self._cut,
            "deaf": self._network.cut,
            "heal": self._network.join,
            "crash": lambda name: self._nodes[name].crash(),
            "restart": lambda name: self._nodes[name].start(),
            "keep_little": self._keep_little,
            "log": self._log,
            "extent": self._extent,
        }
        self.lines: list[str] = []

    def run(self, line: str) -> None:
        """One command."""
        command, *arguments = line.split()
        self._commands[command](*arguments)
        self._look()

    def _write(self, line: str) -> None:
        self.lines.append(f"{self._world.now_s - BEGIN_S:.2f} {line}")

    def _start(self) -> None:
        for name in NAMES:
            self._nodes[name].start()

    def _keep_little(self) -> None:
        for node in self._nodes.values():
            node.tuning = replace(node.tuning, journal_tail_entries=4, journal_kept_bytes=0)

    def _step(self, seconds: str) -> None:
        end_s = self._world.now_s + float(seconds)
        while self._world.now_s < end_s - 1e-4:
            self._world.run_until(min(end_s, self._world.now_s + 0.001))
            self._look()

    # What is shown.

    def _look(self) -> None:
        for name, node in self._nodes.items():
            shown = self._shown[name]
            for place, state in enumerate((_role(node), _wanted(node), _members(node), _installed(node))):
                if state is not None and state != shown[place]:
                    shown[place] = state
                    if state:
                        self._write(f"{name} {state}")

    def _log(self) -> None:
        for name, node in self._nodes.items():
            if name in NAMES or node.is_up:
                self._write(f"{name} has {_entries(node) if node.is_up else 'no power'}")

    def _extent(self) -> None:
        for name, node in self._nodes.items():
            if node.is_up:
                journal = node.journal
                extent = f"{journal.first_index}..{journal.last_index}, applied {node.machine.applied_index}"
                self._write(f"{name} has {extent}, decided {node.replica.kernel.commit_index}")

    # What is done.

    def _propose(self, node: str, name: str) -> None:
        proposal_id = name.encode().rjust(16, b".")
        self._history.names[proposal_id] = name
        self._history.proposed(proposal_id, name.encode())
        self._nodes[node].propose(proposal_id)

    def _fill(self, node: str, count: str) -> None:
        for _ in range(int(count)):
            proposal_id = len(self._history.commands).to_bytes(16, "big")
            self._history.proposed(proposal_id, proposal_id[-2:] * 8)
            self._nodes[node].propose(proposal_id)
            self._step("0.01")

    def _change(self, kind: MemberChange.Kind.ValueType, name: str, at: str) -> None:
        proposal_id = b"change" + len(self._history.changes).to_bytes(10, "big")
        change = MemberChange(kind=kind, member=Member(name).to_proto())
        self._history.changes[proposal_id] = change
        self._history.names[proposal_id] = f"{MemberChange.Kind.Name(kind).removeprefix('KIND_').lower()} {name}"
        self._nodes[at].propose_change(proposal_id, change)

    def _cut(self, one: str, other: str) -> None:
        self._network.cut(one, other)
        self._network.cut(other, one)

    def _isolate(self, name: str) -> None:
        for other in self._nodes:
            if other != name:
                self._cut(name, other)


def _role(node: MembersNode) -> str:
    if not node.is_up:
        return "is down"
    kernel = node.replica.kernel
    if kernel.is_leader:
        return f"leads in term {kernel.term}"
    if kernel.is_candidate:
        return f"asks for votes in term {kernel.term}"
    return f"follows {kernel.leader_id or 'nobody'} in term {kernel.term}"


def _wanted(node: MembersNode) -> str | None:
    """None: it cannot be seen."""
    if not node.is_up:
        return None
    return f"wants a copy that reaches {node.replica.wanted_index}" if node.replica.wanted_index else ""


def _members(node: MembersNode) -> str | None:
    if not node.is_up:
        return None
    members = (member.node_id + "(learner)" * member.is_learner for member in node.replica.members.all)
    return f"has members {' '.join(members)}"


def _installed(node: MembersNode) -> str:
    return f"goes on behind its copy no. {node.installed_count}" if node.installed_count else ""


def _entries(node: MembersNode) -> str:
    journal, commit_index = node.journal, node.replica.kernel.commit_index
    indexes = range(journal.first_index, journal.last_index + 1)
    return "".join(f"{i}.{journal.term_at(i)}{' | ' if i == commit_index else ' '}" for i in indexes).rstrip()
