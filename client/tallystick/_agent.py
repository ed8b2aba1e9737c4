"""An agent, as its program holds it: append, checkpoint, rehydrate.

Rules of this file:
- A write gets its idempotency key once, before its first attempt; retries carry the same one and have one effect.
- Under a lease each write carries its epoch; one that was refused as stale ends the lease here (`leases/fence.py`).
- Each write raises the session to its own revision, so that a session read afterwards sees it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

from tallystick import _convert
from tallystick._branches import Branches
from tallystick._calls import AnswerT, Calls, Method
from tallystick._json import JSON, JSONLike, decode, encode
from tallystick._methods import (
    append_method,
    checkpoint_method,
    delete_agent_method,
    delete_branch_method,
    describe_lease_method,
    get_checkpoint_method,
    list_agents_method,
    list_checkpoints_method,
    list_mutations_method,
    read_method,
    release_lease_method,
)
from tallystick._stream import DEFAULT_WINDOW, AppendStream
from tallystick._values import (
    MAIN,
    Appended,
    BranchInfo,
    Checkpoint,
    Consistency,
    DecidedMutation,
    LeaseInfo,
    Mutation,
    Operation,
    Revision,
    Snapshot,
    StateDigest,
    to_unix_ms,
)
from tallystick.errors import Invalid, NotFound, Reason, StaleOwner
from tallystick.history.changes import StateChange
from tallystick.history.history import History, Point
from tallystick.leases.fence import Fence
from tallystick.leases.lease import DEFAULT_TTL_S, DEFAULT_WAIT_S, Lease
from tallystick.outbox.line import Line
from tallystick.outbox.outbox import DEFAULT_PATIENCE_S, Outbox
from tallystick.steps.running import Effect, OnAmbiguous, OnFailed, Rules, run
from tallystick.steps.steps import Steps
from tallystick.steps.turn import OnOpen, Turn
from tallystick.steps.writer import Writer
from tallystick.v1 import branch_pb2, common_pb2, lease_pb2, state_pb2

PAGE: Final = 500
DEFAULT_TAIL: Final = 100

WriteT = TypeVar(
    "WriteT",
    state_pb2.AppendRequest,
    state_pb2.CheckpointRequest,
    state_pb2.DeleteAgentRequest,
    branch_pb2.DeleteBranchRequest,
)


class Agent:
    """One agent of a namespace: its log, its state and its checkpoints. Made by `Client.agent`; holds no connection.

    Every method may raise `Unavailable` (nothing happened); a write may raise `Undecided` (it may have been applied:
    ask again with `error.metadata["idempotency_key"]`). `timeout_s` limits the whole call, retries included.
    """

    def __init__(
        self, calls: Calls, *, namespace: str, name: str, actor: str, consistency: Consistency, branch: str = MAIN
    ) -> None:
        self._calls = calls
        self._ref = common_pb2.AgentRef(namespace=namespace, agent=name, branch=branch if branch != MAIN else "")
        self._actor = actor
        self._consistency = consistency
        self._fence = Fence()
        self._writer = Writer(calls, self._ref, self._fence, actor)
        self._steps = Steps(self._writer, consistency)
        self._branches = Branches(calls, self._ref, actor)

    @property
    def name(self) -> str:
        """The agent's name."""
        return self._ref.agent

    @property
    def namespace(self) -> str:
        """The namespace that it lives in."""
        return self._ref.namespace

    @property
    def branch(self) -> str:
        """The branch of its log."""
        return self._ref.branch or MAIN

    @property
    def history(self) -> History:
        """Its history as something to work with: differences, reverts, undo and redo."""
        return History(self)

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

        Raises:
            Conflict: the log does not end at `expected_seq`.
            Invalid: an operation does not fit the state, or a limit is exceeded.
        """
        request = state_pb2.AppendRequest(
            agent=self._ref,
            mutations=map(_convert.mutation_message, mutations),
            idempotency_key=idempotency_key or self._calls.outside.new_key(),
            expected_seq=expected_seq,
            epoch=self._fence.epoch,
            actor=self._actor,
        )
        answer = await self._write(append_method, request, timeout_s)
        self._calls.session.saw(answer.revision)
        return _convert.appended(answer)

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
                that is equal for all attempts: hand it to whom the effect is asked of. It returns JSON of 512 KiB at
                most (keep what is larger elsewhere, and its address here), which is returned as it will be read back.
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
            return decode(loaded)
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
        )
        answer = await self._write(checkpoint_method, request, timeout_s)
        self._calls.session.saw(answer.checkpoint.revision)
        return _convert.checkpoint(answer.checkpoint)

    async def delete(
        self, *, expected_seq: int | None = None, idempotency_key: str | None = None, timeout_s: float | None = None
    ) -> Revision:
        """Removes the agent: its log, its state, its checkpoints, and all of its branches.

        Raises:
            NotFound: the agent does not exist.
            Conflict: the log does not end at `expected_seq`.
            Invalid: this is a branch; `delete_branch` removes that alone.
        """
        request = state_pb2.DeleteAgentRequest(
            agent=self._ref,
            idempotency_key=idempotency_key or self._calls.outside.new_key(),
            expected_seq=expected_seq,
            epoch=self._fence.epoch,
            actor=self._actor,
        )
        answer = await self._write(delete_agent_method, request, timeout_s)
        self._calls.session.saw(answer.revision)
        self._steps.forget()
        return _convert.revision(answer.revision)

    async def fork(
        self,
        branch: str,
        *,
        at: Point = None,
        at_turn: bool = False,
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
    ) -> Agent:
        """Begins a branch here: another way to go on, which shares the past up to that point. It costs a record.

        What is appended to the one afterwards is not seen by the other. Checkpoints and steps of the shared past are
        those of the branch too.

        Example:
            trial = await agent.fork("try-b", at="batch-1")
            await trial.append(ops.set("/plan", "b"))

        Args:
            branch: its name, unique among the agent's branches.
            at: a seq, the name of a checkpoint, a time, or None for where the log ends.
            at_turn: instead, where the last turn that was ended ends.

        Returns:
            The agent on that branch, as `client.agent(name, branch=branch)` gives it.

        Raises:
            AlreadyExists: the agent has a branch of that name.
            NotFound: the agent, this branch, or the point does not exist.
            QuotaExceeded: the agent has too many branches, or too many began one at another.
        """
        if at is not None and at_turn:
            raise Invalid("at most one of at and at_turn", metadata={"field": "at"})
        await self._branches.fork(branch, at, at_turn=at_turn, idempotency_key=idempotency_key, timeout_s=timeout_s)
        return self.on_branch(branch)

    def on_branch(self, branch: str) -> Agent:
        """The agent on another of its branches, whether it exists or not; nothing is sent."""
        return Agent(
            self._calls,
            namespace=self.namespace,
            name=self.name,
            actor=self._actor,
            consistency=self._consistency,
            branch=branch,
        )

    def branches(
        self, *, consistency: Consistency | None = None, timeout_s: float | None = None
    ) -> AsyncGenerator[BranchInfo, None]:
        """The agent's branches by name, `main` among them. `timeout_s` limits the fetch of each page.

        Raises:
            NotFound: the agent does not exist.
        """
        return self._branches.list(consistency or self._consistency, timeout_s)

    async def delete_branch(
        self, *, expected_seq: int | None = None, idempotency_key: str | None = None, timeout_s: float | None = None
    ) -> Revision:
        """Removes this branch: what was appended to it, not what it shares with others. `main` goes with the agent.

        Raises:
            NotFound: the agent or the branch does not exist.
            Conflict: `BRANCH_IN_USE`, another branch began at this one; or the log does not end at `expected_seq`.
            Invalid: it is `main`.
        """
        request = branch_pb2.DeleteBranchRequest(
            agent=self._ref,
            idempotency_key=idempotency_key or self._calls.outside.new_key(),
            expected_seq=expected_seq,
            epoch=self._fence.epoch,
            actor=self._actor,
        )
        answer = await self._write(delete_branch_method, request, timeout_s)
        self._calls.session.saw(answer.revision)
        self._steps.forget()
        return _convert.revision(answer.revision)

    async def read(
        self,
        *,
        checkpoint: str | None = None,
        seq: int | None = None,
        time: datetime | None = None,
        at_turn: bool = False,
        tail: int = 0,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> Snapshot:
        """The state at head, or at one of: a checkpoint, a seq, a time (the last mutation at or before it), a turn.

        Args:
            at_turn: where the last turn that was ended ends; the tail is what came after it. See `rehydrate`.
            tail: also return the mutations after the newest checkpoint, at most this many (limit 1000).
            consistency: what the read promises; None: what the client was made with.

        Raises:
            NotFound: the agent, or the point of its log, does not exist.
        """
        request = self._at(checkpoint, seq, time, at_turn=at_turn)
        request.tail_limit = tail
        return _convert.snapshot(await self._read(request, consistency, timeout_s))

    async def state_digest(
        self,
        *,
        checkpoint: str | None = None,
        seq: int | None = None,
        time: datetime | None = None,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> StateDigest:
        """The digest of the state at head, or at one of: a checkpoint, a seq, a time. The state itself is not sent.

        Raises:
            NotFound: the agent, or the point of its log, does not exist.
        """
        request = self._at(checkpoint, seq, time)
        request.digest_only = True
        return _convert.state_digest(await self._read(request, consistency, timeout_s))

    async def drift(self, state: JSONLike, *, at: Point = None, timeout_s: float | None = None) -> list[StateChange]:
        """How a state in memory differs from the one that is kept; empty if it does not: see `History.drift`.

        Example:
            paths = [change.path for change in await agent.drift(self.state, at=self.seq)]
        """
        return await self.history.drift(state, at=at, timeout_s=timeout_s)

    async def rehydrate(
        self,
        *,
        checkpoint: str | None = None,
        seq: int | None = None,
        time: datetime | None = None,
        at_turn: bool = False,
        tail: int = DEFAULT_TAIL,
        missing_ok: bool = True,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> Snapshot:
        """What an agent needs to go on: the state, the newest checkpoint, and what happened since.

        An agent that has no log yet starts at seq 0 with the state `{}`; `missing_ok=False` makes that `NotFound`.

        Args:
            at_turn: the state where the last turn that was ended ends (at seq 0 if none was), and as the tail what
                dangles: all that came after it. `Snapshot.open_turn` names the turn that was left open.

        Raises:
            NotFound: the point of the log does not exist.
        """
        at_head = checkpoint is None and seq is None and time is None and self.branch == MAIN
        while True:
            try:
                return await self.read(
                    checkpoint=checkpoint,
                    seq=seq,
                    time=time,
                    at_turn=at_turn,
                    tail=tail,
                    consistency=consistency,
                    timeout_s=timeout_s,
                )
            except NotFound as error:
                if not (missing_ok and at_head and error.reason is Reason.AGENT_NOT_FOUND):
                    raise
            empty = await self._empty(consistency or self._consistency, timeout_s)
            if empty is not None:
                return empty

    def log(
        self,
        *,
        after_seq: int = 0,
        raw: bool = False,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[DecidedMutation, None]:
        """The mutations after a seq, oldest first, to the end of the log as it is when the end is reached.

        Args:
            raw: with the bytes that were hashed, to follow the hash chain (`tallystick.history.Chain`).
            timeout_s: limits the fetch of each page.

        Raises:
            NotFound: the agent does not exist.
        """
        return self._log(after_seq, raw, consistency or self._consistency, timeout_s)

    def checkpoints(
        self, *, consistency: Consistency | None = None, timeout_s: float | None = None
    ) -> AsyncGenerator[Checkpoint, None]:
        """The checkpoints, oldest first. `timeout_s` limits the fetch of each page.

        Raises:
            NotFound: the agent does not exist.
        """
        return self._checkpoints(consistency or self._consistency, timeout_s)

    async def get_checkpoint(
        self, name: str, *, consistency: Consistency | None = None, timeout_s: float | None = None
    ) -> Checkpoint:
        """The checkpoint of this name.

        Raises:
            NotFound: the agent or the checkpoint does not exist.
        """
        consistency = consistency or self._consistency
        request = state_pb2.GetCheckpointRequest(
            agent=self._ref, options=self._calls.session.read_options(consistency), name=name
        )
        answer = await self._calls.read(get_checkpoint_method, request, consistency=consistency, timeout_s=timeout_s)
        return _convert.checkpoint(answer.checkpoint)

    def _at(
        self, checkpoint: str | None, seq: int | None, time: datetime | None, *, at_turn: bool = False
    ) -> state_pb2.ReadRequest:
        if sum(point is not None for point in (checkpoint, seq, time)) + at_turn > 1:
            raise Invalid("at most one of checkpoint, seq, time and at_turn", metadata={"field": "at"})
        request = state_pb2.ReadRequest(agent=self._ref)
        if checkpoint is not None:
            request.checkpoint = checkpoint
        elif seq is not None:
            request.seq = seq
        elif time is not None:
            request.time_unix_ms = to_unix_ms(time)
        elif at_turn:
            request.last_turn = True
        return request

    async def _read(
        self, request: state_pb2.ReadRequest, consistency: Consistency | None, timeout_s: float | None
    ) -> state_pb2.ReadResponse:
        consistency = consistency or self._consistency
        request.options.CopyFrom(self._calls.session.read_options(consistency))
        return await self._calls.read(read_method, request, consistency=consistency, timeout_s=timeout_s)

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

    async def release_lease(self, epoch: int, *, timeout_s: float | None = None) -> LeaseInfo:
        """Ends a lease of this epoch, whoever holds it: for who runs agents, when a holder is known to be gone.

        Raises:
            StaleOwner: this epoch has expired, or another is held.
        """
        request = lease_pb2.ReleaseLeaseRequest(agent=self._ref, epoch=epoch, actor=self._actor)
        answer = await self._calls.write(release_lease_method, request, key="", timeout_s=timeout_s)
        self._calls.session.saw(answer.lease.revision)
        return _convert.lease_info(answer.lease)

    async def _write(self, method: Method[WriteT, AnswerT], request: WriteT, timeout_s: float | None) -> AnswerT:
        try:
            return await self._calls.write(method, request, key=request.idempotency_key, timeout_s=timeout_s)
        except StaleOwner:
            self._fence.refused(request.epoch)
            raise

    def outbox(
        self,
        path: str | Path,
        *,
        patience_s: float = DEFAULT_PATIENCE_S,
        auto_offline: bool = True,
        write_back: bool = False,
    ) -> Outbox:
        """Goes on working while cut off: `async with agent.outbox("migrator.outbox") as box: ...`.

        The agent must be the only writer of its log (or hold its lease): what others write meanwhile is found out, and
        `Outbox.reconcile` says what becomes of what was done here.

        Args:
            path: the file; one for each log, used by one process at a time. It outlives the process.
            patience_s: how long an append waits for a majority before the agent goes offline.
            auto_offline: go offline when the majority is out of reach; else such an append is refused.
            write_back: appends return once they are on this disk, and are decided behind the caller's back;
                `Outbox.flush` waits for it.
        """
        return Outbox(self._line(), path, patience_s=patience_s, auto_offline=auto_offline, write_back=write_back)

    def _line(self) -> Line:
        def on_fork(forked: Agent) -> Line:
            return forked._line()

        return Line(self, self._calls, self._ref, self._actor, lambda: self._fence.epoch, on_fork)

    async def _empty(self, consistency: Consistency, timeout_s: float | None) -> Snapshot | None:
        """The beginning of an agent that does not exist, at a revision to watch from; None: it has come to exist."""
        request = state_pb2.ListAgentsRequest(
            namespace=self.namespace,
            options=self._calls.session.read_options(consistency),
            prefix=self.name,
            limit=1,
        )
        answer = await self._calls.read(list_agents_method, request, consistency=consistency, timeout_s=timeout_s)
        if any(info.agent.agent == self.name for info in answer.agents):
            return None
        return Snapshot(state={}, seq=0, revision=_convert.revision(answer.header.revision))

    async def _log(
        self, after_seq: int, raw: bool, consistency: Consistency, timeout_s: float | None
    ) -> AsyncGenerator[DecidedMutation, None]:
        request = state_pb2.ListMutationsRequest(agent=self._ref, after_seq=after_seq, raw=raw, limit=PAGE)
        while True:
            request.options.CopyFrom(self._calls.session.read_options(consistency))
            page = await self._calls.read(list_mutations_method, request, consistency=consistency, timeout_s=timeout_s)
            for message in page.mutations:
                yield _convert.decided(message)
            if not (page.more and page.mutations):
                return
            request.after_seq = page.mutations[-1].seq

    async def _checkpoints(self, consistency: Consistency, timeout_s: float | None) -> AsyncGenerator[Checkpoint, None]:
        request = state_pb2.ListCheckpointsRequest(agent=self._ref, limit=PAGE)
        while True:
            request.options.CopyFrom(self._calls.session.read_options(consistency))
            page = await self._calls.read(
                list_checkpoints_method, request, consistency=consistency, timeout_s=timeout_s
            )
            for message in page.checkpoints:
                yield _convert.checkpoint(message)
            if not (page.more and page.checkpoints):
                return
            request.after_revision = page.checkpoints[-1].revision.position
