"""Golden scripts of consensus: `tests/scripts/consensus/*.txt`.

A block is comments and commands, `---`, and what came of them; blocks are parted by an empty line, and each goes on
where the one before it ended. Regenerate with `TALLYSTICK_GOLDEN=write pytest tests/unit/test_consensus_scripts.py`,
and commit only a difference that you understand.

Three nodes on the simulation's clock, network and disk, without any chance: a message takes 1 ms, a sync 1 ms, and
where pysyncobj draws an election timeout, `a` draws the shortest, `c` the longest.

Commands: `start`, `step SECONDS`, `propose NODE NAME`, `isolate NODE`, `cut ONE OTHER`, `deaf ONE OTHER` (the first no
longer reaches the other), `heal`, `crash NODE`, `restart NODE`, `log`. What is shown: who changes its role, term or
leader and when, what callers are told, and, by `log`, each node's entries as index.term, `|` behind what is decided.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tallystick_node.consensus.intake import Verdict
from tallystick_node.consensus.proposals import Applied, Refused
from tallystick_node.consensus.replica import Replica
from tallystick_node.storage.journal import Journal
from tests.sim.history import History
from tests.sim.network import Network
from tests.sim.node import SimNode
from tests.sim.world import World

SCRIPTS = sorted((Path(__file__).parent.parent / "scripts" / "consensus").glob("*.txt"))
NAMES = "abc"
BEGIN_S = 1000.0


class _Certain(random.Random):
    """Draws the same each time."""

    def __init__(self, value: float) -> None:
        super().__init__(1)
        self._value = value

    def random(self) -> float:
        return self._value


class _ScriptNode(SimNode):
    """A node without chance."""

    def _make_replica(self, journal: Journal) -> Replica[int]:
        self._rng = _Certain(0.0)
        self._sync_s = (0.001, 0.001)
        rng = _Certain(NAMES.index(self.name) * 0.4)
        clock = self._world.clock
        return self.replica_class(
            self.name, self._members, journal, self.machine, tuning=self.tuning, clock=clock, rng=rng
        )


class _Told(History):
    """Writes down what callers are told."""

    def __init__(self, write: Callable[[str], None]) -> None:
        super().__init__()
        self._write = write

    def told(self, node: str, proposal_id: bytes, verdict: Verdict[int]) -> None:
        super().told(node, proposal_id, verdict)
        name = self.commands[proposal_id].decode()
        match verdict:
            case Applied(result=index):
                self._write(f"{node} tells: {name} is at {index}")
            case Refused(reason=reason):
                self._write(f"{node} tells: {name} is refused, {reason}")
            case _:
                self._write(f"{node} tells: {name} is undecided")


class _Stage:
    """Runs commands and writes down what comes of them."""

    def __init__(self) -> None:
        self._world = World(1)
        self._network = Network(self._world)
        self._network._delay_s = (0.001, 0.001)
        self._history = _Told(self._write)
        self._nodes = {name: _ScriptNode(name, NAMES, self._world, self._network, self._history) for name in NAMES}
        self._shown = dict.fromkeys(NAMES, "is down")
        self._commands: dict[str, Callable[..., None]] = {
            "start": self._start,
            "step": self._step,
            "propose": self._propose,
            "isolate": self._isolate,
            "cut": self._cut,
            "deaf": self._network.cut,
            "heal": self._network.join,
            "crash": lambda name: self._nodes[name].crash(),
            "restart": lambda name: self._nodes[name].start(),
            "log": self._log,
        }
        self.lines: list[str] = []

    def run(self, line: str) -> None:
        command, *arguments = line.split()
        self._commands[command](*arguments)
        self._look()

    def _write(self, line: str) -> None:
        self.lines.append(f"{self._world.now_s - BEGIN_S:.2f} {line}")

    def _start(self) -> None:
        for node in self._nodes.values():
            node.start()

    def _step(self, seconds: str) -> None:
        end_s = self._world.now_s + float(seconds)
        while self._world.now_s < end_s - 1e-4:
            self._world.run_until(min(end_s, self._world.now_s + 0.001))
            self._look()

    def _look(self) -> None:
        for name, node in self._nodes.items():
            state = self._state(node)
            if state != self._shown[name]:
                self._shown[name] = state
                self._write(f"{name} {state}")

    def _state(self, node: SimNode) -> str:
        if not node.is_up:
            return "is down"
        kernel = node.replica.kernel
        if kernel.is_leader:
            return f"leads in term {kernel.term}"
        if kernel.is_candidate:
            return f"asks for votes in term {kernel.term}"
        return f"follows {kernel.leader_id or 'nobody'} in term {kernel.term}"

    def _propose(self, node: str, name: str) -> None:
        proposal_id = name.encode().rjust(16, b".")
        self._history.proposed(proposal_id, name.encode())
        self._nodes[node].propose(proposal_id)

    def _cut(self, one: str, other: str) -> None:
        self._network.cut(one, other)
        self._network.cut(other, one)

    def _isolate(self, name: str) -> None:
        for other in NAMES:
            if other != name:
                self._cut(name, other)

    def _log(self) -> None:
        for name, node in self._nodes.items():
            self._write(f"{name} has {self._entries(node) if node.is_up else 'no power'}")

    def _entries(self, node: SimNode) -> str:
        journal, commit_index = node.journal, node.replica.kernel.commit_index
        indexes = range(journal.first_index, journal.last_index + 1)
        return "".join(f"{i}.{journal.term_at(i)}{' | ' if i == commit_index else ' '}" for i in indexes).rstrip()


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_script(script: Path) -> None:
    wanted = script.read_text()
    found = _run(wanted)
    if os.environ.get("TALLYSTICK_GOLDEN") == "write":
        script.write_text(found)
        wanted = found
    assert found == wanted


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) >= 3


def _run(text: str) -> str:
    stage = _Stage()
    blocks = [block for block in text.strip().split("\n\n") if block.strip()]
    return "\n\n".join(_run_block(stage, block.split("\n---")[0]) for block in blocks) + "\n"


def _run_block(stage: _Stage, commands: str) -> str:
    stage.lines.clear()
    for line in commands.splitlines():
        if not line.startswith("#"):
            stage.run(line)
    return "\n".join([commands, "---", *stage.lines])
