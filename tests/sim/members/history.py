"""What must hold besides the promises of `tests.sim.history` where members change and clients read.

- Members change one node at a time: each decided change differs from the one before it by one node.
- A change that was refused is in no log; one that was acknowledged is decided at the index that was told.
- One node at most leads in a term.
- A reader sees all that was acknowledged to anybody before its read began.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tallystick.peer.v1.peer_pb2 import MemberChange
from tallystick_node.consensus.intake import Verdict
from tallystick_node.consensus.machine import CommittedEntry
from tallystick_node.consensus.members import Members, decode_members
from tallystick_node.consensus.proposals import Applied, Refused
from tests.sim.history import History, PromiseBroken


class TwoLeaders(PromiseBroken):
    """Two nodes lead in one term."""


class StaleRead(PromiseBroken):
    """A reader misses what was acknowledged before its read began."""


@dataclass
class MembersHistory(History):
    """Attributes:
    first_members: those that the cluster began with.
    changes: the changes of the members that were asked for, by proposal id.
    told_changes: the proposals among these that have their verdict.
    decided_members: by the index of the entry that says so, ascending.
    acknowledged_index: the newest entry with something that was acknowledged.
    reads_served: how many, so that a test can tell that there were some.
    """

    first_members: Members = field(default_factory=lambda: Members(()))
    changes: dict[bytes, MemberChange] = field(default_factory=dict)
    told_changes: set[bytes] = field(default_factory=set)
    refused_endpoints: set[str] = field(default_factory=set)
    decided_members: dict[int, Members] = field(default_factory=dict)
    acknowledged_index: int = 0
    reads_served: int = 0
    leaders: dict[int, str] = field(default_factory=dict)

    @property
    def members(self) -> Members:
        """The newest that are decided."""
        return next(reversed(self.decided_members.values()), self.first_members)

    @property
    def members_index(self) -> int:
        """The entry that says so."""
        return next(reversed(self.decided_members), 0)

    def leads(self, name: str, term: int) -> None:
        """A node leads."""
        if self.leaders.setdefault(term, name) != name:
            raise TwoLeaders(f"{self.leaders[term]} and {name} lead in term {term}")

    def served(self, name: str, applied_index: int, wanted_index: int) -> None:
        """A node lets a read go that began when this index had been acknowledged."""
        self.trace.append(f"{name} reads {wanted_index} at {applied_index}")
        if applied_index < wanted_index:
            raise StaleRead(f"{name} reads at {applied_index}; {wanted_index} was acknowledged before")
        self.reads_served += 1

    def told(self, node: str, proposal_id: bytes, verdict: Verdict[int]) -> None:
        """A caller has its verdict; also one that wanted the members changed."""
        if proposal_id in self.changes:
            self._told_change(node, proposal_id, verdict)
        else:
            super().told(node, proposal_id, verdict)
        if isinstance(verdict, Applied):
            self.acknowledged_index = max(self.acknowledged_index, verdict.result)

    def did_nothing(self, proposal_id: bytes) -> None:
        """A change too."""
        if proposal_id in self.changes:
            self._change_did_nothing(proposal_id)
        else:
            super().did_nothing(proposal_id)

    def _told_change(self, node: str, proposal_id: bytes, verdict: Verdict[int]) -> None:
        change = self.changes[proposal_id]
        what = verdict.reason if isinstance(verdict, Refused) else type(verdict).__name__
        self.trace.append(f"{node} {change.kind} {change.member.node_id} {what}")
        if proposal_id in self.told_changes:
            raise PromiseBroken(f"a second verdict on a change: {verdict}")
        self.told_changes.add(proposal_id)
        if isinstance(verdict, Applied):
            if not _is_done(change, self.decided_members.get(verdict.result)):
                raise PromiseBroken(f"{change} is acknowledged, and entry {verdict.result} does not say so")
        elif isinstance(verdict, Refused):
            self._change_did_nothing(proposal_id)

    def _change_did_nothing(self, proposal_id: bytes) -> None:
        endpoint = self.changes[proposal_id].member.peer_endpoint
        if endpoint:
            self.refused_endpoints.add(endpoint)
            self._check_refused(self.decided_members.values())

    def _decide(self, entry: CommittedEntry) -> None:
        if entry.members is None:
            super()._decide(entry)
            return
        self.decided[entry.index] = entry
        before, after = set(self.members.all), decode_members(entry.members)
        changed = {member.node_id for member in before ^ set(after.all)}
        if len(changed) != 1:
            raise PromiseBroken(f"entry {entry.index} changes {sorted(changed)} at once")
        self.decided_members[entry.index] = after
        self._check_refused([after])

    def _check_refused(self, decided: Iterable[Members]) -> None:
        for members in decided:
            refused = {member.peer_endpoint for member in members.all} & self.refused_endpoints
            if refused:
                raise PromiseBroken(f"a change was refused and is decided: {sorted(refused)}")


def _is_done(change: MemberChange, members: Members | None) -> bool:
    """Whether these members are what the change leads to."""
    if members is None:
        return False
    member = members.get(change.member.node_id)
    if change.kind == MemberChange.KIND_REMOVE:
        return member is None
    if change.kind == MemberChange.KIND_PROMOTE:
        return member is not None and not member.is_learner
    return member is not None and member.is_learner and member.peer_endpoint == change.member.peer_endpoint
