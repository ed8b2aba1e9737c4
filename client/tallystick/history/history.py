"""An agent's history as something to work with: `agent.history`.

Everything here is reading states, thinking, and one append that is refused if the log has moved: then it is thought
again. So nothing is decided that was not looked at, and the nodes know nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, TypeAlias

from tallystick._json import JSON, JSONLike, decode, encode
from tallystick._values import Appended, DecidedMutation, Snapshot
from tallystick.errors import Compacted, Conflict, Invalid, Reason
from tallystick.history.changes import StateChange, diff, digest
from tallystick.history.lineage import parting
from tallystick.history.merging import MergeConflict, MergeResolver, merge
from tallystick.history.patches import mutations, no_change, operations
from tallystick.history.stack import Stacks, stacks

if TYPE_CHECKING:
    from tallystick._agent import Agent

Point: TypeAlias = "int | str | datetime | None"
"""Where in a log: a seq, the name of a checkpoint, a time, or None for its head."""

UNDO_WINDOW: Final = 1000
"""Mutations looked back upon for what can be undone, as long as those tell."""

UNDO_REACH: Final = 64_000
"""Mutations looked back upon at most: behind so many undos there is nothing to undo."""

ATTEMPTS: Final = 8
"""How often a change is thought out anew when others append meanwhile."""


@dataclass(frozen=True, slots=True)
class MergeResult:
    """What became of a merge, a revert, an undo or a redo.

    Attributes:
        appended: what was appended; None if nothing was: there are conflicts, or there was nothing to change.
        changes: what it did, or would do, to the state.
        conflicts: what both sides changed; empty if a resolver settled it.
    """

    appended: Appended | None
    changes: tuple[StateChange, ...]
    conflicts: tuple[MergeConflict, ...]


class History:
    """The history of one agent: differences, reverts, undo and redo. Made by `Agent.history`.

    Nothing is ever removed from a log: what takes something back is appended, and can be taken back in turn.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    async def diff(self, before: Point, after: Point = None, *, timeout_s: float | None = None) -> list[StateChange]:
        """What changed between two points of the log, as a patch: applied to the one state it gives the other.

        Example:
            for change in await agent.history.diff("batch-1"): print(change.op, change.path)

        Args:
            before, after: a seq, the name of a checkpoint, a time, or None for the head.

        Raises:
            NotFound: the agent, or the point of its log, does not exist.
        """
        one = await self._read(before, timeout_s)
        other = await self._read(after, timeout_s)
        return diff(one.state, other.state)

    async def revert(
        self,
        seq: int,
        *,
        last: int | None = None,
        resolve: MergeResolver | None = None,
        cause: str = "",
        timeout_s: float | None = None,
    ) -> MergeResult:
        """Takes back what one mutation did (or those from `seq` to `last`), and leaves what came after it.

        What was changed again since is a conflict. Without `resolve` conflicts come back as values and nothing is
        appended.

        Args:
            resolve: "ours" keeps the present value, "theirs" the one before the mutation; or a function of the
                conflict that returns a value.

        Raises:
            NotFound: the log has no such mutation.
            Invalid: `seq` is below 1 or above `last`; the difference is larger than an append may be.
            Conflict: others kept appending meanwhile.
        """
        last = seq if last is None else last
        if not 1 <= seq <= last:
            raise Invalid(f"no range of mutations: {seq} to {last}", metadata={"field": "seq"})
        after = await _at(self._agent, last, timeout_s)
        before = await _at(self._agent, seq - 1, timeout_s)
        return await self._bring(after.state, before.state, resolve, cause or f"revert:{seq}", seq, timeout_s)

    async def undo(
        self, *, resolve: MergeResolver | None = None, cause: str = "", timeout_s: float | None = None
    ) -> MergeResult | None:
        """Takes back the newest change of the state that is not undone yet, by an appended inverse mutation.

        The last `UNDO_WINDOW` mutations are looked at; if they are undos of older ones, up to `UNDO_REACH`.

        Returns: None if there is nothing to undo.

        Raises: as `revert`.
        """
        found = (await self._stacks(timeout_s)).undo
        if not found:
            return None
        return await self.revert(
            found[-1].first, last=found[-1].last, resolve=resolve, cause=cause or "undo", timeout_s=timeout_s
        )

    async def redo(
        self, *, resolve: MergeResolver | None = None, cause: str = "", timeout_s: float | None = None
    ) -> MergeResult | None:
        """Takes back the newest undo. Once something else was appended there is nothing to redo.

        Returns: None if there is nothing to redo.

        Raises: as `revert`.
        """
        found = (await self._stacks(timeout_s)).redo
        if not found:
            return None
        return await self.revert(
            found[-1].first, last=found[-1].last, resolve=resolve, cause=cause or "redo", timeout_s=timeout_s
        )

    async def merge(
        self, branch: str, *, resolve: MergeResolver | None = None, cause: str = "", timeout_s: float | None = None
    ) -> MergeResult:
        """Brings what was done on another branch into this log, by a three-way merge.

        The base is where the two parted. The branch stays as it is; merging it again brings what is new on it, and what
        was brought before counts as changed by both sides alike.

        Example:
            result = await agent.history.merge("try-b")
            for conflict in result.conflicts: print(conflict.path, conflict.ours, conflict.theirs)

        Args:
            resolve: "ours" keeps this log's value, "theirs" the branch's; or a function of the conflict that returns a
                value. Without it conflicts come back as values and nothing is appended.

        Raises:
            NotFound: there is no such branch.
            Invalid: the difference is larger than an append may be.
            Conflict: others kept appending meanwhile.
        """
        branches = {info.name: info async for info in self._agent.branches(timeout_s=timeout_s)}
        common = parting(branches, self._agent.branch, branch)
        base = await _at(self._agent.on_branch(common.branch), common.seq, timeout_s)
        theirs = await _at(self._agent.on_branch(branch), None, timeout_s)
        return await self._bring(base.state, theirs.state, resolve, cause or f"merge:{branch}", 0, timeout_s)

    async def drift(self, state: JSONLike, *, at: Point = None, timeout_s: float | None = None) -> list[StateChange]:
        """How a state in memory differs from the one that is kept; empty if it does not.

        Digests are compared first, so that a state that is as it should be costs 32 bytes.

        Args:
            state: what the program holds.
            at: the point of the log that it should be at; None: the head.

        Raises:
            Invalid: the state is not JSON.
            NotFound: the agent, or the point of its log, does not exist.
        """
        held = decode(encode(state))
        kept = await self._agent.state_digest(seq=_seq(at), checkpoint=_name(at), time=_time(at), timeout_s=timeout_s)
        if kept.digest == digest(held):
            return []
        return diff((await _at(self._agent, kept.seq, timeout_s)).state, held)

    async def _bring(
        self, base: JSON, theirs: JSON, resolve: MergeResolver | None, cause: str, reverts: int, timeout_s: float | None
    ) -> MergeResult:
        """Appends what leads from `base` to `theirs` on top of what the log has by now."""
        for _ in range(ATTEMPTS):
            head = await _at(self._agent, None, timeout_s)
            merged = merge(base, head.state, theirs, resolve=resolve)
            changes = tuple(diff(head.state, merged.value))
            if merged.conflicts or not (changes or reverts):
                return MergeResult(None, changes, merged.conflicts)
            made = operations(head.state, changes) or [no_change(head.state)]
            wanted = mutations(made, cause=cause, reverts=reverts)
            try:
                done = await self._agent.append_many(wanted, expected_seq=head.seq, timeout_s=timeout_s)
            except Conflict as error:
                if error.reason is not Reason.SEQ_CONFLICT:
                    raise
                continue
            return MergeResult(done, changes, ())
        raise Conflict(f"the log moved {ATTEMPTS} times meanwhile: is another writing it?")

    async def _stacks(self, timeout_s: float | None) -> Stacks:
        head = (await self._agent.read(timeout_s=timeout_s)).seq
        seen: list[DecidedMutation] = []
        reach = UNDO_WINDOW
        oldest = 0
        while True:
            before = seen[0].seq if seen else head + 1
            try:
                seen = [*await self._between(max(oldest, head - reach), before, timeout_s), *seen]
            except Compacted as error:  # retention removed some of these: what is kept is looked at
                oldest = int(error.metadata["oldest_seq"])
                continue
            found = stacks(_from_a_boundary(seen))
            is_told = found.undo and not found.is_cut  # without an undo left it lies further back
            if is_told or reach >= min(head - oldest, UNDO_REACH):
                return found
            reach = min(2 * reach, UNDO_REACH)

    async def _between(self, after: int, before: int, timeout_s: float | None) -> list[DecidedMutation]:
        """The mutations between two seqs."""
        found: list[DecidedMutation] = []
        async with aclosing(self._agent.log(after_seq=after, timeout_s=timeout_s)) as log:
            async for mutation in log:
                if mutation.seq >= before:
                    break
                found.append(mutation)
        return found

    async def _read(self, point: Point, timeout_s: float | None) -> Snapshot:
        return await self._agent.read(seq=_seq(point), checkpoint=_name(point), time=_time(point), timeout_s=timeout_s)


async def _at(agent: Agent, seq: int | None, timeout_s: float | None) -> Snapshot:
    """A state in the version that the program works with: of two shapes nothing could be told."""
    return agent.upcast(await agent.read(seq=seq, timeout_s=timeout_s))


def _from_a_boundary(log: Sequence[DecidedMutation]) -> Sequence[DecidedMutation]:
    """Without what may be the rest of a step that began before: half a step cannot be taken back."""
    reverts = log[0].mutation.reverts if log and log[0].seq > 1 else 0
    if not reverts:
        return log
    at = next((index for index, each in enumerate(log) if each.mutation.reverts != reverts), len(log))
    return log[at:]


def _seq(point: Point) -> int | None:
    return point if isinstance(point, int) else None


def _name(point: Point) -> str | None:
    return point if isinstance(point, str) else None


def _time(point: Point) -> datetime | None:
    return point if isinstance(point, datetime) else None
