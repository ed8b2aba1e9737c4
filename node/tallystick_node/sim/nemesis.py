"""The nemesis: a script of faults, drawn from a seed, written as plain lines, and carried out.

    3.214 partition a b,c
    4.020 power_cut leader
    4.300 start b

A line is a time in seconds after the begin, a kind, and its arguments. "leader" stands for every node that believes it
leads when the line's time has come, and in a line that helps (start, resume) for those that were hit so.

Any line can be left out: what is not mended by the script is mended at its end.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tallystick_node.sim.cluster import SimCluster
from tallystick_node.sim.network import CLIENTS

LEADER: Final = "leader"
CLOCK_STOOD: Final = "clock_stood"
MAX_STEPS: Final = 10_000
"""Lines in a script."""

_GAP_S: Final = (0.05, 1.2)
_QUIET_S: Final = 1.0
"""Before the first fault."""
_DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True, order=True)
class Step:
    """One line of a script."""

    at_s: float
    kind: str
    args: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join((f"{self.at_s:.3f}", self.kind, *self.args))

    @classmethod
    def parse(cls, line: str) -> Step:
        """The step of a line.

        Raises:
            ValueError: it is none.
        """
        words = line.split()
        if len(words) < 2 or words[1] not in _ACTIONS:
            raise ValueError(f"not a step: {line!r}; kinds are {', '.join(sorted(_ACTIONS))}")
        return cls(float(words[0]), words[1], tuple(words[2:]))


def load_script(path: Path) -> list[Step]:
    """The script in a file; empty lines, and those that begin with #, say nothing.

    Raises:
        OSError: it cannot be read.
        ValueError: a line is no step; the message says which.
    """
    steps: list[Step] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip() and not line.startswith("#"):
            try:
                steps.append(Step.parse(line))
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: {error}") from error
    if len(steps) > MAX_STEPS:
        raise ValueError(f"{path}: a script has at most {MAX_STEPS} steps")
    return sorted(steps)


async def run_script(cluster: SimCluster, script: Sequence[Step]) -> None:
    """Carries a script out, from now on."""
    began_s = cluster.now_s
    hand = _Hand(cluster)
    for step in sorted(script):
        await asyncio.sleep(max(0.0, began_s + step.at_s - cluster.now_s))
        _ACTIONS[step.kind](hand, *step.args)


class Nemesis:
    """Draws scripts.

    Args:
        node_ids: whom it may hurt.
        kinds: what it may do, from `KINDS`; twice means twice as often.
    """

    def __init__(self, rng: random.Random, node_ids: Sequence[str], kinds: Sequence[str]) -> None:
        self._rng = rng
        self._nodes = list(node_ids)
        self._kinds = list(kinds)
        self._steps: list[Step] = []
        self._rotten: str | None = None

    @classmethod
    def script(
        cls,
        seed: int,
        node_ids: Sequence[str],
        seconds: float,
        kinds: Collection[str] | None = None,
        *,
        contexts: bool = False,
    ) -> list[Step]:
        """A script for a seed.

        Args:
            contexts: the nodes hold contexts, which can be hurt too.

        Raises:
            ValueError: an unknown kind.
        """
        known = (*KINDS, *CONTEXT_KINDS) if contexts else KINDS
        chosen = known if kinds is None else [kind for kind in known if kind in kinds]
        for kind in kinds or ():
            if kind not in _ALL_DRAWS:
                raise ValueError(f"{kind!r} is none of {', '.join(sorted(_ALL_DRAWS))}")
        return cls(random.Random(f"nemesis {seed}"), node_ids, chosen).draw(seconds)

    def draw(self, seconds: float) -> list[Step]:
        """Draws a script; once."""
        at_s = self._rng.uniform(0.0, _QUIET_S)
        while at_s < seconds and self._kinds:
            _ALL_DRAWS[self._rng.choice(self._kinds)](self, at_s)
            at_s += self._rng.uniform(*_GAP_S)
        return sorted(Step(round(step.at_s, 3), step.kind, step.args) for step in self._steps if step.at_s < seconds)

    # Each kind.

    def kill(self, at_s: float) -> None:
        """A process is killed, and started again soon."""
        victim = self._victim()
        self._add(at_s, "kill", victim)
        self._add(at_s + self._rng.uniform(0.05, 2.0), "start", victim)

    def stop(self, at_s: float) -> None:
        """A process is asked to end, and started again."""
        victim = self._victim()
        self._add(at_s, "stop", victim)
        self._add(at_s + self._rng.uniform(0.05, 4.0), "start", victim)

    def power_cut(self, at_s: float) -> None:
        """A machine loses its power."""
        victim = self._victim()
        self._add(at_s, "power_cut", victim)
        self._add(at_s + self._rng.uniform(0.05, 2.0), "start", victim)

    def blackout(self, at_s: float) -> None:
        """Several machines lose their power at once, and come back one by one."""
        victims = self._rng.sample(self._nodes, self._rng.randint(2, len(self._nodes))) if len(self._nodes) > 1 else []
        self._add(at_s, "power_cut", *sorted(victims))
        for victim in victims:
            self._add(at_s + self._rng.uniform(0.05, 1.5), "start", victim)

    def absence(self, at_s: float) -> None:
        """A machine is dark for so long that the others may have let go of what it lacks."""
        victim = self._node()
        self._add(at_s, "power_cut", victim)
        self._add(at_s + self._rng.uniform(6.0, 14.0), "start", victim)

    def pause(self, at_s: float) -> None:
        """A process stands for a while."""
        victim = self._victim()
        self._add(at_s, "pause", victim)
        self._add(at_s + self._rng.choice((0.3, 1.0, 3.0, 8.0)) * self._rng.random(), "resume", victim)

    def suspend(self, at_s: float) -> None:
        """A machine stands, its clock too."""
        victim = self._victim()
        self._add(at_s, "pause", victim)
        self._add(at_s + self._rng.choice((1.0, 5.0)) * self._rng.random(), "resume", victim, CLOCK_STOOD)

    def partition(self, at_s: float) -> None:
        """The nodes are in two groups that do not hear each other; clients reach both, or one."""
        names = self._rng.sample(self._nodes, len(self._nodes))
        border = self._rng.randint(1, len(names)) if len(names) > 1 else 1
        one, other = sorted(names[:border]), sorted(names[border:])
        if self._rng.random() < 0.3:
            one.append(CLIENTS)
        self._add(at_s, "partition", *(",".join(group) for group in (one, other) if group))
        self._heal_after(at_s)

    def one_way(self, at_s: float) -> None:
        """A place does not hear another."""
        source, target = self._pair()
        self._add(at_s, "cut", source, target)
        self._add(at_s + self._some_s(), "mend", source, target)

    def partial(self, at_s: float) -> None:
        """Two places do not hear each other; all others hear both."""
        one, other = self._pair()
        ends_s = at_s + self._some_s()
        for source, target in ((one, other), (other, one)):
            self._add(at_s, "cut", source, target)
            self._add(ends_s, "mend", source, target)

    def drop(self, at_s: float) -> None:
        """Connections between two places break, some times."""
        one, other = self._pair()
        for _ in range(self._rng.randint(1, 6)):
            self._add(at_s, "drop", one, other)
            at_s += self._rng.uniform(0.0, 0.3)

    def delay(self, at_s: float) -> None:
        """Wires are slow, each on its own; connections overtake each other."""
        for _ in range(self._rng.randint(1, 4)):
            source, target = self._pair()
            self._add(at_s, "delay", source, target, self._rng.choice(("0.02", "0.1", "0.4")))
        self._heal_after(at_s)

    def slow_disk(self, at_s: float) -> None:
        """Syncs take long."""
        node = self._node()
        self._add(at_s, "slow_disk", node, self._rng.choice(("0.01", "0.1", "0.5")))
        self._add(at_s + self._some_s(), "heal_disk", node)

    def stuck_disk(self, at_s: float) -> None:
        """Syncs do not return."""
        node = self._node()
        self._add(at_s, "stick_disk", node)
        self._add(at_s + self._some_s(), "heal_disk", node)

    def full_disk(self, at_s: float) -> None:
        """There is little room left, or none."""
        node = self._node()
        self._add(at_s, "fill_disk", node, str(self._rng.choice((0, 500, 5_000, 50_000))))
        self._add(at_s + self._some_s(), "heal_disk", node)

    def rot(self, at_s: float) -> None:
        """A bit of a journal flips while the node is down. It happens to one node at most: it may be lost for good."""
        if self._may_rot():
            self._down(at_s, "rot")

    def kill_worker(self, at_s: float) -> None:
        """The worker of a node is killed, alone."""
        self._add(at_s, "kill_worker", self._node())

    def stall_worker(self, at_s: float) -> None:
        """The worker of a node stands for a while, perhaps for longer than its node bears it."""
        node = self._node()
        self._add(at_s, "stall_worker", node)
        self._add(at_s + self._rng.choice((0.5, 3.0, 12.0)) * self._rng.random(), "wake_worker", node)

    def rot_documents(self, at_s: float) -> None:
        """A bit of the documents flips while the node is down. As rot, it happens to one node at most."""
        if self._may_rot():
            self._down(at_s, "rot_documents")

    def lose_documents(self, at_s: float) -> None:
        """They are gone; likewise."""
        if self._may_rot():
            self._down(at_s, "lose_documents")

    def old_documents(self, at_s: float) -> None:
        """A copy of some time ago takes their place; likewise."""
        if self._may_rot():
            self._down(at_s, "keep_documents")
            self._down(at_s + self._rng.uniform(1.0, 8.0), "bring_back_documents")

    def _may_rot(self) -> bool:
        """Whether there is a node that may lose something for good: a majority of the others has it."""
        if self._rotten is None and len(self._nodes) > 2:
            self._rotten = self._node()
        return self._rotten is not None

    def _down(self, at_s: float, kind: str) -> None:
        """The node that rots is killed for a while in which this happens to it."""
        assert self._rotten is not None  # noqa: S101 - for the type
        self._add(at_s, "kill", self._rotten)
        self._add(at_s + 0.1, kind, self._rotten)
        self._add(at_s + self._some_s(), "start", self._rotten)

    def rot_state(self, at_s: float) -> None:
        """A bit of a database flips while the node is down; it fetches another from a peer."""
        node = self._node()
        self._add(at_s, "kill", node)
        self._add(at_s + 0.1, "rot_state", node)
        self._add(at_s + self._some_s(), "start", node)

    def jump(self, at_s: float) -> None:
        """A wall clock jumps, forth or back."""
        offset_s = self._rng.choice((0.0, 0.5, -0.5, 60.0, -60.0, _DAY_S, -_DAY_S))
        self._add(at_s, "jump", self._node(), f"{offset_s:g}")

    def heal(self, at_s: float) -> None:
        """All wires are mended."""
        self._add(at_s, "heal")

    # Inside.

    def _add(self, at_s: float, kind: str, *args: str) -> None:
        self._steps.append(Step(at_s, kind, args))

    def _heal_after(self, at_s: float) -> None:
        self._add(at_s + self._some_s(), "heal")

    def _some_s(self) -> float:
        return self._rng.choice((0.3, 1.5, 6.0)) * self._rng.random()

    def _node(self) -> str:
        return self._rng.choice(self._nodes)

    def _victim(self) -> str:
        return LEADER if self._rng.random() < 0.5 else self._node()

    def _pair(self) -> tuple[str, str]:
        places = self._nodes if self._rng.random() < 0.8 and len(self._nodes) > 1 else [*self._nodes, CLIENTS]
        one, other = self._rng.sample(places, 2)
        return one, other


_DRAWS: Final[Mapping[str, Callable[[Nemesis, float], None]]] = {
    "kill": Nemesis.kill,
    "stop": Nemesis.stop,
    "power_cut": Nemesis.power_cut,
    "blackout": Nemesis.blackout,
    "absence": Nemesis.absence,
    "pause": Nemesis.pause,
    "suspend": Nemesis.suspend,
    "partition": Nemesis.partition,
    "one_way": Nemesis.one_way,
    "partial": Nemesis.partial,
    "drop": Nemesis.drop,
    "delay": Nemesis.delay,
    "slow_disk": Nemesis.slow_disk,
    "stuck_disk": Nemesis.stuck_disk,
    "full_disk": Nemesis.full_disk,
    "rot": Nemesis.rot,
    "rot_state": Nemesis.rot_state,
    "jump": Nemesis.jump,
    "heal": Nemesis.heal,
}

KINDS: Final[tuple[str, ...]] = (*_DRAWS, "kill", "power_cut", "partition", "drop", "heal")
"""What a script is drawn from."""

_CONTEXT_DRAWS: Final[Mapping[str, Callable[[Nemesis, float], None]]] = {
    "kill_worker": Nemesis.kill_worker,
    "stall_worker": Nemesis.stall_worker,
    "rot_documents": Nemesis.rot_documents,
    "old_documents": Nemesis.old_documents,
    "lose_documents": Nemesis.lose_documents,
}

CONTEXT_KINDS: Final[tuple[str, ...]] = (*_CONTEXT_DRAWS, "kill_worker")
"""What it is drawn from besides, where the nodes hold contexts."""

_ALL_DRAWS: Final = {**_DRAWS, **_CONTEXT_DRAWS}


# What the lines do.


class _Hand:
    """Carries lines out, and remembers whom "leader" meant."""

    def __init__(self, cluster: SimCluster) -> None:
        self.cluster = cluster
        self._struck: dict[str, None] = {}

    def hurt(self, names: Collection[str]) -> list[str]:
        """Who is meant."""
        leaders = [name for name, node in self.cluster.nodes.items() if node.is_leader] if LEADER in names else []
        self._struck.update(dict.fromkeys(leaders))
        return [*leaders, *(name for name in names if name not in (LEADER, *leaders))]

    def help(self, names: Collection[str]) -> list[str]:
        """Who is meant."""
        struck = list(self._struck) if LEADER in names else []
        if struck:
            self._struck.clear()
        return [*struck, *(name for name in names if name not in (LEADER, *struck))]

    def start(self, *names: str) -> None:
        """Power on."""
        for name in self.help(names):
            self.cluster.nodes[name].start()

    def stop(self, *names: str) -> None:
        """SIGTERM."""
        for name in self.hurt(names):
            self.cluster.nodes[name].stop()

    def rot(self, name: str) -> None:
        """Nothing, if too many disks have rotted."""
        if self._may_rot(name):
            self.cluster.rot(name)

    def rot_state(self, name: str) -> None:
        """Nothing, if the node runs, or too many disks have rotted."""
        if not self.cluster.nodes[name].is_up and self._may_rot(name):
            self.cluster.rot_state(name)

    def _may_rot(self, name: str) -> bool:
        """Whether the disks of a majority stay sound: what no disk has any more nobody can fetch."""
        machines = {each: node.machine for each, node in self.cluster.nodes.items()}
        rotten = {each for each, machine in machines.items() if machine.is_rotten or machine.is_state_rotten}
        return 2 * len(rotten | {name}) < len(machines)

    def decay(self, happen: Callable[[str], bool], name: str) -> None:
        """Nothing, if the node runs."""
        if not self.cluster.nodes[name].is_up:
            happen(name)

    def resume(self, *words: str) -> None:
        """Names, and perhaps the word for a clock that stood."""
        names = self.help([word for word in words if word != CLOCK_STOOD])
        self.cluster.resume(*names, clock_stood=CLOCK_STOOD in words)


_ACTIONS: Final[Mapping[str, Callable[..., object]]] = {
    "kill": lambda hand, *names: hand.cluster.kill(*hand.hurt(names)),
    "power_cut": lambda hand, *names: hand.cluster.power_cut(*hand.hurt(names)),
    "start": _Hand.start,
    "stop": _Hand.stop,
    "pause": lambda hand, *names: hand.cluster.pause(*hand.hurt(names)),
    "resume": _Hand.resume,
    "partition": lambda hand, *groups: hand.cluster.partition(*(group.split(",") for group in groups)),
    "cut": lambda hand, source, target: hand.cluster.cut(source, target),
    "mend": lambda hand, source, target: hand.cluster.mend(source, target),
    "drop": lambda hand, one, other: hand.cluster.drop(one, other),
    "delay": lambda hand, source, target, most_s: hand.cluster.delay(source, target, float(most_s)),
    "heal": lambda hand: hand.cluster.heal(),
    "slow_disk": lambda hand, name, most_s: hand.cluster.slow_disk(name, float(most_s)),
    "stick_disk": lambda hand, name: hand.cluster.stick_disk(name),
    "fill_disk": lambda hand, name, room: hand.cluster.fill_disk(name, int(room)),
    "heal_disk": lambda hand, name: hand.cluster.heal_disk(name),
    "rot": _Hand.rot,
    "rot_state": _Hand.rot_state,
    "kill_worker": lambda hand, name: hand.cluster.kill_worker(name),
    "stall_worker": lambda hand, name: hand.cluster.stall_worker(name),
    "wake_worker": lambda hand, name: hand.cluster.wake_worker(name),
    "rot_documents": lambda hand, name: hand.decay(hand.cluster.rot_documents, name),
    "keep_documents": lambda hand, name: hand.decay(hand.cluster.keep_documents, name),
    "bring_back_documents": lambda hand, name: hand.decay(hand.cluster.bring_back_documents, name),
    "lose_documents": lambda hand, name: hand.decay(hand.cluster.lose_documents, name),
    "jump": lambda hand, name, offset_s: hand.cluster.jump_clock(name, float(offset_s)),
}
