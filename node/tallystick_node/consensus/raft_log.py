"""The log as pysyncobj sees it, over our journal.

pysyncobj deletes the tail behind `prevLogIdx` with every append_entries and adds again what the message carries: a
short message thus erases entries that were acknowledged (fault 1 of pysyncobj). Raft (figure 2, AppendEntries receiver,
3 and 4) deletes only from the first entry that conflicts. So here a deletion is tentative: adding the same (index,
term) again changes nothing, a different term is a conflict and replaces the tail, and `settle`, called after each
message, brings the untouched tail back. What pysyncobj computes meanwhile, its reply and its commit index, sees the
tail as deleted, which is exactly Raft's "index of last new entry".

Who is of the cluster is said by the newest entry of the log that says so, decided or not; when a conflict replaces that
entry, the one before it counts again.

Rules of this file:
- Positions are pysyncobj's (0 is the first entry kept); indexes are Raft's. Only this file converts.
- Entries are pysyncobj's tuples: (command, index, term).
"""

from __future__ import annotations

from tallystick_node.consensus.entries import decode_entry, holds_members
from tallystick_node.consensus.members import Members
from tallystick_node.consensus.settings import APPLY_BATCH_BYTES, APPLY_BATCH_ENTRIES
from tallystick_node.storage.journal import HardState, Journal

LogTuple = tuple[bytes, int, int]


class CommittedEntryLostError(Exception):
    """Something tried to replace an entry that is committed. Going on would break what was promised."""


class RaftLog:
    """The methods of `pysyncobj.journal.Journal`, by their names there, and `settle`."""

    def __init__(self, journal: Journal, applied_index: int, members: Members) -> None:
        self._journal = journal
        self._last = 0
        self._members: list[tuple[int, Members]] = []
        """By the index from which they count, ascending. The first are the applied ones, or those it began with."""
        self.committed_index = 0
        """No entry at or below may be replaced. Whoever moves the commit index moves this."""
        self.restart(applied_index, members)

    def restart(self, applied_index: int, members: Members) -> None:
        """Begins with what was applied and with what the journal holds behind it."""
        self._last = self._journal.last_index
        self.committed_index = max(1, applied_index, self._journal.base_index)
        self._members = [(applied_index, members)]
        self._find_members(max(applied_index + 1, self._journal.first_index))

    def _find_members(self, first: int) -> None:
        """Reads what is not applied yet: it may say who is of the cluster."""
        while first <= self._last:
            entries = self._journal.entries(first, self._last + 1, APPLY_BATCH_BYTES)
            for entry in entries:
                self._note_members(entry.index, entry.data)
            first = entries[-1].index + 1

    def _note_members(self, index: int, data: bytes) -> None:
        """An entry is written at an index: what was said from there on was said in vain."""
        while len(self._members) > 1 and self._members[-1][0] >= index:
            self._members.pop()
        if holds_members(data):
            members = decode_entry(data).members
            if members is not None:
                self._members.append((index, members))

    # What pysyncobj calls.

    def __len__(self) -> int:
        return self._last - self.first_index + 1

    def __getitem__(self, position: int) -> LogTuple:
        # pysyncobj asks for [0] and [-1], for their index and term alone; payloads are read through `window`
        index = self._last if position == -1 else self.first_index + position
        return (b"", index, self._journal.term_at(index))

    def add(self, command: bytes, index: int, term: int) -> None:
        """Adds an entry behind the last one; the same entry again is no change."""
        if index != self._last + 1:
            raise IndexError(f"entry {index} does not follow {self._last}")
        if not self._is_known(index, term):
            if index <= self.committed_index and index <= self._journal.last_index:
                raise CommittedEntryLostError(f"entry {index} is committed, term {term} would replace it")
            self._journal.append(index, term, command)
            self._note_members(index, command)
        self._last = index

    def _is_known(self, index: int, term: int) -> bool:
        return index <= self._journal.last_index and self._journal.term_at(index) == term

    def deleteEntriesFrom(self, position: int) -> None:  # noqa: N802 (pysyncobj's name)
        """Hides the tail from here on, until it is added again or `settle` restores it."""
        self._last = self.first_index + position - 1

    def deleteEntriesTo(self, position: int) -> None:  # noqa: N802
        """Compaction is ours (`Replica.compact`); pysyncobj's is switched off."""
        raise NotImplementedError("pysyncobj compacts nothing here")

    def clear(self) -> None:
        """Never: see `deleteEntriesTo`."""
        raise NotImplementedError("pysyncobj clears nothing here")

    def setRaftCommitIndex(self, index: int) -> None:  # noqa: N802
        """Not stored: after a restart the applied index is known to be committed."""

    def getRaftCommitIndex(self) -> int:  # noqa: N802
        """What is known to be committed at start."""
        return self.committed_index

    def setCurrentTerm(self, term: int, voted_for: str | None) -> None:  # noqa: N802
        """Goes to disk with the next sync, before any message that speaks of it leaves."""
        self._journal.set_hard_state(term, voted_for)

    def getCurrentTerm(self) -> int:  # noqa: N802
        return self._hard_state.term

    def getVotedForNodeId(self) -> str | None:  # noqa: N802
        return self._hard_state.voted_for

    def onOneSecondTimer(self) -> None:  # noqa: N802
        """Nothing waits for a timer here."""

    def _destroy(self) -> None:
        """The journal is closed by who opened it."""

    # What the kernel calls.

    def settle(self) -> None:
        """Ends the handling of a message: what was hidden and did not conflict is there again."""
        self._last = self._journal.last_index

    def hide_own_removal(self, node_id: str) -> None:
        """Until `settle`: the log ends before the entry by which this node is no member, if that is not decided.

        For a vote: the node may be needed for one until the entry is decided (Ongaro's thesis, 4.2.2), it does not
        stand itself, and none who stand may have the entry. Its copy counts for no majority, so nothing decided is at
        stake: any majority of the members before has a node in common with any of those after, this one left out.
        """
        index, members = self._members[-1]
        if index > self.committed_index and members.get(node_id) is None:
            self._last = min(self._last, index - 1)

    def window(self, first: int | None, count: int | None, max_bytes: int | None) -> list[LogTuple]:
        """Entries from index `first` on, at most `count` and about `max_bytes`; none if `first` is not in the log.

        Without `max_bytes` pysyncobj reads no payload, only index and term, and without `count` it only asks whether
        there is more than one entry: so payloads are read from disk for peers alone.
        """
        if first is None or first < self.first_index or first > self._last:
            return []
        if max_bytes is None:
            end = min(self._last + 1, first + min(count or 2, APPLY_BATCH_ENTRIES))
            return [(b"", index, self._journal.term_at(index)) for index in range(first, end)]
        found = self._journal.entries(first, self._last + 1, max_bytes)
        return [(entry.data, entry.index, entry.term) for entry in found]

    @property
    def members(self) -> Members:
        """Who is of the cluster, decided or not."""
        return self._members[-1][1]

    @property
    def members_index(self) -> int:
        """The entry that says so: once it is decided, they are."""
        return self._members[-1][0]

    def knows(self, node_id: str) -> bool:
        """Whether this node is of the cluster by what is decided, or by what may come to be."""
        return any(members.get(node_id) is not None for _, members in self._members)

    def settle_members(self, commit_index: int) -> None:
        """What was said before the newest decided members is of no use any more."""
        while len(self._members) > 1 and self._members[1][0] <= commit_index:
            self._members.pop(0)

    def term_at(self, index: int) -> int:
        """The term of an entry that is in the log."""
        return self._journal.term_at(index)

    @property
    def first_index(self) -> int:
        """Where the log begins for pysyncobj: with the last entry that compaction dropped, if there is one, for it is
        still known to come before the next. Its payload is gone, but never asked for: who lacks it needs a snapshot."""
        return max(self._journal.base_index, 1)

    def first_of_term(self, index: int, lowest: int) -> int:
        """The first entry of the term that this entry has, as far as it is neither committed nor below `lowest`."""
        lowest = max(self.committed_index + 1, lowest)
        term = self._journal.term_at(index)
        while index > lowest and self._journal.term_at(index - 1) == term:
            index -= 1
        return index

    @property
    def _hard_state(self) -> HardState:
        return self._journal.hard_state
