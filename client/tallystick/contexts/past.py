"""The document once, as a node has it: now, or as it was."""

from __future__ import annotations

import asyncio
from datetime import datetime

import grpc

from tallystick._backoff import Failure
from tallystick._calls import AttemptError, Calls
from tallystick._cancelling import cancellations, raise_if_cancelled
from tallystick._channel import Endpoint
from tallystick._failures import failure_of
from tallystick._json import JSON, decode
from tallystick._times import to_unix_ms
from tallystick.contexts.cursor import Cursor
from tallystick.contexts.limits import DOCUMENT_BYTES
from tallystick.errors import Compacted, Corrupt, Invalid, TallystickError, Unavailable
from tallystick.v1 import context_pb2

At = int | datetime | str
"""A place in the past: a number of a node's update log, a time, or the name of a version."""


class Past:
    """See the module. Any node answers; numbers are those of the node that does."""

    def __init__(self, calls: Calls, ref: context_pb2.ContextRef) -> None:
        self._calls, self._ref = calls, ref

    async def show(self, at: At | None, after: Cursor | None, timeout_s: float | None) -> JSON:
        """The content as JSON, now or as it was, from any node that answers.

        Args:
            after: what the node must hold before it answers.

        Raises:
            Refused: the node said no.
            Unavailable: no node answered.
        """
        request = context_pb2.PullRequest(context=self._ref, as_json=True)
        if at is not None:
            request.at.CopyFrom(at_message(at))
        if after is not None:
            request.after.CopyFrom(after.message())
        return decode(await self._pull(request, timeout_s))

    async def document_at(self, cursor: Cursor, timeout_s: float | None) -> bytes:
        """The document as the cursor's node had it then, as one update.

        Raises:
            Compacted: it is not kept, or that node cannot be asked.
        """
        request = context_pb2.PullRequest(context=self._ref, at=context_pb2.At(number=cursor.number))
        calls = self._calls
        limit_s = calls.timeout_s if timeout_s is None else timeout_s
        why: TallystickError | None = None
        for endpoint in calls.endpoints.all() if cursor.node_id and cursor.number else ():
            try:
                return await self._pull_once(endpoint, request, limit_s, node_id=cursor.node_id)
            except AttemptError as attempt:
                why = attempt.failure.error
        raise Compacted(
            f"what {self._ref.name!r} was at that cursor is not kept here, and {cursor.node_id!r} does not tell"
        ) from why

    async def _pull(self, request: context_pb2.PullRequest, timeout_s: float | None) -> bytes:
        calls, retry = self._calls, self._calls.retry(timeout_s)
        while True:
            calls.check_open()
            endpoint = calls.endpoints.for_any(calls.outside.clock())
            try:
                return await self._pull_once(endpoint, request, retry.deadline_s - calls.outside.clock())
            except AttemptError as attempt:
                calls.failed(endpoint, attempt.failure)
                pause_s = retry.after(attempt.failure, calls.outside.clock())
            await asyncio.sleep(pause_s)

    async def _pull_once(
        self, endpoint: Endpoint, request: context_pb2.PullRequest, timeout_s: float, node_id: str = ""
    ) -> bytes:
        await self._calls.ready(endpoint, timeout_s)
        call = endpoint.contexts.Pull(request, timeout=max(0.001, timeout_s))
        data = bytearray()
        before = cancellations()
        try:
            while True:
                part = await call.read()
                if not isinstance(part, context_pb2.PullResponse):
                    break
                if node_id and part.HasField("header") and part.header.node_id != node_id:
                    raise AttemptError(Failure(Unavailable(f"{endpoint.address} is not {node_id}")))
                data += part.data
                if len(data) > DOCUMENT_BYTES:
                    raise AttemptError(Failure(Corrupt(f"{endpoint.address} sends a document without an end")))
        except grpc.aio.AioRpcError as rpc:
            raise_if_cancelled(before)
            raise AttemptError(failure_of(rpc, writes=False, endpoint=endpoint.address)) from rpc
        except asyncio.CancelledError:
            self._calls.check_cut(writes=False)
            raise
        finally:
            call.cancel()
        if not data:
            raise AttemptError(Failure(Unavailable(f"{endpoint.address} sent nothing")))
        return bytes(data)


def at_message(at: At) -> context_pb2.At:
    """A place in the past as it is sent.

    Raises:
        Invalid: a time without a zone.
    """
    if isinstance(at, datetime):
        return context_pb2.At(time_unix_ms=to_unix_ms(at))
    if isinstance(at, str):
        return context_pb2.At(version=at)
    if isinstance(at, bool) or at < 1:
        raise Invalid("a number of an update log is above 0", metadata={"field": "at"})
    return context_pb2.At(number=at)
