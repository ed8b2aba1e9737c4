"""Which shared contexts there are: list, create, describe, delete. What is in them is `tallystick.contexts`.

Rules of this file:
- A request names the document that it means by its guid, so that a retry has one effect: a new one draws its guid
  before its first attempt, and who deletes by name looks first which document that is.
- Each write raises the session to its own revision.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping

from tallystick import _convert
from tallystick._calls import Calls
from tallystick._infos import ContextInfo
from tallystick._json import JSONLike, encode
from tallystick._methods import (
    create_context_method,
    delete_context_method,
    describe_context_method,
    list_contexts_method,
    verify_contexts_method,
)
from tallystick._reading import PAGE
from tallystick._values import Consistency, Revision
from tallystick.contexts import records
from tallystick.errors import AlreadyExists, Reason
from tallystick.v1 import context_pb2


class Contexts:
    """The contexts of a namespace; behind `Client`."""

    def __init__(self, calls: Calls, *, namespace: str, actor: str, consistency: Consistency) -> None:
        self._calls = calls
        self._namespace = namespace
        self._actor = actor
        self._consistency = consistency

    async def list(
        self, prefix: str, consistency: Consistency | None, timeout_s: float | None
    ) -> AsyncGenerator[ContextInfo, None]:
        """Those whose names begin so, by name; see `Client.contexts`."""
        consistency = consistency or self._consistency
        request = context_pb2.ListContextsRequest(namespace=self._namespace, prefix=prefix, limit=PAGE)
        while True:
            request.options.CopyFrom(self._calls.session.read_options(consistency))
            page = await self._calls.read(list_contexts_method, request, consistency=consistency, timeout_s=timeout_s)
            for message in page.contexts:
                yield _convert.context_info(message)
            if not (page.more and page.contexts):
                return
            request.after = page.contexts[-1].context.name

    async def describe(
        self, name: str, *, consistency: Consistency | None = None, timeout_s: float | None = None
    ) -> ContextInfo:
        """One of them; see `Client.describe_context`."""
        consistency = consistency or self._consistency
        request = context_pb2.DescribeContextRequest(
            context=self._ref(name), options=self._calls.session.read_options(consistency)
        )
        answer = await self._calls.read(describe_context_method, request, consistency=consistency, timeout_s=timeout_s)
        return _convert.context_info(answer.info)

    async def measure(self, name: str, *, timeout_s: float | None = None) -> records.ContextMeasure:
        """One of them as one node has it, which has come as far as this client; see `StoredContext.measure`."""
        request = context_pb2.DescribeContextRequest(
            context=self._ref(name), options=self._calls.session.read_options(Consistency.SESSION)
        )
        answer = await self._calls.read(
            describe_context_method, request, consistency=Consistency.SESSION, timeout_s=timeout_s
        )
        return records.measure(answer)

    async def verify(
        self, name: str = "", *, everywhere: bool = False, deep: bool = False, timeout_s: float | None = None
    ) -> records.Verified:
        """Whether the voters hold equal documents; see `Client.verify_contexts`."""
        request = context_pb2.VerifyContextsRequest(
            namespace="" if everywhere else self._namespace, name="" if everywhere else name, deep=deep
        )
        answer = await self._calls.read(
            verify_contexts_method, request, consistency=Consistency.LOCAL, timeout_s=timeout_s
        )
        return records.verified(answer)

    async def create(
        self,
        name: str,
        *,
        schema: Mapping[str, JSONLike] | None = None,
        seed: bytes = b"",
        guid: bytes | None = None,
        exist_ok: bool = False,
        timeout_s: float | None = None,
    ) -> ContextInfo:
        """A new one; see `Client.create_context`."""
        request = context_pb2.CreateContextRequest(
            context=self._ref(name),
            guid=guid if guid is not None else bytes.fromhex(self._calls.outside.new_key()),
            actor=self._actor,
            schema=b"" if schema is None else encode(schema),
            seed=seed,
        )
        try:
            answer = await self._calls.write(
                create_context_method, request, key=request.guid.hex(), timeout_s=timeout_s
            )
        except AlreadyExists as error:
            if not exist_ok or error.reason is not Reason.CONTEXT_EXISTS:
                raise
            return await self.describe(name, consistency=Consistency.LINEARIZABLE, timeout_s=timeout_s)
        self._calls.session.saw(answer.info.revision)
        return _convert.context_info(answer.info)

    async def delete(self, name: str, *, guid: bytes | None = None, timeout_s: float | None = None) -> Revision:
        """The end of one; see `Client.delete_context`."""
        if guid is None:
            found = await self.describe(name, consistency=Consistency.LINEARIZABLE, timeout_s=timeout_s)
            guid = found.guid
        request = context_pb2.DeleteContextRequest(context=self._ref(name), guid=guid, actor=self._actor)
        answer = await self._calls.write(delete_context_method, request, key=guid.hex(), timeout_s=timeout_s)
        self._calls.session.saw(answer.revision)
        return _convert.revision(answer.revision)

    def _ref(self, name: str) -> context_pb2.ContextRef:
        return context_pb2.ContextRef(namespace=self._namespace, name=name)
