"""The methods of `tallystick.v1.ContextService` that keep documents well: verify, compact."""

from __future__ import annotations

from tallystick.errors import Invalid
from tallystick.v1 import context_pb2
from tallystick_node.api import calls, messages
from tallystick_node.api.calls import Context
from tallystick_node.api.header import Headers
from tallystick_node.context_store.compacting import Compacting
from tallystick_node.context_store.decided import DecidedContexts
from tallystick_node.context_store.verifying import Verifying
from tallystick_node.wire.fields import check_name


class ContextUpkeepMethods:
    """See the module."""

    def __init__(
        self, decided: DecidedContexts, verifying: Verifying, compacting: Compacting, headers: Headers
    ) -> None:
        self._kept = decided
        self._verifying = verifying
        self._compacting = compacting
        self._headers = headers

    @calls.unary
    async def VerifyContexts(  # noqa: N802
        self, request: context_pb2.VerifyContextsRequest, _context: Context
    ) -> context_pb2.VerifyContextsResponse:
        if request.namespace:
            check_name("namespace", request.namespace)
        if request.name:
            if not request.namespace:
                raise Invalid("a context is named with its namespace", metadata={"field": "namespace"})
            found = await self._verifying.one(self._kept.info(request.namespace, request.name))
        else:
            found = await self._verifying.all(request.namespace, deep=request.deep)
        return context_pb2.VerifyContextsResponse(
            header=self._headers.make(),
            nodes=found.nodes,
            equal=found.equal,
            different=[
                context_pb2.ContextRef(namespace=record.namespace, name=record.name) for record in found.different
            ],
        )

    @calls.unary
    async def CompactContext(  # noqa: N802
        self, request: context_pb2.CompactContextRequest, context: Context
    ) -> context_pb2.CompactContextResponse:
        done = await self._compacting.compact(
            self._kept.info(request.context.namespace, request.context.name),
            actor=calls.actor(context, request.actor),
            timeout_s=calls.timeout_s(context),
        )
        return context_pb2.CompactContextResponse(
            header=self._headers.make(),
            info=messages.context_info(done.record),
            bytes_before=done.bytes_before,
            bytes_after=done.bytes_after,
        )
