"""The use cases of steps and turns, no gRPC: those of `store.py`, of what has a mutation of a reserved kind.

Rules of this file: those of `store.py`. The mutation is made here, from what the caller says; core decides whether its
log gets it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tallystick.v1 import common_pb2
from tallystick_node.access import Access, ReadFrom, page_items
from tallystick_node.core.commands import BeginStep, BeginTurn, EndStep, EndTurn, StepCommand, Target
from tallystick_node.core.outcomes import StepDecided, TurnDecided
from tallystick_node.storage.pages import Page
from tallystick_node.storage.step_reads import StepRead, StepReads, StepResult
from tallystick_node.store import Write
from tallystick_node.wire.commands import encode_request
from tallystick_node.wire.fields import check_name, check_target
from tallystick_node.wire.step_mutations import (
    Failure,
    begun_mutation,
    completed_mutation,
    failed_mutation,
    turn_begun_mutation,
    turn_ended_mutation,
)

OutcomeT = TypeVar("OutcomeT", StepDecided, TurnDecided)


class StepStore:
    """See the module. Every write may raise `Unavailable` (nothing happened) or `Undecided` (ask again).

    Args:
        clock_ms: Unix time in milliseconds; only stamps, nothing is decided by it.
    """

    def __init__(self, access: Access, reads: StepReads, clock_ms: Callable[[], int]) -> None:
        self._access = access
        self._reads = reads
        self._clock_ms = clock_ms

    async def begin(
        self,
        write: Write,
        name: str,
        *,
        retry_of: int,
        input_digest: bytes,
        cause: str,
        epoch: int,
        observed: common_pb2.Observed | None = None,
    ) -> StepDecided:
        """Begins an attempt at a step, unless one is under way or it is completed: then it is answered as it is.

        Args:
            retry_of: the attempt that this one follows; 0: begin it only if it never was.
            input_digest: of what it is begun with, for the record.

        Raises:
            Refused: NotFound (a step that was never begun, a branch), StaleOwner, Invalid.
        """
        mutation = begun_mutation(name, retry_of + 1, input_digest, cause, observed)
        command = BeginStep(self._clock_ms(), write.target, name, retry_of, mutation, epoch=epoch, actor=write.actor)
        return await self._decide(command, write, StepDecided)

    async def end(
        self,
        write: Write,
        name: str,
        attempt: int,
        end: bytes | Failure,
        *,
        cause: str,
        epoch: int,
        observed: common_pb2.Observed | None = None,
    ) -> StepDecided:
        """Ends the present attempt at a step: with its result as JSON text, or with why it failed.

        Raises:
            Refused: NotFound, Conflict (that attempt is not under way), StaleOwner, Invalid.
        """
        has_failed = isinstance(end, Failure)
        if isinstance(end, Failure):
            mutation = failed_mutation(name, attempt, end, cause, observed)
        else:
            mutation = completed_mutation(name, attempt, end, cause, observed)
        time_unix_ms = self._clock_ms()
        command = EndStep(
            time_unix_ms, write.target, name, attempt, has_failed, mutation, epoch=epoch, actor=write.actor
        )
        return await self._decide(command, write, StepDecided)

    async def begin_turn(
        self,
        write: Write,
        *,
        abandons: int,
        note: bytes,
        cause: str,
        epoch: int,
        observed: common_pb2.Observed | None = None,
    ) -> TurnDecided:
        """Begins a turn. `abandons`: the open one, which is left as it is; 0: none is open.

        Raises:
            Refused: Conflict (another turn is open, or none), NotFound (branch), StaleOwner, Invalid.
        """
        mutation = turn_begun_mutation(abandons, note, cause, observed)
        command = BeginTurn(self._clock_ms(), write.target, abandons, mutation, epoch=epoch, actor=write.actor)
        return await self._decide(command, write, TurnDecided)

    async def end_turn(
        self,
        write: Write,
        turn: int,
        *,
        note: bytes,
        cause: str,
        epoch: int,
        observed: common_pb2.Observed | None = None,
    ) -> TurnDecided:
        """Ends the open turn, which began at seq `turn`.

        Raises:
            Refused: Conflict (it is not open), NotFound, StaleOwner, Invalid.
        """
        mutation = turn_ended_mutation(turn, note, cause, observed)
        command = EndTurn(self._clock_ms(), write.target, turn, mutation, epoch=epoch, actor=write.actor)
        return await self._decide(command, write, TurnDecided)

    async def step(self, target: Target, name: str, read_from: ReadFrom) -> StepRead:
        """A step.

        Raises:
            NotFound: the agent or the step does not exist.
            Unavailable, Undecided: this node cannot answer with the consistency asked for.
        """
        check_target(target)
        check_name("name", name)
        await self._access.ready(read_from)
        return self._access.looked_up(lambda: self._reads.step(target, name))

    async def steps(
        self, target: Target, after: str, limit: int, read_from: ReadFrom, *, with_ends: bool
    ) -> Page[StepRead]:
        """A page of a log's steps, by name. Raises as `step`."""
        check_target(target)
        if after:
            check_name("after", after)
        await self._access.ready(read_from)
        items = page_items("limit", limit)
        return self._access.looked_up(lambda: self._reads.steps(target, after, items, with_ends=with_ends))

    async def results(self, target: Target, after: str, limit: int, read_from: ReadFrom) -> Page[StepResult]:
        """A page of what a log's completed steps returned, by name. Raises as `step`."""
        check_target(target)
        if after:
            check_name("after", after)
        await self._access.ready(read_from)
        items = page_items("limit", limit)
        return self._access.looked_up(lambda: self._reads.results(target, after, items))

    async def _decide(self, command: StepCommand, write: Write, expected: type[OutcomeT]) -> OutcomeT:
        return await self._access.decide(encode_request(command, write.key), write.timeout_s, expected)
