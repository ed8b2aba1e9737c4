"""Every use case of a node, no gRPC: the page to read first.

A write is checked, stamped, encoded, decided and answered; a read waits until this node may answer, and answers; a
watch waits likewise and follows the feed. What a command does is core's; how it is decided is consensus's; here is
who calls whom. An append is checked against the schemas of its namespace on the way (`schemas/checking.py`).

Rules of this file:
- What does not depend on state is refused before anything is proposed; what does is decided, and its refusal comes back
  as a value that is raised here.
- Every wait has a timeout (`access.py`).
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from tallystick.errors import Refused
from tallystick.v1 import state_pb2
from tallystick_node.access import Access, ReadFrom, expect, page_items
from tallystick_node.core.commands import AgentCommand, Append, Checkpoint, DeleteAgent, Target
from tallystick_node.core.outcomes import (
    Appended,
    Checkpointed,
    CheckpointTaken,
    Deleted,
    MutationDecided,
    Outcome,
)
from tallystick_node.core.tables import LogRecord
from tallystick_node.feed.batch import Batch, Filter
from tallystick_node.feed.feed import Feed
from tallystick_node.schemas.checking import Asked, Checks
from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.pages import Page
from tallystick_node.storage.reads import At, AtLastTurn, Reads, StateRead
from tallystick_node.wire.commands import encode_request
from tallystick_node.wire.fields import check_name, check_target
from tallystick_node.wire.mutations import admit_mutations

OutcomeT = TypeVar("OutcomeT", Checkpointed, Deleted)


@dataclass(frozen=True, slots=True)
class Write:
    """What every write carries.

    Attributes:
        target: the log it is for.
        key: idempotency key, or empty.
        expected_seq: where the log must end, or None.
        actor: who writes.
        timeout_s: how long the caller waits.
    """

    target: Target
    key: str
    expected_seq: int | None
    actor: str
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Rehydrated:
    """A state, and the mutations since its newest checkpoint as far as they were asked for, and are kept.

    At the end of the last turn they are those since then, and `open_turn` is the seq that began the turn that is open,
    or 0. `state_version`: of the schema that the state follows; 0: none governed it.
    """

    state: StateRead
    tail: list[MutationDecided]
    tail_truncated: bool
    open_turn: int = 0
    state_version: int = 0


class Store:
    """See the module.

    Args:
        clock_ms: Unix time in milliseconds; only stamps, nothing is decided by it.
    """

    def __init__(self, access: Access, reads: Reads, feed: Feed, checks: Checks, clock_ms: Callable[[], int]) -> None:
        self._access = access
        self._checks = checks
        self._reads = reads
        self._feed = feed
        self._clock_ms = clock_ms

    @property
    def position(self) -> int:
        """The position this node has reached in the decided history."""
        return self._access.position

    # Writes.

    async def append(self, write: Write, mutations: Sequence[state_pb2.Mutation], epoch: int) -> Appended:
        """Appends mutations to an agent's log, all or none.

        Raises:
            Refused: decided, or checked before: Invalid, Conflict, StaleOwner, NotFound (branch), QuotaExceeded.
            Unavailable: nothing happened.
            Undecided: it may have; ask again with the same key.
        """
        (decided,) = await self._checks.decide([self._asked(write, mutations, epoch)], write.timeout_s)
        return _appended(decided)

    async def checkpoint(
        self,
        write: Write,
        name: str,
        step: int,
        metadata: bytes,
        pending_calls: bytes,
        epoch: int,
        observed: bytes = b"",
    ) -> Checkpointed:
        """Names the point where the log ends. `observed`: a message of what was read, for the record.

        Raises:
            Refused: AlreadyExists, NotFound, Conflict, StaleOwner, Invalid.
            Unavailable, Undecided: as `append`.
        """
        command = Checkpoint(
            time_unix_ms=self._clock_ms(),
            target=write.target,
            name=name,
            step=step,
            metadata=metadata,
            pending_calls=pending_calls,
            expected_seq=write.expected_seq,
            epoch=epoch,
            actor=write.actor,
            observed=observed,
        )
        return await self._decide(command, write, Checkpointed)

    async def delete_agent(self, write: Write, epoch: int) -> Deleted:
        """Removes an agent: its log, states and checkpoints.

        Raises:
            Refused: NotFound, Conflict, StaleOwner, Invalid.
            Unavailable, Undecided: as `append`.
        """
        command = DeleteAgent(
            time_unix_ms=self._clock_ms(),
            target=write.target,
            expected_seq=write.expected_seq,
            actor=write.actor,
            epoch=epoch,
        )
        return await self._decide(command, write, Deleted)

    async def append_in_order(
        self, appends: Sequence[tuple[Write, Sequence[state_pb2.Mutation], int]], timeout_s: float
    ) -> list[Appended | Refused]:
        """Appends of one stream (write, mutations, epoch), decided together and in order, each with its own outcome.

        Raises:
            Unavailable, Undecided: as `append`, for all of them that were not refused here.
        """
        admitted = [self._admitted(*append) for append in appends]
        outcomes = await self._checks.decide([each for each in admitted if isinstance(each, Asked)], timeout_s)
        decided = iter(outcomes)
        return [_appended_or_refused(next(decided)) if isinstance(each, Asked) else each for each in admitted]

    def _admitted(self, write: Write, mutations: Sequence[state_pb2.Mutation], epoch: int) -> Asked | Refused:
        try:
            return self._asked(write, mutations, epoch)
        except Refused as error:
            return error

    def _asked(self, write: Write, mutations: Sequence[state_pb2.Mutation], epoch: int) -> Asked:
        command = Append(
            time_unix_ms=self._clock_ms(),
            target=write.target,
            mutations=admit_mutations(mutations),
            expected_seq=write.expected_seq,
            epoch=epoch,
            actor=write.actor,
        )
        return Asked(command, mutations, write.key)

    async def _decide(self, command: AgentCommand, write: Write, expected: type[OutcomeT]) -> OutcomeT:
        return await self._access.decide(encode_request(command, write.key), write.timeout_s, expected)

    # Reads.

    async def read(self, target: Target, at: At, read_from: ReadFrom, tail_limit: int) -> Rehydrated:
        """The state at head, a seq, a checkpoint, a time or the end of the last turn, with the newest checkpoint before
        and what came after it.

        Raises:
            NotFound: the agent, branch, seq, checkpoint or time does not exist.
            Compacted: it is not kept; `metadata["oldest_seq"]` is the oldest seq that is.
            Unavailable, Undecided: this node cannot answer with the consistency asked for.
        """
        check_target(target)
        tail_limit = page_items("tail_limit", tail_limit) if tail_limit else 0
        await self._access.ready(read_from)
        state = self._access.looked_up(lambda: self._reads.read_state(target, at))
        version = self._access.looked_up(lambda: self._reads.registry.version_at(target, state.seq))
        return replace(self._with_tail(target, at, state, tail_limit), state_version=version)

    def _with_tail(self, target: Target, at: At, state: StateRead, tail_limit: int) -> Rehydrated:
        if isinstance(at, AtLastTurn):
            return self._access.looked_up(lambda: self._since_turn(target, state, tail_limit))
        if not tail_limit:
            return Rehydrated(state, [], tail_truncated=False)
        first = state.checkpoint.seq if state.checkpoint is not None else 0
        if state.seq < state.oldest_seq:  # kept by itself: what led to it is gone
            return Rehydrated(state, [], tail_truncated=first < state.seq)
        first = max(first, state.oldest_seq)
        page = self._access.looked_up(lambda: self._reads.mutations(target, first, tail_limit))
        tail = [mutation for mutation in page.items if mutation.seq <= state.seq]
        reached = tail[-1].seq if tail else first
        return Rehydrated(state, tail, tail_truncated=reached < state.seq)

    def _since_turn(self, target: Target, state: StateRead, tail_limit: int) -> Rehydrated:
        log = self._reads.log(target)
        page = (
            self._reads.mutations(target, state.seq, tail_limit) if tail_limit else Page([], more=log.seq > state.seq)
        )
        return Rehydrated(state, page.items, page.more, self._reads.steps.open_turn(log))

    async def mutations(self, target: Target, after_seq: int, limit: int, read_from: ReadFrom) -> Page[MutationDecided]:
        """A page of a log. Raises as `read`."""
        check_target(target)
        await self._access.ready(read_from)
        items = page_items("limit", limit)
        return self._access.looked_up(lambda: self._reads.mutations(target, after_seq, items))

    async def get_checkpoint(self, target: Target, name: str, read_from: ReadFrom) -> CheckpointTaken:
        """One checkpoint. Raises as `read`."""
        check_target(target)
        check_name("name", name)
        await self._access.ready(read_from)
        return self._access.looked_up(lambda: self._reads.checkpoint(target, name))

    async def checkpoints(
        self, target: Target, after_position: int, limit: int, read_from: ReadFrom
    ) -> Page[CheckpointTaken]:
        """A page of a log's checkpoints, oldest first. Raises as `read`."""
        check_target(target)
        await self._access.ready(read_from)
        items = page_items("limit", limit)
        return self._access.looked_up(lambda: self._reads.checkpoints(target, after_position, items))

    async def agents(self, namespace: str, prefix: str, after: str, limit: int, read_from: ReadFrom) -> Page[LogRecord]:
        """A page of the agents of a namespace, by name. Raises as `read`."""
        check_name("namespace", namespace)
        if prefix:
            check_name("prefix", prefix)
        await self._access.ready(read_from)
        items = page_items("limit", limit)
        return self._access.looked_up(lambda: self._reads.agents(namespace, prefix, after, items))

    def state_version(self, log: LogRecord) -> int:
        """The version of the schema that a log's state follows at its head; 0: nothing governed it."""
        return self._access.looked_up(lambda: self._reads.registry.version_at_head(log))

    # Watches.

    async def watch(self, watched: Filter, after: int | None, timeout_s: float) -> AsyncIterator[Batch]:
        """What was decided after a position (None: from now on), each event once and in order.

        Raises:
            Compacted: the position is further back than this node replays.
            Invalid: a bad name.
            Unavailable: this node did not reach the position in time, has too many watches, or is stopping.
        """
        check_name("namespace", watched.namespace)
        for field, name in (("agent", watched.agent), ("agent_prefix", watched.prefix)):
            if name:
                check_name(field, name)
        if after is not None:
            await self._access.reach(after, timeout_s)
        async with contextlib.aclosing(self._feed.watch(watched, after)) as batches:
            try:
                async for batch in batches:
                    yield batch
            except DatabaseDamaged as error:
                raise self._access.damaged(error) from error


def _appended(outcome: Outcome | Refused) -> Appended:
    if isinstance(outcome, Refused):
        raise outcome
    return expect(outcome, Appended)


def _appended_or_refused(outcome: Outcome | Refused) -> Appended | Refused:
    try:
        return _appended(outcome)
    except Refused as error:
        return error
