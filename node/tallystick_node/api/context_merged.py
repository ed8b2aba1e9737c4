"""The methods of `tallystick.v1.ContextService` that the merged half answers: each turns a message into one call."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TypeVar

from tallystick.errors import Invalid, TallystickError
from tallystick.v1 import context_pb2
from tallystick_node.api import calls, messages
from tallystick_node.api.calls import Context
from tallystick_node.api.header import Headers, read_from
from tallystick_node.context_store.decided import DecidedContexts
from tallystick_node.context_store.merged.contexts import Caller, MergedContexts

Request = TypeVar("Request", context_pb2.SyncRequest, context_pb2.PresenceRequest)


class MergedContextMethods:
    """See the module."""

    def __init__(self, decided: DecidedContexts, merged: MergedContexts, headers: Headers) -> None:
        self._decided_contexts = decided
        self._merged = merged
        self._headers = headers

    # Live.

    @calls.streaming
    async def Sync(  # noqa: N802
        self, requests: AsyncIterator[context_pb2.SyncRequest], context: Context
    ) -> AsyncIterator[context_pb2.SyncResponse]:
        opening = (await _first(requests)).open
        caller = _caller(context, opening.actor)
        async with contextlib.aclosing(
            self._merged.sync(opening, requests, caller, self._headers.make, messages.context_info)
        ) as responses:
            async for response in responses:
                yield response

    @calls.streaming
    async def Presence(  # noqa: N802
        self, requests: AsyncIterator[context_pb2.PresenceRequest], context: Context
    ) -> AsyncIterator[context_pb2.PresenceResponse]:
        opening = (await _first(requests)).open
        caller = _caller(context, opening.actor)
        async with contextlib.aclosing(self._merged.presence(opening, requests, caller)) as changes:
            async for states in changes:
                yield context_pb2.PresenceResponse(states=states)

    # Once.

    @calls.unary
    async def DescribeContext(  # noqa: N802
        self, request: context_pb2.DescribeContextRequest, context: Context
    ) -> context_pb2.DescribeContextResponse:
        """What is decided, always; what this node's document is, if it can be said at the moment."""
        ref = request.context
        record = await self._decided_contexts.describe(ref.namespace, ref.name, read_from(request.options, context))
        response = context_pb2.DescribeContextResponse(
            header=self._headers.make(),
            info=messages.context_info(record),
            subscribers=self._merged.subscribers(record),
        )
        with contextlib.suppress(TallystickError):
            described = await self._merged.described(record)
            response.size.CopyFrom(described.size)
            response.cursor.CopyFrom(described.cursor)
        return response

    @calls.streaming
    async def Pull(  # noqa: N802
        self, request: context_pb2.PullRequest, context: Context
    ) -> AsyncIterator[context_pb2.PullResponse]:
        is_first = True
        async with contextlib.aclosing(self._merged.pull(request, _caller(context, ""))) as parts:
            async for record, part in parts:
                response = context_pb2.PullResponse(data=part.data)
                if is_first:
                    response.header.CopyFrom(self._headers.make())
                    response.info.CopyFrom(messages.context_info(record))
                if part.is_last:
                    response.cursor.CopyFrom(part.cursor)
                is_first = False
                yield response

    @calls.unary
    async def History(  # noqa: N802
        self, request: context_pb2.HistoryRequest, context: Context
    ) -> context_pb2.HistoryResponse:
        response = await self._merged.history(request, _caller(context, ""))
        response.header.CopyFrom(self._headers.make())
        return response

    @calls.unary
    async def Blame(  # noqa: N802
        self, request: context_pb2.BlameRequest, context: Context
    ) -> context_pb2.BlameResponse:
        response = await self._merged.blame(request, _caller(context, ""))
        response.header.CopyFrom(self._headers.make())
        return response

    @calls.unary
    async def ListOverlaps(  # noqa: N802
        self, request: context_pb2.ListOverlapsRequest, context: Context
    ) -> context_pb2.ListOverlapsResponse:
        response = await self._merged.overlaps(request, _caller(context, ""))
        response.header.CopyFrom(self._headers.make())
        return response

    @calls.unary
    async def RestoreContext(  # noqa: N802
        self, request: context_pb2.RestoreContextRequest, context: Context
    ) -> context_pb2.RestoreContextResponse:
        changed, cursor = await self._merged.restore(request, _caller(context, request.actor))
        return context_pb2.RestoreContextResponse(header=self._headers.make(), cursor=cursor, changed=changed)

    @calls.unary
    async def SaveVersion(  # noqa: N802
        self, request: context_pb2.SaveVersionRequest, context: Context
    ) -> context_pb2.SaveVersionResponse:
        version = await self._merged.save_version(request, _caller(context, request.actor))
        return context_pb2.SaveVersionResponse(header=self._headers.make(), version=messages.version_info(version))


def _caller(context: Context, claimed: str) -> Caller:
    return Caller(calls.actor(context, claimed), context.peer(), calls.timeout_s(context))


async def _first(requests: AsyncIterator[Request]) -> Request:
    """The request that opens a stream.

    Raises:
        Invalid: it is another, or there is none.
    """
    first = await anext(aiter(requests), None)
    if first is None or first.WhichOneof("body") != "open":
        raise Invalid("the first request of a stream opens it", metadata={"field": "body"})
    return first
