"""What the client's tests talk to: real gRPC servers on loopback over one fake decided history, with faults by script.

Rules of this file: a fault is a coroutine function that a node runs in place of its answer to one call; it gets the
context and a function that applies the call, so that it may refuse, wait, or apply and then lose the answer. Faults are
used once each, in the order given.
"""

# ruff: noqa: N802 - methods are named as in the .proto
from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

import grpc
import orjson
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from tallystick.errors import ERROR_DOMAIN, REASONS, Reason
from tallystick.v1 import cluster_pb2, cluster_pb2_grpc, common_pb2, state_pb2, state_pb2_grpc

if TYPE_CHECKING:
    from tallystick.v1.cluster_pb2_grpc import _ServicerContext as _StatusContext
    from tallystick.v1.state_pb2_grpc import _MaybeAsyncIterator, _ServicerContext

    Context = grpc.aio.ServicerContext[Message, Message]

DEADLINE_S = 20.0
Fault = Callable[["Context", Callable[[], object]], Awaitable[None]]


def rich_status(reason: Reason, metadata: Mapping[str, str] | None, retry_after_s: float = 0.0) -> bytes:
    """The details of a status, as a node sends them in the trailing metadata."""
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=reason, domain=ERROR_DOMAIN, metadata=dict(metadata or {}))
    ]
    if retry_after_s:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(int(retry_after_s * 1e9))
        details.append(retry)
    status = status_pb2.Status(code=REASONS[reason].status, message=f"says {reason}")
    for detail in details:
        packed = Packed()
        packed.Pack(detail)
        status.details.append(packed)
    text: bytes = status.SerializeToString()
    return text


async def abort(
    context: Context, reason: Reason, metadata: Mapping[str, str] | None = None, retry_after_s: float = 0.0
) -> NoReturn:
    """Ends the call with an error of ours."""
    trailing = (("grpc-status-details-bin", rich_status(reason, metadata, retry_after_s)),)
    code = next(code for code in grpc.StatusCode if code.value[0] == REASONS[reason].status)
    await context.abort(code, "the text is not looked at", trailing)


def refuses(reason: Reason, metadata: Mapping[str, str] | None = None, retry_after_s: float = 0.0) -> Fault:
    """A fault: this error, and nothing applied."""

    async def fault(context: Context, _apply: Callable[[], object]) -> None:
        await abort(context, reason, metadata, retry_after_s)

    return fault


def breaks(code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE, *, applied: bool) -> Fault:
    """A fault: a bare status, as when a connection breaks, before or after the call was applied."""

    async def fault(context: Context, apply: Callable[[], object]) -> None:
        if applied:
            apply()
        await context.abort(code, "broken")

    return fault


def freezes(until: asyncio.Event) -> Fault:
    """A fault: no answer before the event, as from a stopped process."""

    async def fault(context: Context, _apply: Callable[[], object]) -> None:
        await until.wait()
        await context.abort(grpc.StatusCode.UNAVAILABLE, "thawed")

    return fault


@dataclass
class History:
    """One decided history that all nodes serve: an applied key answers as it did the first time."""

    events: list[state_pb2.WatchEvent] = field(default_factory=list)
    answers: dict[str, state_pb2.AppendResponse] = field(default_factory=dict)
    seqs: dict[str, int] = field(default_factory=dict)
    grew: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def revision(self) -> common_pb2.Revision:
        return common_pb2.Revision(group=1, position=len(self.events))

    def append(self, request: state_pb2.AppendRequest) -> state_pb2.AppendResponse:
        known = self.answers.get(request.idempotency_key)
        if known is not None:
            return _replayed(known)
        agent, first = request.agent.agent, self.seqs.get(request.agent.agent, 0) + 1
        for mutation in request.mutations:
            self.seqs[agent] = self.seqs.get(agent, 0) + 1
            decided = state_pb2.DecidedMutation(seq=self.seqs[agent], mutation=mutation, actor=request.actor)
            decided.revision.group, decided.revision.position = 1, len(self.events) + 1
            decided.time_unix_ms = 1_700_000_000_000 + decided.revision.position
            self.events.append(state_pb2.WatchEvent(agent=request.agent, mutation=decided))
        answer = state_pb2.AppendResponse(first_seq=first, last_seq=self.seqs[agent], revision=self.revision)
        self.answers[request.idempotency_key] = answer
        self.grew.set()
        return answer

    def of(self, agent: str) -> list[state_pb2.DecidedMutation]:
        return [event.mutation for event in self.events if event.agent.agent == agent and event.HasField("mutation")]


def _replayed(answer: state_pb2.AppendResponse) -> state_pb2.AppendResponse:
    again = state_pb2.AppendResponse()
    again.CopyFrom(answer)
    again.replayed = True
    return again


class Node(state_pb2_grpc.StateServiceServicer, cluster_pb2_grpc.ClusterServiceServicer):
    """A node: serves the history, unless a fault is next."""

    def __init__(self, history: History, name: str) -> None:
        self.history, self.name = history, name
        self.faults: deque[Fault] = deque()
        self.stream_faults: deque[int] = deque()  # each: break a pipeline, or a watch, after so many answers
        self.stream_errors: dict[str, str] = {}  # by cause: answer this append of a pipeline with this reason, once
        self.requests: list[Message] = []
        self.streamed: list[state_pb2.AppendRequest] = []
        self.deadlines_s: list[float] = []
        self.endpoint = ""
        self.leader_endpoint = ""
        self.members: list[cluster_pb2.Member] = []
        self.waiting = 0
        self._server: grpc.aio.Server | None = None
        self._heard = asyncio.Event()

    def _hear(self, request: Message) -> None:
        self.requests.append(request)
        self._heard.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits until the condition holds, looking whenever something was heard, or a watch began or ended."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                self._heard.clear()
                await self._heard.wait()

    async def start(self, port: int = 0, credentials: grpc.ServerCredentials | None = None) -> None:
        self._server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        state_pb2_grpc.add_StateServiceServicer_to_server(self, self._server)
        cluster_pb2_grpc.add_ClusterServiceServicer_to_server(self, self._server)
        address = f"127.0.0.1:{port}"
        if credentials is None:
            bound = self._server.add_insecure_port(address)
        else:
            bound = self._server.add_secure_port(address, credentials)
        self.endpoint = f"127.0.0.1:{bound}"
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(0)
            self._server = None

    def header(self) -> common_pb2.ResponseHeader:
        return common_pb2.ResponseHeader(
            revision=self.history.revision, node_id=self.name, leader_endpoint=self.leader_endpoint
        )

    async def _maybe_fault(
        self, request: Message, context: Context, apply: Callable[[], object] = lambda: None
    ) -> None:
        self._hear(request)
        self.deadlines_s.append(context.time_remaining() or 0.0)
        if self.faults:
            await self.faults.popleft()(context, apply)

    async def Append(self, request: state_pb2.AppendRequest, context: _ServicerContext) -> state_pb2.AppendResponse:
        await self._maybe_fault(request, context, lambda: self.history.append(request))
        answer = self.history.append(request)
        answer.header.CopyFrom(self.header())
        return answer

    async def AppendStream(
        self, request_iterator: _MaybeAsyncIterator[state_pb2.AppendRequest], context: _ServicerContext
    ) -> AsyncIterator[state_pb2.AppendStreamResponse]:
        left = self.stream_faults.popleft() if self.stream_faults else -1
        async for request in request_iterator:
            self.streamed.append(request)
            self._heard.set()
            if left == 0:
                self.history.append(request)  # applied, and the answer lost
                await context.abort(grpc.StatusCode.UNAVAILABLE, "broken")
            left -= 1
            if self.faults:
                await self.faults.popleft()(context, lambda: None)
            reason = self.stream_errors.pop(request.mutations[0].cause, "")
            if reason:
                yield state_pb2.AppendStreamResponse(error=state_pb2.Error(reason=reason, message="no"))
                continue
            answer = self.history.append(request)
            answer.header.CopyFrom(self.header())
            yield state_pb2.AppendStreamResponse(response=answer)

    async def Read(self, request: state_pb2.ReadRequest, context: _ServicerContext) -> state_pb2.ReadResponse:
        await self._maybe_fault(request, context)
        mutations = self.history.of(request.agent.agent)
        if not mutations:
            await abort(context, Reason.AGENT_NOT_FOUND)
        state = orjson.dumps({"count": len(mutations)})
        return state_pb2.ReadResponse(
            header=self.header(), seq=mutations[-1].seq, state=state, time_unix_ms=mutations[-1].time_unix_ms
        )

    async def ListMutations(
        self, request: state_pb2.ListMutationsRequest, context: _ServicerContext
    ) -> state_pb2.ListMutationsResponse:
        await self._maybe_fault(request, context)
        after = [item for item in self.history.of(request.agent.agent) if item.seq > request.after_seq]
        return state_pb2.ListMutationsResponse(header=self.header(), mutations=after[:3], more=len(after) > 3)

    async def Checkpoint(
        self, request: state_pb2.CheckpointRequest, context: _ServicerContext
    ) -> state_pb2.CheckpointResponse:
        await self._maybe_fault(request, context)
        info = state_pb2.CheckpointInfo(
            name=request.name, seq=self.history.seqs.get(request.agent.agent, 0), step=request.step
        )
        info.metadata, info.pending_calls = request.metadata, request.pending_calls
        info.revision.group, info.revision.position = 1, len(self.history.events) + 1
        self.history.events.append(state_pb2.WatchEvent(agent=request.agent, checkpoint=info))
        self.history.grew.set()
        return state_pb2.CheckpointResponse(header=self.header(), checkpoint=info)

    def _checkpoints(self, agent: str) -> list[state_pb2.CheckpointInfo]:
        found = (event for event in self.history.events if event.HasField("checkpoint"))
        return [event.checkpoint for event in found if event.agent.agent == agent]

    async def GetCheckpoint(
        self, request: state_pb2.GetCheckpointRequest, context: _ServicerContext
    ) -> state_pb2.GetCheckpointResponse:
        await self._maybe_fault(request, context)
        for info in self._checkpoints(request.agent.agent):
            if info.name == request.name:
                return state_pb2.GetCheckpointResponse(header=self.header(), checkpoint=info)
        return await abort(context, Reason.CHECKPOINT_NOT_FOUND)

    async def ListCheckpoints(
        self, request: state_pb2.ListCheckpointsRequest, context: _ServicerContext
    ) -> state_pb2.ListCheckpointsResponse:
        await self._maybe_fault(request, context)
        found = self._checkpoints(request.agent.agent)
        after = [info for info in found if info.revision.position > request.after_revision]
        return state_pb2.ListCheckpointsResponse(header=self.header(), checkpoints=after[:2], more=len(after) > 2)

    async def Watch(
        self, request: state_pb2.WatchRequest, context: _ServicerContext
    ) -> AsyncIterator[state_pb2.WatchResponse]:
        self._hear(request)
        if self.faults:
            await self.faults.popleft()(context, lambda: None)
        left = self.stream_faults.popleft() if self.stream_faults else -1
        at = request.after.position if request.HasField("after") else len(self.history.events)
        self.waiting += 1
        self._heard.set()
        try:
            while True:
                batch = self.history.events[at : at + 2]
                at += len(batch)
                if left == 0:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "broken")
                left -= 1
                yield state_pb2.WatchResponse(events=batch, cursor=common_pb2.Revision(group=1, position=at))
                while at >= len(self.history.events):
                    self.history.grew.clear()
                    await self.history.grew.wait()
        finally:
            self.waiting -= 1
            self._heard.set()

    async def ListAgents(
        self, request: state_pb2.ListAgentsRequest, context: _ServicerContext
    ) -> state_pb2.ListAgentsResponse:
        await self._maybe_fault(request, context)
        names = [name for name in sorted(self.history.seqs) if name.startswith(request.prefix) and name > request.after]
        infos = [
            state_pb2.AgentInfo(agent=common_pb2.AgentRef(agent=name), seq=self.history.seqs[name])
            for name in names[:2]
        ]
        return state_pb2.ListAgentsResponse(header=self.header(), agents=infos, more=len(names) > 2)

    async def DeleteAgent(
        self, request: state_pb2.DeleteAgentRequest, context: _ServicerContext
    ) -> state_pb2.DeleteAgentResponse:
        await self._maybe_fault(request, context)
        gone = state_pb2.AgentDeleted(last_seq=self.history.seqs.pop(request.agent.agent, 0))
        gone.revision.group, gone.revision.position = 1, len(self.history.events) + 1
        self.history.events.append(state_pb2.WatchEvent(agent=request.agent, deleted=gone))
        self.history.grew.set()
        return state_pb2.DeleteAgentResponse(header=self.header(), revision=gone.revision)

    async def Status(self, request: cluster_pb2.StatusRequest, context: _StatusContext) -> cluster_pb2.StatusResponse:
        await self._maybe_fault(request, context)
        return cluster_pb2.StatusResponse(
            header=self.header(), node_id=self.name, role=cluster_pb2.ROLE_FOLLOWER, members=self.members
        )


@asynccontextmanager
async def nodes(count: int) -> AsyncIterator[list[Node]]:
    """So many nodes over one history; stopped in the end."""
    history = History()
    started = [Node(history, f"n{number}") for number in range(1, count + 1)]
    for node in started:
        await node.start()
    try:
        yield started
    finally:
        for node in started:
            await node.stop()


def endpoints(started: list[Node]) -> str:
    """Where they listen, as `connect` takes it."""
    return ",".join(node.endpoint for node in started)
