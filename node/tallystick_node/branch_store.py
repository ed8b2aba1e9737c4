"""The use cases of branches, no gRPC: what `store.py` is for logs.

Rules of this file:
- A checkpoint and a time are looked up here, before anything is proposed; head is where the log then ends. What went
  since a first attempt is proposed all the same, at a seq that no log has: a retry is answered as before.
- All else is as in `store.py`: branches are read and written there, by their names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from tallystick.errors import Compacted, NotFound
from tallystick_node.access import BARRIER_TIMEOUT_S, Access, Consistency, ReadFrom, page_items
from tallystick_node.core.commands import BranchCommand, DeleteBranch, Fork, ForkTeam, Target
from tallystick_node.core.outcomes import Deleted, Forked
from tallystick_node.storage.pages import Page
from tallystick_node.storage.reads import At, AtCheckpoint, AtLastTurn, AtSeq, AtTime, Branch, Head, Reads
from tallystick_node.store import Write
from tallystick_node.wire.branch_commands import keyed_deletion, keyed_fork, keyed_team
from tallystick_node.wire.commands import encode_command
from tallystick_node.wire.fields import check_name, check_target

OutcomeT = TypeVar("OutcomeT", Forked, Deleted)

_NOWHERE: Final = 2**63 - 1
"""A seq that no log has."""


class BranchStore:
    """See the module.

    Args:
        clock_ms: Unix time in milliseconds; only stamps, nothing is decided by it.
    """

    def __init__(self, access: Access, reads: Reads, clock_ms: Callable[[], int]) -> None:
        self._access = access
        self._reads = reads
        self._clock_ms = clock_ms

    async def fork(self, write: Write, branch: str, at: At) -> Forked:
        """Begins a branch at a point of the log that `write` names.

        Raises:
            Refused: NotFound (agent, branch or point), AlreadyExists, QuotaExceeded, Invalid.
            Unavailable: nothing happened.
            Undecided: it may have; ask again with the same key.
        """
        check_target(write.target)
        check_name("branch", branch)
        try:
            at_seq = await self._seq(write, at)
        except (NotFound, Compacted) as gone:
            if not write.key:
                raise
            try:
                return await self._fork(write, branch, at, _NOWHERE)
            except NotFound:  # it is no retry
                raise gone from None
        return await self._fork(write, branch, at, at_seq)

    async def fork_team(self, write: Write, branch: str, position: int) -> Forked:
        """Begins a branch of each agent whose name begins with the agent's in `write`, all at one position, or of none.

        Raises as `fork`.
        """
        namespace, prefix, source_branch = write.target
        command = ForkTeam(
            self._clock_ms(), namespace, prefix, branch, position, source_branch=source_branch, actor=write.actor
        )
        return await self._decide(keyed_team(command, write.key), write.timeout_s, Forked)

    async def delete(self, write: Write, epoch: int) -> Deleted:
        """Removes a branch: what it wrote, not what it shares.

        Raises:
            Refused: NotFound, Conflict (`BRANCH_IN_USE`, or where it ends), StaleOwner, Invalid.
            Unavailable, Undecided: as `fork`.
        """
        command = DeleteBranch(
            self._clock_ms(), write.target, expected_seq=write.expected_seq, epoch=epoch, actor=write.actor
        )
        return await self._decide(keyed_deletion(command, write.key), write.timeout_s, Deleted)

    async def branches(self, target: Target, after: str, limit: int, read_from: ReadFrom) -> Page[Branch]:
        """A page of an agent's branches, by name; that of the target is not looked at.

        Raises:
            NotFound: the agent does not exist.
            Unavailable, Undecided: this node cannot answer with the consistency asked for.
        """
        check_target(target)
        await self._access.ready(read_from)
        items = page_items("limit", limit)
        return self._access.looked_up(lambda: self._reads.branches(target, after, items))

    async def _fork(self, write: Write, branch: str, at: At, at_seq: int | None) -> Forked:
        command = Fork(self._clock_ms(), write.target, branch, at_seq, actor=write.actor)
        return await self._decide(keyed_fork(command, write.key, _asked(at)), write.timeout_s, Forked)

    async def _seq(self, write: Write, at: At) -> int | None:
        match at:
            case Head():
                return None
            case AtSeq():
                return at.seq
            case _:
                timeout_s = min(write.timeout_s, BARRIER_TIMEOUT_S)
                await self._access.ready(ReadFrom(Consistency.LINEARIZABLE, 0, timeout_s))
                return self._access.looked_up(lambda: self._reads.seq_at(write.target, at))

    async def _decide(self, command: BranchCommand, timeout_s: float, expected: type[OutcomeT]) -> OutcomeT:
        return await self._access.decide(encode_command(command), timeout_s, expected)


def _asked(at: At) -> str:
    """The point as it was asked for. A part of fingerprints: it must stay as it is."""
    match at:
        case Head():
            return "head"
        case AtSeq():
            return f"seq {at.seq}"
        case AtCheckpoint():
            return f"checkpoint {at.name}"
        case AtTime():
            return f"time {at.time_unix_ms}"
        case AtLastTurn():
            return "last turn"
