"""`tallystick.v1.CausalityService`: each method turns a message into one call of the causality store and back."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from tallystick.v1 import causality_pb2, causality_pb2_grpc
from tallystick_node.api import calls, causality_messages
from tallystick_node.api.calls import Context
from tallystick_node.api.header import Headers, read_from
from tallystick_node.causality.store import CausalityStore


class CausalityService(causality_pb2_grpc.CausalityServiceServicer):
    """See the module."""

    def __init__(self, causality: CausalityStore, headers: Headers) -> None:
        self._causality = causality
        self._headers = headers

    @calls.unary
    async def Compare(  # noqa: N802
        self, request: causality_pb2.CompareRequest, context: Context
    ) -> causality_pb2.CompareResponse:
        a, b = causality_messages.log_point(request.a), causality_messages.log_point(request.b)
        done = await self._causality.compare(a, b, read_from(request.options, context))
        return causality_messages.compared(done, self._headers.make())

    @calls.unary
    async def Changed(  # noqa: N802
        self, request: causality_pb2.ChangedRequest, context: Context
    ) -> causality_pb2.ChangedResponse:
        how = read_from(request.options, context)
        changes = await self._causality.changed(request.namespace, request.observed, how)
        return causality_messages.changed(changes, self._headers.make())

    @calls.streaming
    async def WatchChanged(  # noqa: N802
        self, request: causality_pb2.WatchChangedRequest, context: Context
    ) -> AsyncIterator[causality_pb2.ChangedResponse]:
        how = read_from(request.options, context)
        watching = self._causality.watch_changed(request.namespace, request.observed, how)
        async with contextlib.aclosing(watching) as changes:
            async for each in changes:
                yield causality_messages.changed(each, self._headers.make())
