"""A log, as it is written: mutations, checkpoints, steps, turns, and the lease that writes go under.

Rules of this file:
- A write gets its idempotency key once, before its first attempt; retries carry the same one and have one effect.
- Under a lease each write carries its epoch; one that was refused as stale ends the lease here (`leases/fence.py`).
- Each write raises the session to its own revision, so that a session read afterwards sees it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from tallystick import _convert
from tallystick._calls import AnswerT, Calls, Method
from tallystick._infos import LeaseInfo
from tallystick._json import JSON, JSONLike, decode, encode
from tallystick._methods import (
    append_method,
    checkpoint_method,
    describe_lease_method,
    pin_checkpoint_method,
    release_lease_method,
)
from tallystick._reading import ReadableLog
from tallystick._stream import DEFAULT_WINDOW, AppendStream
from tallystick._values import MAIN, Appended, Checkpoint, Consistency, Mutation, Operation, Revision
from tallystick.errors import Refused, StaleOwner
from tallystick.leases.fence import Fence
from tallystick.leases.lease import DEFAULT_TTL_S, DEFAULT_WAIT_S, Lease
from tallystick.schemas.bringing import Bringer
from tallystick.schemas.report import Brought
from tallystick.steps.results import may_stand_in
from tallystick.steps.running import Effect, OnAmbiguous, OnFailed, Rules, run
from tallystick.steps.steps import Steps
from tallystick.steps.turn import OnOpen, Turn
from tallystick.steps.writer import Writer
from tallystick.v1 import branch_pb2, lease_pb2, retention_pb2, state_pb2

WriteT = TypeVar(
    "WriteT",
    state_pb2.AppendRequest,
    state_pb2.CheckpointRequest,
    state_pb2.DeleteAgentRequest,
    branch_pb2.DeleteBranchRequest,
)


class WritableLog(ReadableLog):
    """One branch of one agent, as its program writes it.

    Args:
        actor: who writes.
    """

    def __init__(
        self, calls: Calls, *, namespace: str, name: str, actor: str, consistency: Consistency, branch: str = MAIN
    ) -> None:
        super().__init__(calls, namespace=namespace, name=name, consistency=consistency, branch=branch)
        self._actor = actor
        self._fence = Fence()
        self._writer = Writer(calls, self._ref, self._fence, actor)
        self._steps = Steps(self._writer, consistency)

    @property
    def epoch(self) -> int:
        """Of the lease that the writes of this object go under now; 0: none.

        Raises:
            StaleOwner: the lease was lost.
        """
        return self._fence.epoch

    @property
    def steps(self) -> Steps:
        """Its steps: begin, complete, fail, list, load. `step` does it all at once."""
        return self._steps

    async def append(
        self,
        *operations: Operation,
        cause: str = "",
        trace_id: str = "",
        schema_version: int = 0,
        expected_seq: int | None = None,
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
    ) -> Appended:
        """Appends one mutation of these operations to the log; the agent begins with its first one.

        Example:
            await agent.append(ops.set("/next_batch", 2), ops.append("/done", 1), cause="tool:copy#17")

        Args:
            operations: applied in order, all or none.
            cause: what led to it.
            expected_seq: refuse unless the log ends here (0: unless it is empty).
            idempotency_key: at most 64 bytes; made by the client if None.

        Raises:
            Conflict: the log ends elsewhere.
            Invalid: an operation does not fit the state, or a limit is exceeded.
        """
        mutation = Mutation.of(*operations, cause=cause, trace_id=trace_id, schema_version=schema_version)
        return await self.append_many(
            (mutation,), expected_seq=expected_seq, idempotency_key=idempotency_key, timeout_s=timeout_s
        )

    async def append_many(
        self,
        mutations: Sequence[Mutation],
        *,
        expected_seq: int | None = None,
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
    ) -> Appended:
        """Appends several mutations, all or none, next to each other in the log.

        Where this program knows a schema of the state, they carry its version, and a state of an older one is brought
        up first by a mutation of its own.

        Raises:
            Conflict: the log does not end at `expected_seq`; `STATE_VERSION`, the state has a newer version than this
                program knows.
            Invalid: an operation does not fit the state, or a limit is exceeded; `SCHEMA_VIOLATION`.
        """
        versions, log = self._calls.versions, (self.name, self.branch)
        chain = versions.to_check(self.name, mutations)
        if chain is not None:
            expected_seq = await self._bringer().ready(
                chain, expected_seq, timeout_s, may_be_decided=idempotency_key is not None
            )
        mutations = versions.stamped(self.name, mutations)
        request = state_pb2.AppendRequest(
            agent=self._ref,
            mutations=map(_convert.mutation_message, mutations),
            idempotency_key=idempotency_key or self._calls.outside.new_key(),
            expected_seq=expected_seq,
            epoch=self._fence.epoch,
            actor=self._actor,
        )
        observing = self._calls.observing
        news = observing.carry(*log, request.mutations)
        try:
            answer = await self._write(append_method, request, timeout_s)
        except Refused:
            versions.doubt(log)
            raise
        if not answer.replayed:
            observing.acknowledged(*log, news)
        observing.wrote(*log, answer.first_seq, answer.last_seq, answer.hash)
        self._calls.session.saw(answer.revision)
        if chain is not None:
            versions.saw_current(log, chain.version)
        return _convert.appended(answer)

    async def migrate(self, *, timeout_s: float | None = None) -> Brought | None:
        """Brings the stored state to the version that this program works with, as its next write would.

        Returns: None if the agent does not exist, or the program knows no schema of its state.

        Raises:
            Conflict: others keep appending.
            NotFound: `SCHEMA_NOT_FOUND`, that version is not registered.
            Invalid: an upcaster is missing; `SCHEMA_VIOLATION`, what upcasters made of the state is not valid.
        """
        chain = self._calls.versions.known.of_agent(self.name)
        if chain is None:
            return None
        await self._bringer().check_registered(chain, timeout_s)
        return await self._bringer().bring(chain, chain.version, timeout_s)

    async def record(
        self,
        kind: str,
        payload: JSONLike = None,
        *,
        cause: str = "",
        trace_id: str = "",
        schema_version: int = 0,
        expected_seq: int | None = None,
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
    ) -> Appended:
        """Appends a custom event, for example `record("tool_result", {...})`: in the log, without effect on the state.

        Raises:
            Conflict: the log does not end at `expected_seq`.
            Invalid: the kind is empty or `state`, or the payload is not JSON.
        """
        mutation = Mutation.event(kind, payload, cause=cause, trace_id=trace_id, schema_version=schema_version)
        return await self.append_many(
            (mutation,), expected_seq=expected_seq, idempotency_key=idempotency_key, timeout_s=timeout_s
        )

    def stream(self, *, window: int = DEFAULT_WINDOW, timeout_s: float | None = None) -> AppendStream:
        """A pipeline of appends, for throughput: `async with agent.stream() as stream: ...`.

        Args:
            window: how many appends may be unanswered at once.
            timeout_s: how long the stream may go without any answer before it fails.
        """
        return AppendStream(self._calls, self._ref, self._fence, actor=self._actor, window=window, timeout_s=timeout_s)

    async def checkpoint(
        self,
        name: str,
        *,
        step: int = 0,
        metadata: Mapping[str, JSONLike] | None = None,
        pending_calls: Sequence[JSONLike] = (),
        expected_seq: int | None = None,
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
    ) -> Checkpoint:
        """Names the point where the log now ends. It costs a record, not a copy of the state.

        Args:
            step: the caller's own count.
            metadata: a JSON object.
            pending_calls: calls begun and not answered.

        Raises:
            AlreadyExists: the name is taken by another point.
            NotFound: the agent does not exist.
            Conflict: the log does not end at `expected_seq`.
        """
        request = state_pb2.CheckpointRequest(
            agent=self._ref,
            name=name,
            step=step,
            metadata=encode(metadata if metadata is not None else {}),
            pending_calls=encode(pending_calls),
            idempotency_key=idempotency_key or self._calls.outside.new_key(),
            expected_seq=expected_seq,
            epoch=self._fence.epoch,
            actor=self._actor,
            observed=self._calls.observing.record(self.name, self.branch),
        )
        answer = await self._write(checkpoint_method, request, timeout_s)
        self._calls.session.saw(answer.checkpoint.revision)
        return _convert.checkpoint(answer.checkpoint)

    async def step(
        self,
        name: str,
        effect: Effect,
        *args: object,
        on_ambiguous: OnAmbiguous = "raise",
        on_failed: OnFailed = "raise",
        cause: str = "",
        timeout_s: float | None = None,
    ) -> JSON:
        """Does something once: begun in the log before it happens, completed with its result after.

        A program that died goes through its steps again: a completed one returns its result without happening again,
        one that was begun is ambiguous, for nobody knows whether it happened, and is settled as `on_ambiguous` says.
        An exception of the effect is recorded, and goes on. Steps may run at the same time.

        Example:
            rows = await agent.step("copy-2", copy_batch, 2)

        Args:
            name: unique among the agent's steps.
            effect: called with `args`; may be a coroutine function. If it has a parameter `effect_key`, it gets one
                that is equal for all attempts: hand it to whom the effect is asked of. It returns JSON of 64 MiB at
                most, which is returned as it will be read back; above 256 KiB the log holds its name, and it is kept as
                a payload.
            on_ambiguous: `"raise"`; `"retry"` (for effects that may happen twice); `"fail"`; or a function that looks,
                gets the `Step`, and answers `Happened(result)`, or None if it did not happen: then it is retried.
            on_failed: of a step that failed before: `"raise"`, or `"retry"`.
            timeout_s: of each call to the nodes; the effect takes as long as it takes.

        Raises:
            Conflict: `STEP_AMBIGUOUS` or `STEP_FAILED`, and it is to be raised.
            Invalid: the result is not JSON, or too large: the step stays ambiguous, for the effect has happened.
            StaleOwner: another holds the lease.
        """
        loaded = self._steps.loaded(name)
        if loaded is not None:
            return decode(await self._steps.whole(loaded, timeout_s=timeout_s) if may_stand_in(loaded) else loaded)
        rules = Rules(on_ambiguous, on_failed, cause, timeout_s)
        return await run(self._steps, name, effect, args, rules)

    def turn(
        self, *, note: JSONLike = None, on_open: OnOpen = "raise", cause: str = "", timeout_s: float | None = None
    ) -> Turn:
        """What the agent does between two rests: `async with agent.turn(): ...`. One is open at a time.

        It ends with the block; an exception leaves it open, as the agent's death does. `rehydrate(at_turn=True)` is the
        state at the end of the last turn that was ended, with what dangles beside it.

        Args:
            note: what it is about, for the record.
            on_open: of a turn that was left open: `"raise"`, `"resume"` (go on with it) or `"abandon"` (leave it as it
                is, and begin another).

        Raises, when the block is entered:
            Conflict: `TURN_CONFLICT`, another turn is open; the metadata name the seq that began it.
            StaleOwner: another holds the lease.
        """
        return Turn(self._writer, note=note, on_open=on_open, cause=cause, timeout_s=timeout_s)

    def lease(
        self, *, ttl_s: float = DEFAULT_TTL_S, wait_s: float = DEFAULT_WAIT_S, holder: str | None = None
    ) -> Lease:
        """The exclusive right to write this agent's log: `async with agent.lease(ttl_s=10) as lease: ...`.

        It is acquired when the block is entered, renewed while it runs, and released when it is left. Inside, the
        writes of this object (streams too) carry its epoch; those of everybody else are refused as `StaleOwner`. The
        agent need not exist yet. Reads need no lease.

        Args:
            ttl_s: how long it lives without a renewal, 1 to 3600 s: as long at least as the program may stand still.
            wait_s: how long to wait for one's turn while another holds it; 0: not at all.
            holder: a name that nobody else uses at the same time; made by the client if None.

        Raises, when the block is entered:
            Conflict: `LEASE_HELD`, another held it all the time; the metadata name the holder.
            QuotaExceeded: too many leases are held in the cluster.
            Unavailable: no majority answers.
            Undecided: it may have been acquired; then it ends by time.
        """
        return Lease(
            self._calls,
            self._ref,
            self._fence,
            actor=self._actor,
            holder=holder or f"{self._actor or 'client'}#{self._calls.outside.new_key()[:16]}",
            ttl_s=ttl_s,
            wait_s=wait_s,
        )

    async def describe_lease(
        self, *, consistency: Consistency | None = None, timeout_s: float | None = None
    ) -> LeaseInfo:
        """Who may write this agent's log; `epoch` is 0 if its lease was never acquired."""
        consistency = consistency or self._consistency
        request = lease_pb2.DescribeLeaseRequest(agent=self._ref, options=self._calls.session.read_options(consistency))
        answer = await self._calls.read(describe_lease_method, request, consistency=consistency, timeout_s=timeout_s)
        return _convert.lease_info(answer.lease)

    async def pin(self, checkpoint: str, *, timeout_s: float | None = None) -> Revision:
        """Keeps a checkpoint for good: when retention removes the mutations around it, it stays, with its state.

        Raises:
            NotFound: there is none of that name.
            Compacted: its state is gone already.
        """
        return await self._pin(checkpoint, timeout_s, is_pinned=True)

    async def unpin(self, checkpoint: str, *, timeout_s: float | None = None) -> Revision:
        """Lets a checkpoint go with the mutations around it again.

        Raises:
            NotFound: there is none of that name.
        """
        return await self._pin(checkpoint, timeout_s, is_pinned=False)

    async def _pin(self, checkpoint: str, timeout_s: float | None, *, is_pinned: bool) -> Revision:
        request = retention_pb2.PinCheckpointRequest(
            agent=self._ref, name=checkpoint, is_pinned=is_pinned, actor=self._actor
        )
        answer = await self._calls.write(pin_checkpoint_method, request, key="", timeout_s=timeout_s)
        self._calls.session.saw(answer.revision)
        return _convert.revision(answer.revision)

    async def release_lease(self, epoch: int, *, timeout_s: float | None = None) -> LeaseInfo:
        """Ends a lease of this epoch, whoever holds it: for who runs agents, when a holder is known to be gone.

        Raises:
            StaleOwner: this epoch has expired, or another is held.
        """
        request = lease_pb2.ReleaseLeaseRequest(agent=self._ref, epoch=epoch, actor=self._actor)
        answer = await self._calls.write(release_lease_method, request, key="", timeout_s=timeout_s)
        self._calls.session.saw(answer.lease.revision)
        return _convert.lease_info(answer.lease)

    def _bringer(self) -> Bringer:
        return Bringer(self._calls, self._ref, actor=self._actor, epoch=self._fence.epoch)

    async def _write(self, method: Method[WriteT, AnswerT], request: WriteT, timeout_s: float | None) -> AnswerT:
        try:
            return await self._calls.write(method, request, key=request.idempotency_key, timeout_s=timeout_s)
        except StaleOwner:
            self._fence.refused(request.epoch)
            raise
