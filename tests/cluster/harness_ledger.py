"""What was acknowledged, against the logs of all nodes: nothing lost, nothing twice, one order everywhere.

Rules of this file:
- Each write bears a number of its own, in its cause, and an acknowledgement says at which seq it is.
- A number may be in a log if it was acknowledged, or if its outcome was never told; else it is a stranger.
- It takes some bytes a write, so that long runs fit: numbers are kept in arrays, by seq.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Final

from tallystick import Client, Consistency, NotFound

TEXTS_MAX: Final = 20
"""Findings that are told in words; all are counted."""

_CAUSE: Final = "write:"
_NOBODY: Final = -1
_NUMBERS_SHOWN: Final = 10


@dataclass(frozen=True, slots=True)
class Entry:
    """A mutation in the log of a node: where, which write, and the hash that chains it to all before it."""

    seq: int
    number: int
    hash: bytes


@dataclass(slots=True)
class Findings:
    """What came of comparing; all zero, if promises were kept.

    Attributes:
        lost: acknowledged writes that some node does not have.
        twice: writes that some log has more than once.
        misplaced: acknowledged writes that are elsewhere than the answer said, and logs with gaps.
        strangers: writes in a log that were told to have done nothing.
        differing: agents whose logs are not the same on all nodes.
        compared: acknowledged writes that were looked for, on each node.
    """

    lost: int = 0
    twice: int = 0
    misplaced: int = 0
    strangers: int = 0
    differing: int = 0
    compared: int = 0
    texts: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found though something was looked for."""
        return self.compared > 0 and not any((self.lost, self.twice, self.misplaced, self.strangers, self.differing))

    def tell(self, text: str) -> None:
        """Keeps words for people, the first ones."""
        if len(self.texts) < TEXTS_MAX:
            self.texts.append(text)

    def add(self, other: Findings) -> None:
        """Sums up."""
        for each in fields(self):
            if each.name != "texts":
                setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))
        for text in other.texts:
            self.tell(text)


class Ledger:
    """What writers were told."""

    def __init__(self) -> None:
        self._told: dict[str, array[int]] = {}
        self._undecided: dict[str, set[int]] = {}
        self._at_once = Findings()
        self.acknowledged_count = 0

    @property
    def agents(self) -> Sequence[str]:
        """Those that were written to, by name."""
        return sorted(self._told.keys() | self._undecided.keys())

    def acknowledged(self, agent: str, seq: int, number: int) -> None:
        """A write was answered."""
        told = self._told.setdefault(agent, array("q"))
        told.extend([_NOBODY] * (seq + 1 - len(told)))
        if told[seq] != _NOBODY:
            self._at_once.misplaced += 1
            self._at_once.tell(f"{agent}: writes {told[seq]} and {number} were both acknowledged as seq {seq}")
        told[seq] = number
        self.acknowledged_count += 1

    def undecided(self, agent: str, number: int) -> None:
        """The outcome of a write was not told."""
        self._undecided.setdefault(agent, set()).add(number)

    def told(self, agent: str) -> Iterator[tuple[int, int]]:
        """The acknowledged writes of an agent: seq and number."""
        return ((seq, number) for seq, number in enumerate(self._told.get(agent, ())) if number != _NOBODY)

    def compare(self, agent: str, logs: Mapping[str, Sequence[Entry]]) -> Findings:
        """Looks for an agent's writes in its log on each node."""
        found = Findings()
        told = dict(self.told(agent))
        known = set(told.values()) | self._undecided.get(agent, set())
        lost: set[int] = set()
        twice: set[int] = set()
        misplaced: set[int] = set()
        strangers: set[int] = set()
        for node_id, log in logs.items():
            here = {entry.number: entry.seq for entry in log}
            lost |= set(told.values()) - here.keys()
            twice |= _doubled(log)
            strangers |= here.keys() - known
            misplaced |= {number for seq, number in told.items() if here.get(number, seq) != seq}
            if [entry.seq for entry in log] != list(range(1, len(log) + 1)):
                found.misplaced += 1
                found.tell(f"{agent}: the log on {node_id} has gaps")
            found.compared += len(told)
        found.lost, found.twice, found.strangers = len(lost), len(twice), len(strangers)
        found.misplaced += len(misplaced)
        for what, numbers in (("lost", lost), ("twice", twice), ("elsewhere", misplaced), ("strangers", strangers)):
            if numbers:
                found.tell(f"{agent}: {len(numbers)} {what}: writes {sorted(numbers)[:_NUMBERS_SHOWN]}")
        one, *others = logs.values()
        if any(list(log) != list(one) for log in others):
            found.differing = 1
            found.tell(f"{agent}: the logs differ: { ({node_id: len(log) for node_id, log in logs.items()}) } entries")
        return found

    def seen_at_once(self) -> Findings:
        """What was wrong with the answers themselves."""
        return self._at_once


def _doubled(log: Sequence[Entry]) -> set[int]:
    return {number for number, count in Counter(entry.number for entry in log).items() if count > 1}


def cause_of(number: int) -> str:
    """What a write of this number bears."""
    return f"{_CAUSE}{number}"


def number_of(cause: str) -> int:
    """Which write bears this."""
    return int(cause.removeprefix(_CAUSE))


async def read_log(client: Client, agent: str) -> list[Entry]:
    """The log of an agent as one node has it, for a client that knows only this node; empty, if there is none."""
    try:
        return [
            Entry(mutation.seq, number_of(mutation.cause), mutation.hash)
            async for mutation in client.agent(agent).log(consistency=Consistency.LOCAL)
        ]
    except NotFound:
        return []
