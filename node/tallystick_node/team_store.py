"""The use cases of several agents at once: transactions, and cuts through a team. What `store.py` is for one log.

Rules of this file:
- What does not depend on state is refused before anything is proposed (`wire/team_commands.py`).
- A cut is read as it was decided; of an agent that is gone, or is another one by now, there is no state.
- A page of states is bounded, and each state is rebuilt on the loop's thread: between two of them others have a turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from tallystick.errors import Invalid, NotFound
from tallystick.v1 import state_pb2
from tallystick_node.access import Access, ReadFrom, expect, page_items
from tallystick_node.core import limits, teams
from tallystick_node.core.commands import DeleteTeamCheckpoint, Part, TakeTeamCheckpoint, Target, Transact
from tallystick_node.core.outcomes import (
    TeamCheckpointed,
    TeamCheckpointGone,
    TeamCheckpointRecord,
    TeamMember,
    Transacted,
)
from tallystick_node.schemas.checking import Checks
from tallystick_node.storage.pages import Page
from tallystick_node.storage.reads import AtSeq, Reads
from tallystick_node.wire.commands import encode_command
from tallystick_node.wire.fields import check_name
from tallystick_node.wire.mutations import admit_mutations
from tallystick_node.wire.team_commands import keyed_checkpoint, keyed_transaction


@dataclass(frozen=True, slots=True)
class AskedPart:
    """What a client asks to append to one log."""

    target: Target
    mutations: Sequence[state_pb2.Mutation]
    expected_seq: int | None
    epoch: int


@dataclass(frozen=True, slots=True)
class MemberState:
    """An agent of a cut: its state there, and where its log ends now. None: it is gone, or another one by now."""

    member: TeamMember
    state: bytes | None
    head_seq: int


@dataclass(frozen=True, slots=True)
class MemberStates:
    """Some states of a cut in order, how many of its members were looked at up to here, and whether there are more."""

    record: TeamCheckpointRecord
    states: list[MemberState]
    looked_at: int

    @property
    def more(self) -> bool:
        """Whether there are further members."""
        return self.looked_at < len(self.record.members)


class TeamStore:
    """See the module.

    Args:
        clock_ms: Unix time in milliseconds; only stamps, nothing is decided by it.
    """

    def __init__(self, access: Access, reads: Reads, checks: Checks, clock_ms: Callable[[], int]) -> None:
        self._access = access
        self._checks = checks
        self._reads = reads
        self._clock_ms = clock_ms

    async def transact(
        self, namespace: str, parts: Sequence[AskedPart], *, key: str, actor: str, timeout_s: float
    ) -> Transacted:
        """Appends to several logs of a namespace, to all or none.

        Raises:
            Refused: as `Store.append`; the metadata name the part. QuotaExceeded: the states are too large together.
            Unavailable: nothing happened.
            Undecided: it may have; ask again with the same key.
        """
        admitted = tuple([_admitted(namespace, at, part) for at, part in enumerate(parts)])
        command = keyed_transaction(Transact(self._clock_ms(), admitted, None, actor), key)
        encode_command(command)  # what does not depend on state is refused before anything is checked
        return expect(await self._checks.transact(command, [part.mutations for part in parts], timeout_s), Transacted)

    async def checkpoint(self, command: TakeTeamCheckpoint, key: str, timeout_s: float) -> TeamCheckpointed:
        """Names the point where the logs of a team end. `command` has neither time nor fingerprint yet.

        Raises:
            Refused: AlreadyExists, NotFound, QuotaExceeded, Invalid.
            Unavailable, Undecided: as `transact`.
        """
        keyed = keyed_checkpoint(command, key)
        stamped = replace(keyed, time_unix_ms=self._clock_ms())
        return await self._access.decide(encode_command(stamped), timeout_s, TeamCheckpointed)

    async def delete(self, command: DeleteTeamCheckpoint, timeout_s: float) -> TeamCheckpointGone:
        """Removes a cut. `command` has no time yet.

        Raises:
            NotFound: there is none of that name, or it is another one than was meant.
            Unavailable, Undecided: as `transact`.
        """
        stamped = replace(command, time_unix_ms=self._clock_ms())
        return await self._access.decide(encode_command(stamped), timeout_s, TeamCheckpointGone)

    async def get(self, namespace: str, name: str, read_from: ReadFrom) -> TeamCheckpointRecord:
        """A cut by its name.

        Raises:
            NotFound: there is none.
            Unavailable, Undecided: this node cannot answer with the consistency asked for.
        """
        check_name("namespace", namespace)
        check_name("name", name)
        await self._access.ready(read_from)
        record = self._access.looked_up(lambda: self._reads.teams.checkpoint(namespace, name))
        if record is None:
            raise teams.not_found(namespace, name)
        return record

    async def checkpoints(
        self, namespace: str, after_position: int, limit: int, read_from: ReadFrom
    ) -> Page[TeamCheckpointRecord]:
        """A page of the cuts of a namespace, oldest first. Raises as `get`."""
        check_name("namespace", namespace)
        await self._access.ready(read_from)
        items = page_items("limit", limit)
        return self._access.looked_up(lambda: self._reads.teams.checkpoints(namespace, after_position, items))

    async def states(
        self, namespace: str, name: str, after: int, limit: int, read_from: ReadFrom, *, changed_only: bool
    ) -> MemberStates:
        """A page of the states of a cut, behind the first `after` members; of `limit` members at most.

        `changed_only`: without those whose log still ends where the cut has it. Raises as `get`.
        """
        items = page_items("limit", limit)
        record = await self.get(namespace, name, read_from)
        found: list[MemberState] = []
        size_bytes = 0
        looked_at = min(after, len(record.members))
        for member in record.members[after : after + items]:
            if found and size_bytes > limits.PAGE_BYTES:
                break
            await asyncio.sleep(0)  # whoever else waits has a turn between two states
            looked_at += 1
            target = Target(namespace, member.agent, member.branch)
            if changed_only and self._is_unchanged(target, member):
                continue
            found.append(self._state(target, member))
            size_bytes += len(found[-1].state or b"")
        return MemberStates(record, found, looked_at)

    def _is_unchanged(self, target: Target, member: TeamMember) -> bool:
        try:
            log = self._access.looked_up(lambda: self._reads.log(target))
        except NotFound:
            return False
        return (log.seq, log.hash) == (member.seq, member.hash)

    def _state(self, target: Target, member: TeamMember) -> MemberState:
        try:
            head_seq = self._access.looked_up(lambda: self._reads.log(target)).seq
            found = self._access.looked_up(lambda: self._reads.read_state(target, AtSeq(member.seq)))
        except NotFound:
            return MemberState(member, None, 0)
        return MemberState(member, found.state if found.hash == member.hash else None, head_seq)


def _admitted(namespace: str, at: int, part: AskedPart) -> Part:
    if part.target.namespace != namespace:
        raise Invalid(f"part {at} is not of {namespace!r}", metadata={"field": "namespace"})
    if not part.mutations and part.expected_seq is not None:
        return Part(part.target, (), part.expected_seq)
    try:
        return Part(part.target, admit_mutations(part.mutations), part.expected_seq, part.epoch)
    except Invalid as refused:
        refused.metadata.update(part=str(at), agent=part.target.agent, branch=part.target.branch)
        raise
