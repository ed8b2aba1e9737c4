"""A log, as it is read: states at any point of it, its mutations, its checkpoints."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Final

from tallystick import _convert
from tallystick._calls import Calls
from tallystick._methods import (
    get_checkpoint_method,
    list_agents_method,
    list_checkpoints_method,
    list_mutations_method,
    read_method,
)
from tallystick._times import to_unix_ms
from tallystick._values import MAIN, Checkpoint, Consistency, DecidedMutation, Snapshot, StateDigest
from tallystick.causality.values import Observed
from tallystick.errors import Invalid, NotFound, Reason
from tallystick.schemas.models import ModelT, TypedSnapshot, as_model
from tallystick.schemas.versions import is_unwritten
from tallystick.v1 import common_pb2, state_pb2

PAGE: Final = 500
DEFAULT_TAIL: Final = 100


class ReadableLog:
    """One branch of one agent of a namespace: what anybody may read of it. Holds no connection."""

    def __init__(
        self, calls: Calls, *, namespace: str, name: str, consistency: Consistency, branch: str = MAIN
    ) -> None:
        self._calls = calls
        self._ref = common_pb2.AgentRef(namespace=namespace, agent=name, branch=branch if branch != MAIN else "")
        self._consistency = consistency

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
    def observed(self) -> Observed:
        """What this client has read besides this log: what its mutations carry, as far as they have not yet."""
        return self._calls.observing.all(besides=(self.name, self.branch))

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

        It is the state as it is stored: `rehydrate`, or `upcast`, brings it to the version that the program works with.

        Args:
            at_turn: where the last turn that was ended ends; the tail is what came after it. See `rehydrate`.
            tail: also return the mutations after the newest checkpoint, at most this many (limit 1000).
            consistency: what the read promises; None: what the client was made with.

        Raises:
            NotFound: the agent, or the point of its log, does not exist.
            Compacted: it is not kept; `metadata["oldest_seq"]` is where what is kept begins.
        """
        request = self._at(checkpoint, seq, time, at_turn=at_turn)
        request.tail_limit = tail
        snapshot = _convert.snapshot(await self._read(request, consistency, timeout_s))
        is_head = request.WhichOneof("at") is None and (consistency or self._consistency) is Consistency.LINEARIZABLE
        self._saw(snapshot.seq, snapshot.hash, is_head=is_head)
        if snapshot.tail:
            self._saw(snapshot.tail[-1].seq, snapshot.tail[-1].hash)
        self._calls.versions.gave_as_stored((self.name, self.branch))
        return snapshot

    def upcast(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with its state in the version that this program works with; of a newer one, as it is.

        Raises:
            Invalid: an upcaster is missing.
        """
        return self._calls.versions.upcast((self.name, self.branch), snapshot)

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
            Compacted: it is not kept; `metadata["oldest_seq"]` is where what is kept begins.
        """
        request = self._at(checkpoint, seq, time)
        request.digest_only = True
        return _convert.state_digest(await self._read(request, consistency, timeout_s))

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
        Upcasters that the client was made with bring an older state to the version that the program works with.

        Args:
            at_turn: the state where the last turn that was ended ends (at seq 0 if none was), and as the tail what
                dangles: all that came after it. `Snapshot.open_turn` names the turn that was left open.

        Raises:
            NotFound: the point of the log does not exist.
        """
        at_head = checkpoint is None and seq is None and time is None and self.branch == MAIN
        while True:
            try:
                snapshot = await self.read(
                    checkpoint=checkpoint,
                    seq=seq,
                    time=time,
                    at_turn=at_turn,
                    tail=tail,
                    consistency=consistency,
                    timeout_s=timeout_s,
                )
                return self.upcast(snapshot)
            except NotFound as error:
                if not (missing_ok and at_head and error.reason is Reason.AGENT_NOT_FOUND):
                    raise
            empty = await self._empty(consistency or self._consistency, timeout_s)
            if empty is not None:
                return empty

    async def rehydrate_as(
        self,
        model: type[ModelT],
        *,
        initial: ModelT | None = None,
        checkpoint: str | None = None,
        seq: int | None = None,
        time: datetime | None = None,
        at_turn: bool = False,
        tail: int = DEFAULT_TAIL,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> TypedSnapshot[ModelT]:
        """`rehydrate`, with the state as a Pydantic model.

        Example:
            plan = await agent.rehydrate_as(Plan, initial=Plan(goal="ship it"))
            print(plan.state.goal, plan.seq)

        Args:
            initial: of an agent whose state was not written yet; None: what the model makes of `{}`.

        Raises:
            NotFound: the point of the log does not exist.
            Invalid: `SCHEMA_VIOLATION`, the state is no such model; the metadata name path, rule and version.
        """
        snapshot = await self.rehydrate(
            checkpoint=checkpoint,
            seq=seq,
            time=time,
            at_turn=at_turn,
            tail=tail,
            consistency=consistency,
            timeout_s=timeout_s,
        )
        if initial is not None and is_unwritten(snapshot):
            return TypedSnapshot(initial, snapshot)
        return TypedSnapshot(as_model(model, snapshot.state, snapshot.given_version), snapshot)

    def log(
        self,
        *,
        after_seq: int = 0,
        raw: bool = False,
        consistency: Consistency | None = None,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[DecidedMutation, None]:
        """The mutations after a seq, oldest first, to the end of the log as it is when the end is reached.

        After 0: from the oldest that is kept, for retention removes those before (`tallystick.history.beginning`).

        Args:
            raw: with the bytes that were hashed, to follow the hash chain (`tallystick.history.Chain`).
            timeout_s: limits the fetch of each page.

        Raises:
            NotFound: the agent does not exist.
            Compacted: what follows the seq is not kept, or was removed meanwhile; `metadata["oldest_seq"]` is where
                what is kept begins.
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
        self._saw(answer.checkpoint.seq, answer.checkpoint.hash)
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

    def _saw(self, seq: int, hash_: bytes, *, is_head: bool = False) -> None:
        self._calls.observing.saw(self.name, self.branch, seq, hash_, is_head=is_head)

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
                self._saw(message.seq, message.hash)
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
                self._saw(message.seq, message.hash)
                yield _convert.checkpoint(message)
            if not (page.more and page.checkpoints):
                return
            request.after_revision = page.checkpoints[-1].revision.position
