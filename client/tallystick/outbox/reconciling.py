"""Brings home what was done offline: each entry decided once, wherever the way there was cut.

    as they were made, one behind the other ── others interfered ──> branch | rebase | refuse

Rules of this file:
- An attempt is on disk before it leaves. One whose end is not known is settled before anything else is thought of.
- The base and the entries of a round stay until all of them have a fate: so a round that was cut goes on where it was.
- Nothing is dropped: what is not decided is refused, with its reason, and stays in the outbox.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final, Literal, Protocol, TypeAlias, TypeVar

from tallystick._cancelling import to_its_end
from tallystick._json import JSON, decode
from tallystick._values import Mutation
from tallystick.errors import Compacted, Conflict, NotFound, Overloaded, Reason, Refused, StaleOwner
from tallystick.history.changes import diff
from tallystick.history.merging import MergeConflict, MergeResolver, merge
from tallystick.history.patches import mutations as as_mutations
from tallystick.history.patches import no_change, operations
from tallystick.outbox.applying import apply
from tallystick.outbox.entries import Base, Entry, Fate, Settled
from tallystick.outbox.file import OutboxFile
from tallystick.outbox.line import Line

T = TypeVar("T")

ATTEMPTS: Final = 8
"""How often an entry is rebased anew when others append meanwhile; then it is refused."""

OnInterference: TypeAlias = "Literal['branch', 'refuse', 'rebase'] | MergeResolver"
"""What to do with what can no longer be appended as it was made, since others wrote meanwhile: put it on a branch;
refuse it; rebase it, conflicts refused; or rebase it with this resolver (`"ours"`: what is decided, `"theirs"`: what
was done offline)."""


class Run(Protocol):
    """Runs work on the file where it may wait for the disk."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """What the work returns, or raises."""


class Reconciler:
    """One round, over the entries of an outbox.

    Args:
        entries: those of the round, in their order, settled ones among them; they are kept as they come to be.
        base: what the first of them builds on.

    Attributes:
        refusals: why entries were refused, by number.
    """

    def __init__(
        self, line: Line, file: OutboxFile, run: Run, base: Base, entries: Sequence[Entry], timeout_s: float | None
    ) -> None:
        self._line, self._file, self._run = line, file, run
        self._base = base
        self._timeout_s = timeout_s
        self._conflicts: dict[int, tuple[MergeConflict, ...]] = {}
        self._entries = {entry.number: entry for entry in entries}
        self.refusals: dict[int, Refused] = {}

    @property
    def entries(self) -> list[Entry]:
        """The entries as they are now, in their order."""
        return list(self._entries.values())

    @property
    def queued(self) -> list[Entry]:
        """Those without a fate."""
        return [entry for entry in self._entries.values() if entry.fate is Fate.QUEUED]

    @property
    def settled(self) -> tuple[Settled, ...]:
        """The fates of those that were made offline."""
        conflicts = self._conflicts
        return tuple(
            Settled(each.number, each.fate, each.seq, each.branch, each.reason, conflicts.get(each.number, ()))
            for each in self._entries.values()
            if each.made_offline
        )

    @property
    def left_seq(self) -> int:
        """Where the log ended when the first of them was made."""
        seq = self._base.seq
        for entry in self._entries.values():
            if entry.made_offline:
                break
            seq = max(seq, entry.seq)
        return seq

    @property
    def appended_seq(self) -> int:
        """Where the log ends with what was appended as it was made."""
        return self._last_seq(Fate.APPENDED, self._base.seq)

    async def append(self, is_over: Callable[[], bool] = lambda: False) -> Refused | None:
        """Appends the queued entries as they were made, until others turn out to have interfered: how, or None.

        Args:
            is_over: no more of them are to be sent now.

        Raises:
            Unavailable, Undecided: not all of them; call again.
        """
        seq = self.appended_seq
        for entry in self.queued:
            if is_over():
                return None
            refused = await self._append(entry, self._line, seq, Fate.APPENDED)
            if isinstance(refused, Conflict | StaleOwner):
                return refused
            if refused is not None:
                await self._refuse(entry, refused)
            else:
                seq = self._entries[entry.number].seq
        return None

    async def branch(self, name: str) -> None:
        """Puts the queued entries on a branch that leaves the log where they were made."""
        fork_seq = self.appended_seq
        try:
            line = await self._line.fork(name, fork_seq, self._timeout_s)
        except (NotFound, Compacted) as gone:  # there is nothing that they could be a branch of
            await self.refuse(gone)
            return
        seq = self._last_seq(Fate.BRANCHED, fork_seq)
        for entry in self.queued:
            refused = await self._append(entry, line, seq, Fate.BRANCHED)
            if refused is not None:
                await self._refuse(entry, refused)
            else:
                seq = self._entries[entry.number].seq

    async def rebase(self, resolve: MergeResolver | None) -> None:
        """Does to the present state what each queued entry did to its own."""
        state: JSON = decode(self._base.state_json)
        for entry in self.entries:
            try:
                after = apply(state, entry.mutations)
            except Refused as misfit:  # it built on one that was refused
                await self._refuse(entry, misfit)
                continue
            if entry.fate is Fate.QUEUED:
                await self._rebase(entry, state, after, resolve)
            if self._entries[entry.number].fate is not Fate.REFUSED:
                state = after

    async def refuse(self, why: Refused) -> None:
        """Settles the queued entries as refused."""
        for entry in self.queued:
            await self._refuse(entry, why)

    async def _rebase(self, entry: Entry, before: JSON, after: JSON, resolve: MergeResolver | None) -> None:
        refused: Refused | None = None
        for _ in range(ATTEMPTS):
            head = await self._line.head(self._timeout_s)
            made: list[Mutation] = []
            if not entry.attempt:  # or else it is settled first, as it was sent
                merged = merge(before, head.state, after, resolve=resolve)
                if merged.conflicts:
                    self._conflicts[entry.number] = merged.conflicts
                    refused = _in_conflict(merged.conflicts)
                    break
                made = rebased(entry.mutations, head.state, merged.value)
            refused = await self._append(entry, self._line, head.seq, Fate.REBASED, made)
            if refused is None:
                return
            entry = self._entries[entry.number]
            if refused.reason is not Reason.SEQ_CONFLICT:
                break
        if refused is not None:
            await self._refuse(entry, refused)

    async def _append(
        self, entry: Entry, line: Line, expected_seq: int, fate: Fate, made: Sequence[Mutation] = ()
    ) -> Refused | None:
        """Has an entry decided: None; or why it was not, and nothing of it is then under way."""
        was_begun = bool(entry.attempt)
        try:
            if not was_begun:
                attempt = line.message(made or entry.mutations, entry.key, expected_seq)
                entry = await self._keep(replace(entry, attempt=attempt))
            seq = await line.send(entry.attempt, self._timeout_s)
        except Refused as why:
            seq, refused = 0, why
            try:
                seq = await line.find(entry.attempt, self._timeout_s) if was_begun else 0
            except Compacted as gone:  # perhaps it was decided, and nobody knows any more: not a second time, then
                refused = gone
            if not seq:
                await self._keep(replace(entry, attempt=b"", key=line.outside.new_key()))
                return refused
        branch = line.agent.branch if fate is Fate.BRANCHED else ""
        decided = replace(entry, attempt=b"", fate=fate, seq=seq, branch=branch)
        with suppress(Overloaded):  # no room on the disk: there the attempt stays, and would find itself decided
            await self._keep(decided)
        self._entries[entry.number] = decided
        return None

    async def _refuse(self, entry: Entry, why: Refused) -> None:
        self.refusals[entry.number] = why
        await self._keep(replace(self._entries[entry.number], fate=Fate.REFUSED, reason=str(why.reason)))

    async def _keep(self, entry: Entry) -> Entry:
        async def keep() -> Entry:
            await self._run(lambda: self._file.update(entry))
            self._entries[entry.number] = entry
            return entry

        return await to_its_end(keep())

    def _last_seq(self, fate: Fate, otherwise: int) -> int:
        return max((entry.seq for entry in self._entries.values() if entry.fate is fate), default=otherwise)


def rebased(made: Sequence[Mutation], before: JSON, after: JSON) -> list[Mutation]:
    """What to append so that a state becomes another, with the events among the mutations as they were.

    The first bears the id of the first of those that were made: so the whole is known again.
    """
    first = made[0]
    changes = as_mutations(operations(before, diff(before, after)), cause=first.cause)
    told = [mutation for mutation in made if not mutation.operations]
    result = [*changes, *told] or [replace(first, operations=(no_change(before),))]
    result[0] = replace(result[0], id=first.id, trace_id=first.trace_id, schema_version=first.schema_version)
    return result


def _in_conflict(conflicts: Sequence[MergeConflict]) -> Conflict:
    return Conflict(f"{len(conflicts)} places were changed by others too", reason=Reason.MERGE_CONFLICT)
