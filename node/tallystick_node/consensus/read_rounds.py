"""Linearizable reads on a leader: ReadIndex (Ongaro's thesis, 6.4), many reads to a round.

A reader must see all that was acknowledged before its read began. The leader notes its commit index, and then has to
learn that it still leads: every append_entries bears the number of its round, and the answers bear it back. Once a
majority has answered a round that began after the read came, no other leader can have acknowledged anything before the
read; whoever has applied the log up to the noted index may answer.

Rules of this file:
- It belongs to one leadership: a new one begins with a new `ReadRounds`.
- Nothing is confirmed before an entry of the leader's own term is decided (`begin` is not called before): until then
  its commit index may lag behind what an earlier leader acknowledged.
- One read a node waits at a time; its newer one replaces the older. So there are never more than nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Read:
    """A node's read that waits, on the leader.

    Attributes:
        node_id: who asks; the leader itself too.
        number: the asker's.
        index: what the asker must have applied.
        round: the round that must be answered by a majority.
    """

    node_id: str
    number: int
    index: int
    round: int


@dataclass(slots=True)
class ReadRounds:
    """See the module. `round` is the newest one."""

    round: int = 0
    _asked: dict[str, int] = field(default_factory=dict)
    _waiting: dict[str, Read] = field(default_factory=dict)
    _answered: dict[str, int] = field(default_factory=dict)

    @property
    def is_asked(self) -> bool:
        """Whether a read waits for the next round to begin."""
        return bool(self._asked)

    def ask(self, node_id: str, number: int) -> None:
        """A node wants to read; the next round counts for it."""
        self._asked[node_id] = number

    def begin(self, commit_index: int) -> bool:
        """Begins a round for those who have asked since the last one; False if nobody has."""
        if not self._asked:
            return False
        self.round += 1
        for node_id, number in self._asked.items():
            self._waiting[node_id] = Read(node_id, number, commit_index, self.round)
        self._asked.clear()
        return True

    def answered(self, node_id: str, round_number: int) -> None:
        """A node answered an append_entries of this round, in this leader's term."""
        self._answered[node_id] = max(round_number, self._answered.get(node_id, 0))

    def take_confirmed(self, leader_id: str, is_majority: Callable[[Iterable[str]], bool]) -> list[Read]:
        """The reads that may be served now."""
        confirmed = [read for read in self._waiting.values() if is_majority(self._since(leader_id, read.round))]
        for read in confirmed:
            del self._waiting[read.node_id]
        return confirmed

    def _since(self, leader_id: str, round_number: int) -> list[str]:
        return [leader_id, *(node_id for node_id, answered in self._answered.items() if answered >= round_number)]
