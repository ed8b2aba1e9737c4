"""`tallystick.v1.ContextService`, put together of its parts: each method turns a message into one call.

What is decided is here, what is merged in `context_merged.py`, what all voters are asked for in `context_upkeep.py`.
"""

from __future__ import annotations

from tallystick.v1 import context_pb2, context_pb2_grpc
from tallystick_node.api import calls, messages
from tallystick_node.api.calls import Context
from tallystick_node.api.context_merged import MergedContextMethods
from tallystick_node.api.context_upkeep import ContextUpkeepMethods
from tallystick_node.api.header import Headers, read_from
from tallystick_node.context_store.compacting import Compacting
from tallystick_node.context_store.decided import DecidedContexts
from tallystick_node.context_store.merged.contexts import MergedContexts
from tallystick_node.context_store.verifying import Verifying


class DecidedContextMethods:
    """The methods that the log decides."""

    def __init__(self, contexts: DecidedContexts, headers: Headers) -> None:
        self._contexts = contexts
        self._headers = headers

    @calls.unary
    async def CreateContext(  # noqa: N802
        self, request: context_pb2.CreateContextRequest, context: Context
    ) -> context_pb2.CreateContextResponse:
        record = await self._contexts.create(
            request.context.namespace,
            request.context.name,
            request.guid,
            actor=calls.actor(context, request.actor),
            schema=request.schema,
            seed=request.seed,
            timeout_s=calls.timeout_s(context),
        )
        return context_pb2.CreateContextResponse(header=self._headers.make(), info=messages.context_info(record))

    @calls.unary
    async def ListContexts(  # noqa: N802
        self, request: context_pb2.ListContextsRequest, context: Context
    ) -> context_pb2.ListContextsResponse:
        how = read_from(request.options, context)
        page = await self._contexts.contexts(request.namespace, request.prefix, request.after, request.limit, how)
        listed = [messages.context_info(record) for record in page.items]
        return context_pb2.ListContextsResponse(header=self._headers.make(), contexts=listed, more=page.more)

    @calls.unary
    async def DeleteContext(  # noqa: N802
        self, request: context_pb2.DeleteContextRequest, context: Context
    ) -> context_pb2.DeleteContextResponse:
        deleted = await self._contexts.delete(
            request.context.namespace,
            request.context.name,
            request.guid,
            actor=calls.actor(context, request.actor),
            timeout_s=calls.timeout_s(context),
        )
        return context_pb2.DeleteContextResponse(
            header=self._headers.make(), revision=messages.revision(deleted.position), replayed=deleted.replayed
        )

    @calls.unary
    async def AllocateWriters(  # noqa: N802
        self, request: context_pb2.AllocateWritersRequest, context: Context
    ) -> context_pb2.AllocateWritersResponse:
        given = await self._contexts.allocate_writers(
            request.namespace,
            request.count,
            actor=calls.actor(context, request.actor),
            timeout_s=calls.timeout_s(context),
        )
        return context_pb2.AllocateWritersResponse(header=self._headers.make(), first=given.first, count=given.count)

    @calls.unary
    async def ListVersions(  # noqa: N802
        self, request: context_pb2.ListVersionsRequest, context: Context
    ) -> context_pb2.ListVersionsResponse:
        ref, how = request.context, read_from(request.options, context)
        page = await self._contexts.versions(ref.namespace, ref.name, request.after, request.limit, how)
        listed = [messages.version_info(version) for version in page.items]
        return context_pb2.ListVersionsResponse(header=self._headers.make(), versions=listed, more=page.more)


class ContextService(
    ContextUpkeepMethods, MergedContextMethods, DecidedContextMethods, context_pb2_grpc.ContextServiceServicer
):
    """All methods."""

    def __init__(
        self,
        decided: DecidedContexts,
        merged: MergedContexts,
        verifying: Verifying,
        compacting: Compacting,
        headers: Headers,
    ) -> None:
        DecidedContextMethods.__init__(self, decided, headers)
        MergedContextMethods.__init__(self, decided, merged, headers)
        ContextUpkeepMethods.__init__(self, decided, verifying, compacting, headers)
