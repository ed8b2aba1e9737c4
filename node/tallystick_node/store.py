"""Every use case of a node, no gRPC: the page to read first.

A write is checked, stamped, encoded, decided and answered; a read waits until this node may answer, and answers; a
watch waits likewise and follows the feed. What a command does is core's; how it is decided is consensus's; here is
who calls whom.

Rules of this file:
- What does not depend on state is refused before anything is proposed; what does is decided, and its refusal comes back
  as a value that is raised here.
- Every wait has a timeout.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from tallystick.errors import Corrupt, Invalid, NoLeader, Reason, Refused, TallystickError, Unavailable, error_for
from tallystick.v1 import state_pb2
from tallystick_node.consensus.barrier import Barrier
from tallystick_node.consensus.runner import Runner
from tallystick_node.core import limits
from tallystick_node.core.commands import Append, Checkpoint, Command, DeleteAgent, Target
from tallystick_node.core.outcomes import (
    Appended,
    Checkpointed,
    CheckpointTaken,
    Deleted,
    MutationDecided,
    Outcome,
    Refusal,
)
from tallystick_node.core.tables import LogRecord
from tallystick_node.feed.batch import Batch, Filter
from tallystick_node.feed.feed import Feed
from tallystick_node.machine import Machine, Outcomes
from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.reads import At, Page, Reads, StateRead
from tallystick_node.wire.commands import encode_request, join_commands
from tallystick_node.wire.fields import check_name, check_target
from tallystick_node.wire.mutations import admit_mutations

Found = TypeVar("Found")
OutcomeT = TypeVar("OutcomeT", Appended, Checkpointed, Deleted)

DEFAULT_PAGE_ITEMS: Final = 100
"""Items of a page when the caller names no limit."""

BARRIER_TIMEOUT_S: Final = 3.0
"""How long a linearizable read waits for a majority at most."""


class Consistency(enum.Enum):
    """What a read must see; see the promises in the README."""

    LINEARIZABLE = enum.auto()
    SESSION = enum.auto()
    LOCAL = enum.auto()


@dataclass(frozen=True, slots=True)
class ReadFrom:
    """How a read is to be served.

    Attributes:
        consistency: what it must see.
        position: for a session read, the position that this node must have reached.
        timeout_s: how long it may wait for that.
    """

    consistency: Consistency
    position: int
    timeout_s: float


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
    """A state, and the mutations since its newest checkpoint as far as they were asked for."""

    state: StateRead
    tail: list[MutationDecided]
    tail_truncated: bool


class Store:
    """See the module.

    Args:
        clock_ms: Unix time in milliseconds; only stamps, nothing is decided by it.
        on_damage: hears that the stored state is not what was written: the node must stop.
    """

    def __init__(
        self,
        runner: Runner[Outcomes],
        machine: Machine,
        reads: Reads,
        feed: Feed,
        clock_ms: Callable[[], int],
        on_damage: Callable[[DatabaseDamaged], None],
    ) -> None:
        self._runner = runner
        self._machine = machine
        self._reads = reads
        self._feed = feed
        self._clock_ms = clock_ms
        self._on_damage = on_damage
        self._barrier = Barrier(lambda: runner.confirm_read(BARRIER_TIMEOUT_S))

    @property
    def position(self) -> int:
        """The position this node has reached in the decided history."""
        return self._machine.position

    # Writes.

    async def append(self, write: Write, mutations: Sequence[state_pb2.Mutation], epoch: int) -> Appended:
        """Appends mutations to an agent's log, all or none.

        Raises:
            Refused: decided, or checked before: Invalid, Conflict, StaleOwner, NotFound (branch), QuotaExceeded.
            Unavailable: nothing happened.
            Undecided: it may have; ask again with the same key.
        """
        command = self._append_command(write, mutations, epoch)
        return await self._decide(command, write, Appended)

    async def checkpoint(
        self, write: Write, name: str, step: int, metadata: bytes, pending_calls: bytes, epoch: int
    ) -> Checkpointed:
        """Names the point where the log ends.

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
        )
        return await self._decide(command, write, Checkpointed)

    async def delete_agent(self, write: Write) -> Deleted:
        """Removes an agent: its log, states and checkpoints.

        Raises:
            Refused: NotFound, Conflict, Invalid.
            Unavailable, Undecided: as `append`.
        """
        command = DeleteAgent(
            time_unix_ms=self._clock_ms(),
            target=write.target,
            expected_seq=write.expected_seq,
            actor=write.actor,
        )
        return await self._decide(command, write, Deleted)

    async def append_in_order(
        self, appends: Sequence[tuple[Write, Sequence[state_pb2.Mutation], int]], timeout_s: float
    ) -> list[Appended | Refused]:
        """Appends of one stream (write, mutations, epoch), decided together and in order, each with its own outcome.

        Raises:
            Unavailable, Undecided: as `append`, for all of them that were not refused here.
        """
        checked = [self._checked_append(*append) for append in appends]
        encoded = [command for command in checked if isinstance(command, bytes)]
        outcomes: list[Outcome] = []
        for command in join_commands(encoded):
            outcomes += await self._runner.propose(command, timeout_s)
        decided = iter(outcomes)
        return [each if isinstance(each, Refused) else _appended_or_refused(next(decided)) for each in checked]

    def _checked_append(self, write: Write, mutations: Sequence[state_pb2.Mutation], epoch: int) -> bytes | Refused:
        try:
            return encode_request(self._append_command(write, mutations, epoch), write.key)
        except Refused as error:
            return error

    def _append_command(self, write: Write, mutations: Sequence[state_pb2.Mutation], epoch: int) -> Append:
        return Append(
            time_unix_ms=self._clock_ms(),
            target=write.target,
            mutations=admit_mutations(mutations),
            expected_seq=write.expected_seq,
            epoch=epoch,
            actor=write.actor,
        )

    async def _decide(self, command: Command, write: Write, expected: type[OutcomeT]) -> OutcomeT:
        (outcome,) = await self._runner.propose(encode_request(command, write.key), write.timeout_s)
        return _expect(outcome, expected)

    # Reads.

    async def read(self, target: Target, at: At, read_from: ReadFrom, tail_limit: int) -> Rehydrated:
        """The state at head, a seq, a checkpoint or a time, with the newest checkpoint before and what came after it.

        Raises:
            NotFound: the agent, branch, seq, checkpoint or time does not exist.
            Unavailable, Undecided: this node cannot answer with the consistency asked for.
        """
        check_target(target)
        tail_limit = _page_items("tail_limit", tail_limit) if tail_limit else 0
        await self._ready(read_from)
        state = self._looked_up(lambda: self._reads.read_state(target, at))
        if not tail_limit:
            return Rehydrated(state, [], tail_truncated=False)
        first = state.checkpoint.seq if state.checkpoint is not None else 0
        page = self._looked_up(lambda: self._reads.mutations(target, first, tail_limit))
        tail = [mutation for mutation in page.items if mutation.seq <= state.seq]
        reached = tail[-1].seq if tail else first
        return Rehydrated(state, tail, tail_truncated=reached < state.seq)

    async def mutations(self, target: Target, after_seq: int, limit: int, read_from: ReadFrom) -> Page[MutationDecided]:
        """A page of a log. Raises as `read`."""
        check_target(target)
        await self._ready(read_from)
        items = _page_items("limit", limit)
        return self._looked_up(lambda: self._reads.mutations(target, after_seq, items))

    async def get_checkpoint(self, target: Target, name: str, read_from: ReadFrom) -> CheckpointTaken:
        """One checkpoint. Raises as `read`."""
        check_target(target)
        check_name("name", name)
        await self._ready(read_from)
        return self._looked_up(lambda: self._reads.checkpoint(target, name))

    async def checkpoints(
        self, target: Target, after_position: int, limit: int, read_from: ReadFrom
    ) -> Page[CheckpointTaken]:
        """A page of a log's checkpoints, oldest first. Raises as `read`."""
        check_target(target)
        await self._ready(read_from)
        items = _page_items("limit", limit)
        return self._looked_up(lambda: self._reads.checkpoints(target, after_position, items))

    async def agents(self, namespace: str, prefix: str, after: str, limit: int, read_from: ReadFrom) -> Page[LogRecord]:
        """A page of the agents of a namespace, by name. Raises as `read`."""
        check_name("namespace", namespace)
        if prefix:
            check_name("prefix", prefix)
        await self._ready(read_from)
        items = _page_items("limit", limit)
        return self._looked_up(lambda: self._reads.agents(namespace, prefix, after, items))

    def _looked_up(self, look: Callable[[], Found]) -> Found:
        """What is stored; damage is never answered with, and stops the node."""
        try:
            return look()
        except DatabaseDamaged as error:
            self._on_damage(error)
            raise Corrupt(str(error)) from error

    async def _ready(self, read_from: ReadFrom) -> None:
        """Waits until this node may answer."""
        if not self._runner.may_be_read:
            raise Unavailable("this node's state is damaged, and a peer's copy is awaited", reason=Reason.BEHIND)
        if read_from.consistency is Consistency.LINEARIZABLE:
            try:
                async with asyncio.timeout(read_from.timeout_s):
                    await self._barrier.wait()
            except TimeoutError:
                raise NoLeader("no majority answered this node in time") from None
        elif read_from.consistency is Consistency.SESSION:
            await self._reach(read_from.position, read_from.timeout_s)

    async def _reach(self, position: int, timeout_s: float) -> None:
        if self._machine.position >= position:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._machine.reached(position)
        except TimeoutError:
            message = f"this node has applied {self._machine.position} and was asked for {position}"
            raise Unavailable(message, reason=Reason.BEHIND) from None

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
            await self._reach(after, timeout_s)
        async with contextlib.aclosing(self._feed.watch(watched, after)) as batches:
            try:
                async for batch in batches:
                    yield batch
            except DatabaseDamaged as error:
                self._on_damage(error)
                raise Corrupt(str(error)) from error


def _page_items(field: str, limit: int) -> int:
    if limit > limits.PAGE_ITEMS:
        raise Invalid(
            f"{field} is {limit}, a page has at most {limits.PAGE_ITEMS} items",
            reason=Reason.TOO_LARGE,
            metadata={"field": field, "limit": str(limits.PAGE_ITEMS)},
        )
    return limit or DEFAULT_PAGE_ITEMS


def _expect(outcome: Outcome, expected: type[OutcomeT]) -> OutcomeT:
    if isinstance(outcome, Refusal):
        raise error_for(outcome.reason, outcome.message, outcome.metadata)
    if not isinstance(outcome, expected):
        raise TallystickError(f"expected {expected.__name__}, decided was {outcome!r}")
    return outcome


def _appended_or_refused(outcome: Outcome) -> Appended | Refused:
    try:
        return _expect(outcome, Appended)
    except Refused as error:
        return error
