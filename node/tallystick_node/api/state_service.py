"""`tallystick.v1.StateService`: each method turns a message into one call of the store and its value into a message."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Final

from tallystick.errors import Refused, TallystickError
from tallystick.v1 import state_pb2, state_pb2_grpc
from tallystick_node.api import calls, messages
from tallystick_node.api.append_stream import groups
from tallystick_node.api.calls import Context
from tallystick_node.api.header import Headers, read_from
from tallystick_node.core.outcomes import Appended, CheckpointTaken
from tallystick_node.feed.batch import Filter
from tallystick_node.leases.store import LeaseStore
from tallystick_node.retention.store import RetentionStore
from tallystick_node.storage.reads import At, AtCheckpoint, AtLastTurn, AtSeq, AtTime, Head
from tallystick_node.store import Store, Write

STREAM_TIMEOUT_S: Final = 5.0
"""How long a group of an AppendStream may take: the stream itself has no deadline."""

WriteRequest = state_pb2.AppendRequest | state_pb2.CheckpointRequest | state_pb2.DeleteAgentRequest


class StateService(state_pb2_grpc.StateServiceServicer):
    """See the module."""

    def __init__(self, store: Store, leases: LeaseStore, retention: RetentionStore, headers: Headers) -> None:
        self._store = store
        self._leases = leases
        self._retention = retention
        self._headers = headers

    @calls.unary
    async def Append(self, request: state_pb2.AppendRequest, context: Context) -> state_pb2.AppendResponse:  # noqa: N802
        write = _write(request, context, calls.timeout_s(context))
        return self._appended(await self._store.append(write, request.mutations, request.epoch))

    @calls.streaming
    async def AppendStream(  # noqa: N802
        self, requests: AsyncIterator[state_pb2.AppendRequest], context: Context
    ) -> AsyncIterator[state_pb2.AppendStreamResponse]:
        """Answers in order. A refusal is one request's affair; what may be lost ends the stream."""
        async with contextlib.aclosing(groups(requests)) as gathered:
            async for group in gathered:
                appends = [(_write(each, context, STREAM_TIMEOUT_S), each.mutations, each.epoch) for each in group]
                for done in await self._store.append_in_order(appends, STREAM_TIMEOUT_S):
                    if isinstance(done, Refused):
                        yield state_pb2.AppendStreamResponse(error=_stream_error(done))
                    else:
                        yield state_pb2.AppendStreamResponse(response=self._appended(done))

    @calls.unary
    async def Read(self, request: state_pb2.ReadRequest, context: Context) -> state_pb2.ReadResponse:  # noqa: N802
        named = messages.target(request.agent)
        found = await self._store.read(named, _at(request), read_from(request.options, context), request.tail_limit)
        state = found.state
        return state_pb2.ReadResponse(
            header=self._headers.make(),
            seq=state.seq,
            state=b"" if request.digest_only else state.state,
            state_digest=state.digest if request.digest_only else b"",
            hash=state.hash,
            time_unix_ms=state.time_unix_ms,
            checkpoint=self._checkpoints([state.checkpoint])[0] if state.checkpoint is not None else None,
            tail=[messages.mutation(mutation) for mutation in found.tail],
            tail_truncated=found.tail_truncated,
            open_turn=found.open_turn,
            state_version=found.state_version,
        )

    @calls.unary
    async def ListMutations(  # noqa: N802
        self, request: state_pb2.ListMutationsRequest, context: Context
    ) -> state_pb2.ListMutationsResponse:
        named = messages.target(request.agent)
        how = read_from(request.options, context)
        page = await self._store.mutations(named, request.after_seq, request.limit, how)
        listed = [messages.mutation(mutation, raw=request.raw) for mutation in page.items]
        return state_pb2.ListMutationsResponse(header=self._headers.make(), mutations=listed, more=page.more)

    @calls.unary
    async def Checkpoint(  # noqa: N802
        self, request: state_pb2.CheckpointRequest, context: Context
    ) -> state_pb2.CheckpointResponse:
        write = _write(request, context, calls.timeout_s(context))
        done = await self._store.checkpoint(
            write,
            request.name,
            request.step,
            request.metadata,
            request.pending_calls,
            request.epoch,
            request.observed.SerializeToString(deterministic=True),
        )
        info = messages.checkpoint(done.checkpoint)
        return state_pb2.CheckpointResponse(header=self._headers.make(), checkpoint=info, replayed=done.replayed)

    @calls.unary
    async def GetCheckpoint(  # noqa: N802
        self, request: state_pb2.GetCheckpointRequest, context: Context
    ) -> state_pb2.GetCheckpointResponse:
        named = messages.target(request.agent)
        taken = await self._store.get_checkpoint(named, request.name, read_from(request.options, context))
        (info,) = self._checkpoints([taken])
        return state_pb2.GetCheckpointResponse(header=self._headers.make(), checkpoint=info)

    @calls.unary
    async def ListCheckpoints(  # noqa: N802
        self, request: state_pb2.ListCheckpointsRequest, context: Context
    ) -> state_pb2.ListCheckpointsResponse:
        named = messages.target(request.agent)
        how = read_from(request.options, context)
        page = await self._store.checkpoints(named, request.after_revision, request.limit, how)
        listed = self._checkpoints(page.items)
        return state_pb2.ListCheckpointsResponse(header=self._headers.make(), checkpoints=listed, more=page.more)

    @calls.streaming
    async def Watch(  # noqa: N802
        self, request: state_pb2.WatchRequest, context: Context
    ) -> AsyncIterator[state_pb2.WatchResponse]:
        watched = Filter(
            request.namespace,
            request.agent if request.HasField("agent") else None,
            request.agent_prefix if request.HasField("agent_prefix") else None,
        )
        after = request.after.position if request.HasField("after") else None
        async for batch in self._store.watch(watched, after, calls.timeout_s(context)):
            events = [messages.event(event) for event in batch.events]
            yield state_pb2.WatchResponse(events=events, cursor=messages.revision(batch.cursor))

    @calls.unary
    async def ListAgents(  # noqa: N802
        self, request: state_pb2.ListAgentsRequest, context: Context
    ) -> state_pb2.ListAgentsResponse:
        how = read_from(request.options, context)
        page = await self._store.agents(request.namespace, request.prefix, request.after, request.limit, how)
        listed = [
            messages.agent(
                log,
                self._leases.known(log.target),
                self._retention.anchor(log),
                self._store.state_version(log),
            )
            for log in page.items
        ]
        return state_pb2.ListAgentsResponse(header=self._headers.make(), agents=listed, more=page.more)

    @calls.unary
    async def DeleteAgent(  # noqa: N802
        self, request: state_pb2.DeleteAgentRequest, context: Context
    ) -> state_pb2.DeleteAgentResponse:
        deleted = await self._store.delete_agent(_write(request, context, calls.timeout_s(context)), request.epoch)
        return state_pb2.DeleteAgentResponse(
            header=self._headers.make(), revision=messages.revision(deleted.position), replayed=deleted.replayed
        )

    def _checkpoints(self, taken: Sequence[CheckpointTaken]) -> list[state_pb2.CheckpointInfo]:
        pinned = self._retention.pinned(taken)
        return [messages.checkpoint(each, is_pinned=each.position in pinned) for each in taken]

    def _appended(self, appended: Appended) -> state_pb2.AppendResponse:
        return state_pb2.AppendResponse(
            header=self._headers.make(),
            first_seq=appended.first_seq,
            last_seq=appended.last_seq,
            hash=appended.hash,
            time_unix_ms=appended.time_unix_ms,
            revision=messages.revision(appended.position),
            replayed=appended.replayed,
        )


def _write(request: WriteRequest, context: Context, timeout_s: float) -> Write:
    return Write(
        target=messages.target(request.agent),
        key=request.idempotency_key,
        expected_seq=request.expected_seq if request.HasField("expected_seq") else None,
        actor=calls.actor(context, request.actor),
        timeout_s=timeout_s,
    )


def _at(request: state_pb2.ReadRequest) -> At:
    match request.WhichOneof("at"):
        case "seq":
            return AtSeq(request.seq)
        case "checkpoint":
            return AtCheckpoint(request.checkpoint)
        case "time_unix_ms":
            return AtTime(request.time_unix_ms)
        case "last_turn" if request.last_turn:
            return AtLastTurn()
        case _:
            return Head()


def _stream_error(error: TallystickError) -> state_pb2.Error:
    return state_pb2.Error(reason=error.reason, message=error.message, metadata=error.metadata)
