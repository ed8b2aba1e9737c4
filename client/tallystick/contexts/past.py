"""The past of a context, as nodes keep it: who edited, who wrote what is there, how it was, and how it is again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Final

import grpc

from tallystick._agent import PAGE
from tallystick._backoff import Failure
from tallystick._calls import AttemptError, Calls
from tallystick._channel import Endpoint
from tallystick._failures import failure_of
from tallystick._json import JSON, decode
from tallystick._methods import (
    blame_method,
    history_method,
    list_overlaps_method,
    list_versions_method,
    restore_context_method,
    save_version_method,
)
from tallystick._values import Consistency, to_unix_ms
from tallystick.contexts import records
from tallystick.contexts.cursor import Cursor
from tallystick.contexts.limits import DOCUMENT_BYTES
from tallystick.contexts.writers import Writers
from tallystick.errors import Compacted, Corrupt, Invalid, TallystickError, Unavailable
from tallystick.v1 import common_pb2, context_pb2

FOLLOW_S: Final = 0.3
"""How often a node is asked for more edits by who follows them."""

At = int | datetime | str
"""A place in the past: a number of a node's update log, a time, or the name of a version."""


class Past:
    """See the module. Any node answers; numbers are those of the node that does."""

    def __init__(self, calls: Calls, writers: Writers, ref: context_pb2.ContextRef, *, actor: str) -> None:
        self._calls, self._writers, self._ref, self._actor = calls, writers, ref, actor

    async def history(
        self, after_number: int, actor: str, timeout_s: float | None, *, follow: bool = False
    ) -> AsyncGenerator[records.Edit, None]:
        """The edits after a number, oldest first; then, with `follow`, those that come.

        Raises:
            Unavailable: another node answers than at first; its numbers are others.
        """
        request = context_pb2.HistoryRequest(context=self._ref, after_number=after_number, limit=PAGE, actor=actor)
        node_id = ""
        while True:
            page = await self._calls.read(history_method, request, consistency=Consistency.LOCAL, timeout_s=timeout_s)
            if node_id and page.header.node_id != node_id:
                raise Unavailable(f"{node_id} does not answer any more, and these are its numbers")
            node_id = page.header.node_id
            for message in page.edits:
                yield records.edit(message)
                request.after_number = message.number
            if page.more and page.edits:
                continue
            if not follow:
                return
            await asyncio.sleep(FOLLOW_S)

    async def blame(self, root: str, timeout_s: float | None) -> list[records.BlameLine]:
        """Who wrote what is there now."""
        request = context_pb2.BlameRequest(context=self._ref, root=root)
        answer = await self._calls.read(blame_method, request, consistency=Consistency.LOCAL, timeout_s=timeout_s)
        return [records.blame_line(message) for message in answer.lines]

    async def overlaps(self, after_number: int, timeout_s: float | None) -> AsyncGenerator[records.Overlap, None]:
        """Concurrent edits of one key or range, as the node found them."""
        request = context_pb2.ListOverlapsRequest(context=self._ref, after_number=after_number, limit=PAGE)
        while True:
            page = await self._calls.read(
                list_overlaps_method, request, consistency=Consistency.LOCAL, timeout_s=timeout_s
            )
            for message in page.overlaps:
                yield records.overlap(message)
            if not (page.more and page.overlaps):
                return
            request.after_number = page.overlaps[-1].number

    async def versions(
        self, consistency: Consistency, timeout_s: float | None
    ) -> AsyncGenerator[records.Version, None]:
        """The named versions, by name."""
        request = context_pb2.ListVersionsRequest(context=self._ref, limit=PAGE)
        while True:
            request.options.CopyFrom(self._calls.session.read_options(consistency))
            page = await self._calls.read(list_versions_method, request, consistency=consistency, timeout_s=timeout_s)
            for message in page.versions:
                yield records.version(message)
            if not (page.more and page.versions):
                return
            request.after = page.versions[-1].name

    async def save_version(
        self, name: str, *, after: Cursor | None, agent: str, checkpoint: str, branch: str, timeout_s: float | None
    ) -> records.Version:
        """Names what the document is now."""
        request = context_pb2.SaveVersionRequest(context=self._ref, name=name, actor=self._actor, checkpoint=checkpoint)
        if agent:
            request.agent.CopyFrom(common_pb2.AgentRef(namespace=self._ref.namespace, agent=agent, branch=branch))
        if after is not None:
            request.after.CopyFrom(after.message())
        answer = await self._calls.write(save_version_method, request, key="", timeout_s=timeout_s)
        self._calls.session.saw(answer.version.revision)
        return records.version(answer.version)

    async def restore(self, at: At, cause: str, timeout_s: float | None) -> tuple[bool, Cursor]:
        """Makes the content what it was: a new edit. Whether it changed anything, and what the node holds then."""
        request = context_pb2.RestoreContextRequest(
            context=self._ref,
            at=at_message(at),
            writer=await self._writers.take(timeout_s=timeout_s),
            actor=self._actor,
            cause=cause,
        )
        answer = await self._calls.write(restore_context_method, request, key="", timeout_s=timeout_s)
        return answer.changed, Cursor.of(answer.cursor)

    async def show(self, at: At | None, after: Cursor | None, timeout_s: float | None) -> JSON:
        """The content as JSON, now or as it was."""
        request = context_pb2.PullRequest(context=self._ref, as_json=True)
        if at is not None:
            request.at.CopyFrom(at_message(at))
        if after is not None:
            request.after.CopyFrom(after.message())
        return decode((await self.pull(request, timeout_s))[0])

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
                return (await self._pull_once(endpoint, request, limit_s, node_id=cursor.node_id))[0]
            except AttemptError as attempt:
                why = attempt.failure.error
        raise Compacted(
            f"what {self._ref.name!r} was at that cursor is not kept here, and {cursor.node_id!r} does not tell"
        ) from why

    async def pull(self, request: context_pb2.PullRequest, timeout_s: float | None) -> tuple[bytes, context_pb2.Cursor]:
        """The document once, in whatever shape the request asks for, from any node that answers.

        Raises:
            Refused: the node said no.
            Unavailable: no node answered.
        """
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
    ) -> tuple[bytes, context_pb2.Cursor]:
        await self._calls.ready(endpoint, timeout_s)
        call = endpoint.contexts.Pull(request, timeout=max(0.001, timeout_s))
        data, cursor = bytearray(), context_pb2.Cursor()
        try:
            while True:
                part = await call.read()
                if not isinstance(part, context_pb2.PullResponse):
                    break
                if node_id and part.HasField("header") and part.header.node_id != node_id:
                    raise AttemptError(Failure(Unavailable(f"{endpoint.address} is not {node_id}")))
                data += part.data
                cursor = part.cursor
                if len(data) > DOCUMENT_BYTES:
                    raise AttemptError(Failure(Corrupt(f"{endpoint.address} sends a document without an end")))
        except grpc.aio.AioRpcError as rpc:
            raise AttemptError(failure_of(rpc, writes=False, endpoint=endpoint.address)) from rpc
        except asyncio.CancelledError:
            self._calls.check_cut(writes=False)
            raise
        finally:
            call.cancel()
        if not data:
            raise AttemptError(Failure(Unavailable(f"{endpoint.address} sent nothing")))
        return bytes(data), cursor


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
