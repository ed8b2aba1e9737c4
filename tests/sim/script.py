"""A simulation's faults as a script: plain lines `time kind arguments`, drawn from a seed or read from a file.

Rules of this file:
- A line says all: what happens at its time does not depend on the lines before it, so any of them can be left out.
- Times are seconds since the simulation began. What lasts has its own end in its line.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

_QUIET_S: Final = 0.5
"""Nothing happens before: the first leader is elected."""


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One line."""

    at_s: float
    kind: str
    arguments: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join((f"{self.at_s:.4f}", self.kind, *self.arguments))


Script = tuple[Fault, ...]


def parse(text: str) -> Script:
    """The script that was printed so; empty lines and comments are left out.

    Raises:
        ValueError: a line is none.
    """
    lines = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return tuple(Fault(float(at_s), kind, tuple(arguments)) for at_s, kind, *arguments in lines)


def show(script: Script) -> str:
    """A line for each fault."""
    return "".join(f"{fault}\n" for fault in script)


def draw(
    rng: random.Random,
    names: Sequence[str],
    kinds: Sequence[str],
    seconds: float,
    *,
    victims: Sequence[str] = (),
    gap_s: tuple[float, float] = (0.05, 0.6),
) -> Script:
    """Faults of these kinds for so many seconds; with `victims` they strike, or isolate, these alone."""
    drawing = _Drawing(rng, names, victims or names)
    at_s = _QUIET_S
    while kinds and at_s < seconds:
        _DRAWERS[rng.choice(kinds)](drawing, at_s)
        at_s += rng.uniform(*gap_s)
    return tuple(sorted(fault for fault in drawing.script if fault.at_s < seconds))


class _Drawing:
    """Draws the lines of each kind."""

    def __init__(self, rng: random.Random, names: Sequence[str], victims: Sequence[str]) -> None:
        self._rng = rng
        self._names = names
        self._victims = victims
        self.script: list[Fault] = []

    def add(self, at_s: float, kind: str, *arguments: str) -> None:
        self.script.append(Fault(round(at_s, 4), kind, arguments))

    def victim(self) -> str:
        return self._rng.choice(self._victims)

    def pair(self) -> tuple[str, str]:
        """Two nodes, one of them a victim, in any order."""
        one = self.victim()
        other = self._rng.choice([name for name in self._names if name != one])
        return (one, other) if self._rng.random() < 0.5 else (other, one)

    def number(self, low: float, high: float) -> str:
        return f"{self._rng.uniform(low, high):.3f}"

    def pick(self, *values: float) -> str:
        return f"{self._rng.choice(values):g}"

    def alone(self, at_s: float, kind: str, low: float, high: float) -> None:
        """A fault of one node that lasts a while."""
        self.add(at_s, kind, self.victim(), self.number(low, high))

    def between(self, at_s: float, kind: str, low: float, high: float) -> None:
        """A fault of one direction between two nodes, with a duration."""
        self.add(at_s, kind, *self.pair(), self.number(low, high))

    def scheme(self, at_s: float, kind: str, low: float, high: float) -> None:
        """A scheme with its first time, and what it draws the rest from."""
        self.add(at_s, kind, self.number(low, high), str(self._rng.randrange(10**6)))

    def power_cut(self, at_s: float) -> None:
        """The house goes dark."""
        for name in self._names:
            self.add(at_s, "crash", name, self.number(0.01, 0.8))

    def flap(self, at_s: float) -> None:
        """A link that breaks and comes back, several times: messages are lost, answers come late."""
        one, other = self.pair()
        for _ in range(self._rng.randint(1, 8)):
            self.add(at_s + self._rng.uniform(0.0, 0.3), "drop", one, other, self.number(0.001, 0.03))

    def split(self, at_s: float) -> None:
        """Two groups that do not hear each other."""
        group = self._rng.sample(self._names, self._rng.randint(1, len(self._names) - 1))
        self.add(at_s, "split", *sorted(group))

    def bridge(self, at_s: float) -> None:
        """Two groups, and one node that hears both."""
        group = self._rng.sample(self._names, self._rng.randint(2, max(2, len(self._names) - 1)))
        self.add(at_s, "bridge", *group)


_DRAWERS: Final[dict[str, Callable[[_Drawing, float], None]]] = {
    "crash": lambda drawing, at_s: drawing.alone(at_s, "crash", 0.01, 0.8),
    "kill": lambda drawing, at_s: drawing.alone(at_s, "kill", 0.01, 0.8),
    "crash_leader": lambda drawing, at_s: drawing.add(at_s, "crash_leader", drawing.number(0.01, 0.8)),
    "power_cut": _Drawing.power_cut,
    "tear": lambda drawing, at_s: drawing.alone(at_s, "tear", 0.01, 0.8),
    "rot": lambda drawing, at_s: drawing.alone(at_s, "rot", 0.01, 0.8),
    "cut": lambda drawing, at_s: drawing.add(at_s, "cut", *drawing.pair()),
    "one_way": lambda drawing, at_s: drawing.add(at_s, "one_way", *drawing.pair()),
    "isolate": lambda drawing, at_s: drawing.add(at_s, "isolate", drawing.victim()),
    "split": _Drawing.split,
    "bridge": _Drawing.bridge,
    "flap": _Drawing.flap,
    "drop": lambda drawing, at_s: drawing.between(at_s, "drop", 0.001, 0.03),
    "straggle": lambda drawing, at_s: drawing.add(
        at_s, "straggle", *drawing.pair(), drawing.number(0.01, 0.3), drawing.number(0.01, 1.0)
    ),
    "repeat": lambda drawing, at_s: drawing.between(at_s, "repeat", 0.05, 1.0),
    "repeat_all": lambda drawing, at_s: drawing.add(at_s, "repeat_all", drawing.number(0.2, 1.0)),
    "falter": lambda drawing, at_s: drawing.scheme(at_s, "falter", 0.05, 0.35),
    "rewind": lambda drawing, at_s: drawing.scheme(at_s, "rewind", 0.1, 0.25),
    "outage": lambda drawing, at_s: drawing.scheme(at_s, "outage", 0.5, 0.8),
    "relapse": lambda drawing, at_s: drawing.scheme(at_s, "relapse", 0.01, 0.1),
    "delay": lambda drawing, at_s: drawing.add(at_s, "delay", drawing.pick(0.002, 0.02, 0.1)),
    "slow_link": lambda drawing, at_s: drawing.add(at_s, "slow_link", *drawing.pair(), drawing.pick(0.03, 0.3, 1.0)),
    "slow_disk": lambda drawing, at_s: drawing.add(at_s, "slow_disk", drawing.victim(), drawing.pick(0.001, 0.01, 0.2)),
    "stuck_disk": lambda drawing, at_s: drawing.alone(at_s, "stuck_disk", 0.05, 0.8),
    "full_disk": lambda drawing, at_s: drawing.add(
        at_s, "full_disk", drawing.victim(), drawing.number(0.05, 0.8), drawing.pick(0, 50, 500)
    ),
    "pause": lambda drawing, at_s: drawing.alone(at_s, "pause", 0.05, 0.8),
    "machine_raises": lambda drawing, at_s: drawing.add(
        at_s, "machine_raises", drawing.victim(), drawing._rng.choice(("before", "after"))
    ),
    "caller_raises": lambda drawing, at_s: drawing.add(at_s, "caller_raises", drawing.victim()),
    "crash_in_install": lambda drawing, at_s: drawing.add(at_s, "crash_in_install", drawing.victim()),
    "heal": lambda drawing, at_s: drawing.add(at_s, "heal"),
}
