"""What clients were told and what nodes applied, and the promises between the two.

Rules of this file: each proposal has a command of its own, so an entry's commands say whose they are.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from tallystick_node.consensus.intake import Verdict
from tallystick_node.consensus.machine import CommittedEntry
from tallystick_node.consensus.proposals import Applied, Refused


class PromiseBroken(AssertionError):
    """Safety: something happened that never may."""


class CommittedEntryLost(PromiseBroken):
    """Two nodes applied different entries at one index, or an acknowledged proposal is gone."""


class Stuck(AssertionError):
    """Liveness: a healed cluster does not get on."""


@dataclass
class History:
    """Everything that was proposed, told and applied.

    Attributes:
        commands: the command of each proposal id.
        acknowledged, refused, undecided: proposals by what their callers were told.
        decided: the entry that was applied at each index, by whoever was first.
        trace: what happened, in order; the same seed gives the same one.
    """

    commands: dict[bytes, bytes] = field(default_factory=dict)
    acknowledged: set[bytes] = field(default_factory=set)
    refused: set[bytes] = field(default_factory=set)
    undecided: set[bytes] = field(default_factory=set)
    decided: dict[int, CommittedEntry] = field(default_factory=dict)
    times_decided: Counter[bytes] = field(default_factory=Counter)
    refused_commands: set[bytes] = field(default_factory=set)
    trace: list[str] = field(default_factory=list)

    def proposed(self, proposal_id: bytes, command: bytes) -> None:
        """A caller asks."""
        self.commands[proposal_id] = command

    def told(self, node: str, proposal_id: bytes, verdict: Verdict[int]) -> None:
        """A caller has its verdict: one, and a true one."""
        self.trace.append(f"{node} {proposal_id.hex()} {type(verdict).__name__}")
        if any(proposal_id in told for told in (self.acknowledged, self.refused, self.undecided)):
            raise PromiseBroken(f"a second verdict on {proposal_id.hex()}: {verdict}")
        if isinstance(verdict, Applied):
            self.acknowledged.add(proposal_id)
            if self.times_decided[self.commands[proposal_id]] != 1:
                raise PromiseBroken(f"{proposal_id.hex()} is acknowledged and not decided")
        elif isinstance(verdict, Refused):
            self.did_nothing(proposal_id)
        else:
            self.undecided.add(proposal_id)

    def did_nothing(self, proposal_id: bytes) -> None:
        """A caller was told that its proposal did not happen: it never may."""
        self.refused.add(proposal_id)
        self.refused_commands.add(self.commands[proposal_id])
        if self.times_decided[self.commands[proposal_id]]:
            raise PromiseBroken(f"{proposal_id.hex()} was decided, and its caller is told that it was refused")

    def applied(self, node: str, entry: CommittedEntry) -> None:
        """A node applied an entry: every other one must apply the same at this index."""
        self.trace.append(f"{node} {entry.index} {entry.term} {len(entry.commands)}")
        known = self.decided.get(entry.index)
        if known is None:
            self._decide(entry)
        elif known != entry:
            raise CommittedEntryLost(f"index {entry.index}: {known} was decided, {node} applies {entry}")

    def check_acknowledged(self, node: str, entries: list[CommittedEntry]) -> None:
        """Every acknowledged proposal is in what a node applied, once."""
        present = Counter(command for entry in entries for command in entry.commands)
        for proposal_id in sorted(self.acknowledged):
            if present[self.commands[proposal_id]] != 1:
                times = present[self.commands[proposal_id]]
                raise CommittedEntryLost(f"{node} has the acknowledged proposal {proposal_id.hex()} {times} times")

    def _decide(self, entry: CommittedEntry) -> None:
        self.decided[entry.index] = entry
        for command in entry.commands:
            self.times_decided[command] += 1
            if self.times_decided[command] > 1:
                raise PromiseBroken(f"{command!r} is decided a second time, at index {entry.index}")
            if command in self.refused_commands:
                raise PromiseBroken(f"{command!r} was refused and is decided, at index {entry.index}")
