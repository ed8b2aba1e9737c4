"""Replicas that apply the same log have the same state, and check it of each other.

The leader names an index now and then; each member that has applied just so far tells all others its digest there. What
a majority of voters reports is right; who reports anything else is odd. Nobody is believed alone, the leader neither.
To a peer that connects the last report is told again: it may have started anew with another state, and while nothing is
decided no further index is named.

Rules of this file: a few indexes are remembered (`BALLOTS_KEPT`), one report a node in each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

from tallystick.peer.v1.peer_pb2 import StateDigest
from tallystick_node.consensus.members import Members

BALLOTS_KEPT: Final = 8
"""Indexes that reports are collected for; an older one gives way."""

DIGESTS_EVERY_S: Final = 5.0
"""How often a leader names an index."""


LAST_REPORT_S: Final = 0.5
"""How long an odd member goes on, so that its report reaches the others: they are to know who it is."""


class ReplicaDivergedError(Exception):
    """This replica's state is not what a majority has: it must not answer anybody any more."""

    def __init__(self, index: int) -> None:
        super().__init__(
            f"the state of this node at entry {index} of the log differs from that of a majority of the cluster"
        )
        self.index = index


class DigestBallots:
    """Reports by index, and who was found odd.

    Attributes:
        odd: nodes whose newest judged digest was not the majority's, by the index where it was found.
    """

    def __init__(self) -> None:
        self._ballots: dict[int, dict[str, bytes]] = {}
        self.odd: dict[str, int] = {}

    def report(self, node_id: str, index: int, digest: bytes, members: Members) -> None:
        """Counts a node's digest at an index, and judges."""
        if node_id not in members.node_ids:
            return
        if index not in self._ballots and len(self._ballots) >= BALLOTS_KEPT:
            oldest = min(self._ballots)
            if index < oldest:
                return
            del self._ballots[oldest]
        self._ballots.setdefault(index, {})[node_id] = digest
        self._judge(index, members)

    def forget(self, members: Members) -> None:
        """Who is no member any more is not odd."""
        if self.odd:
            self.odd = {node_id: index for node_id, index in self.odd.items() if node_id in members.node_ids}

    def _judge(self, index: int, members: Members) -> None:
        reports = self._ballots[index]
        votes = Counter(digest for node_id, digest in reports.items() if members.is_voter(node_id))
        for digest, _ in votes.most_common(1):
            agreeing = [node_id for node_id, reported in reports.items() if reported == digest]
            if len(agreeing) > 1 and members.is_majority(agreeing):  # where one votes alone, it is not right alone
                self._take_verdict(index, digest, reports)

    def _take_verdict(self, index: int, right: bytes, reports: dict[str, bytes]) -> None:
        for node_id, digest in reports.items():
            if digest != right:
                self.odd[node_id] = max(index, self.odd.get(node_id, 0))
            elif index > self.odd.get(node_id, index):
                del self.odd[node_id]  # it was repaired meanwhile


class DigestExchange:
    """One member's part in it: when it reports, and what it makes of others' reports.

    Args:
        node_id: this member.
        digest_at: its state machine's digest at an applied index, or None.
    """

    def __init__(self, node_id: str, digest_at: Callable[[int], bytes | None]) -> None:
        self._node_id = node_id
        self._digest_at = digest_at
        self._ballots = DigestBallots()
        self._wanted_index = 0
        self._reported_index = 0
        self._last: StateDigest | None = None
        self._came: set[str] = set()
        self._next_s = 0.0
        self._ends_s: float | None = None

    @property
    def odd(self) -> frozenset[str]:
        """Members that differ from the majority."""
        return frozenset(self._ballots.odd)

    def connected(self, node_id: str) -> None:
        """This peer can be reached from now on."""
        self._came.add(node_id)

    def take_repeated(self) -> tuple[StateDigest | None, frozenset[str]]:
        """The last report, and who came since and may not have heard it."""
        came, self._came = frozenset(self._came), set()
        return self._last, came

    def name_index(self, applied_index: int, now_s: float) -> None:
        """On a leader: now and then all shall report."""
        if now_s >= self._next_s:
            self._next_s = now_s + DIGESTS_EVERY_S
            self._wanted_index = max(self._wanted_index, applied_index)

    def heard(self, node_id: str, report: StateDigest, members: Members) -> None:
        """Another member's report; this one reports there too as soon as it can."""
        self._ballots.report(node_id, report.index, report.digest, members)
        self._wanted_index = max(self._wanted_index, report.index)

    def take_report(self, applied_index: int, members: Members, now_s: float) -> StateDigest | None:
        """What to tell all others now, if anything.

        Raises:
            ReplicaDivergedError: a majority says otherwise, and all others had the time to hear what this one says.
        """
        self._ballots.forget(members)
        report = None
        if self._reported_index < self._wanted_index <= applied_index:
            self._reported_index = self._wanted_index
            digest = self._digest_at(self._reported_index)
            if digest is not None:
                report = StateDigest(index=self._reported_index, digest=digest)
                self._ballots.report(self._node_id, report.index, digest, members)
                self._last = report
        if self._node_id in self._ballots.odd:
            self._ends_s = now_s + LAST_REPORT_S if self._ends_s is None else self._ends_s
            if now_s >= self._ends_s:
                raise ReplicaDivergedError(self._ballots.odd[self._node_id])
        else:
            self._ends_s = None
        return report
