"""An agent, as its program holds it: its log (`_writing.py`, `_reading.py`), its branches, its history, its outbox."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

from tallystick import _convert
from tallystick._branches import Branches
from tallystick._calls import Calls
from tallystick._infos import BranchInfo
from tallystick._json import JSONLike
from tallystick._methods import delete_agent_method, delete_branch_method
from tallystick._values import MAIN, Appended, Consistency, Revision
from tallystick._writing import WritableLog
from tallystick.errors import Invalid
from tallystick.history.changes import StateChange
from tallystick.history.history import History, Point
from tallystick.history.saving import Saver
from tallystick.outbox.line import Line
from tallystick.outbox.outbox import DEFAULT_PATIENCE_S, Outbox
from tallystick.v1 import branch_pb2, state_pb2


class Agent(WritableLog):
    """One agent of a namespace: its log, its state and its checkpoints. Made by `Client.agent`; holds no connection.

    Every method may raise `Unavailable` (nothing happened); a write may raise `Undecided` (it may have been applied:
    ask again with `error.metadata["idempotency_key"]`). `timeout_s` limits the whole call, retries included.
    """

    def __init__(
        self, calls: Calls, *, namespace: str, name: str, actor: str, consistency: Consistency, branch: str = MAIN
    ) -> None:
        super().__init__(calls, namespace=namespace, name=name, actor=actor, consistency=consistency, branch=branch)
        self._branches = Branches(calls, self._ref, actor)
        self._saver = Saver(self)

    @property
    def history(self) -> History:
        """Its history as something to work with: differences, reverts, undo and redo."""
        return History(self)

    async def save(
        self, state: JSONLike, *, cause: str = "", expected_seq: int | None = None, timeout_s: float | None = None
    ) -> Appended | None:
        """Brings the agent's state to this value, by appending what differs from the present one.

        So a state that grows costs its growth, each time that it is saved. What was saved last is kept in memory, so
        that only the first save reads the state. Saved again, it has no further effect.

        Example:
            state["messages"].append({"role": "user", "content": text})
            await agent.save(state)

        Args:
            cause: what led to it.
            expected_seq: refuse unless the log ends here (0: unless it is empty). Without it, what others changed
                meanwhile is changed back: name it, or hold the lease, where others may write.

        Returns:
            What was appended; None if the state was this one.

        Raises:
            Conflict: the log ends elsewhere; or others kept appending meanwhile.
            Invalid: the state is not JSON; the difference is larger than an append may be (2 MB; see `ops` and
                payloads for more), or the state too large.
        """
        return await self._saver.save(state, cause=cause, expected_seq=expected_seq, timeout_s=timeout_s)

    async def drift(self, state: JSONLike, *, at: Point = None, timeout_s: float | None = None) -> list[StateChange]:
        """How a state in memory differs from the one that is kept; empty if it does not: see `History.drift`.

        Example:
            paths = [change.path for change in await agent.drift(self.state, at=self.seq)]
        """
        return await self.history.drift(state, at=at, timeout_s=timeout_s)

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
        self._calls.versions.forget(self.name)
        self._calls.observing.gone(self.name, self.branch)
        self._steps.forget()
        self._saver.forget()
        return _convert.revision(answer.revision)

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
        self._calls.versions.forget(self.name)
        self._calls.observing.gone(self.name)
        self._steps.forget()
        self._saver.forget()
        return _convert.revision(answer.revision)

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
