"""One document, open for one client, in both directions: a Sync stream.

    requests -> reading -> window -> editing -> outbox ─┐
                              hub's subscription ───────┼─> responses
                              what a state vector lacks ┘

Rules of this file:
- The client is told what it lacks from the state vector that it holds: at first what it said, then what was sent.
  Where pushes were left out (`Lagging`), or it asks, it is sent a diff: nothing is missed, or waits without bound.
- What it edited itself it is not sent.
- After `moved` it is sent nothing more of the document, but for acks: it opens anew.
- A failure of any part ends the stream, after what can still be said was said. No task outlives the stream.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import TypeAlias

from tallystick.errors import Conflict, Invalid, Reason, TallystickError, Unavailable
from tallystick.v1 import common_pb2, context_pb2
from tallystick_node.context_store.merged.editing import Editing, Parts
from tallystick_node.context_store.merged.limits import RETRY_EVERY_S, RETRY_S
from tallystick_node.context_store.merged.outbox import Outbox
from tallystick_node.context_store.merged.questions import Questions
from tallystick_node.context_store.merged.quorum import Quorum
from tallystick_node.context_store.merged.window import Window
from tallystick_node.context_store.merged.writers import Holder
from tallystick_node.contexts.hub.subscriptions import Lagging, Moved, Pushed
from tallystick_node.contexts.ids import ContextId
from tallystick_node.core.outcomes import ContextRecord

Responses: TypeAlias = AsyncGenerator[context_pb2.SyncResponse, None]
MakeHeader: TypeAlias = Callable[[], common_pb2.ResponseHeader]
InfoOf: TypeAlias = Callable[[ContextRecord], context_pb2.ContextInfo]


class Session:
    """See the module; `run` is all of its life.

    Args:
        record: the document, as it is decided now.
        opening: what the client said first.
        actor: who it is.
        info_of: a record as clients are told.
    """

    def __init__(
        self,
        parts: Parts,
        record: ContextRecord,
        opening: context_pb2.SyncOpen,
        actor: str,
        info_of: InfoOf,
    ) -> None:
        self._info_of = info_of
        self._parts = parts
        self._record = record
        self._document = ContextId(record.guid, record.epoch)
        self._opening = opening
        self._outbox = Outbox()
        self._window = Window()
        self._questions = Questions(parts.hub)
        self._holder = Holder(record.guid, opening.incarnation, self._lose)
        self._subscription = parts.hub.audience.subscribe(self._document, self._outbox.wake.set)
        self._quorum = Quorum(parts.hub, self._outbox)
        self._editing = Editing(parts, record, actor, self._holder, self._subscription, self._outbox, self._quorum)
        self._lacking_from: bytes | None = None
        """The state vector of what the client holds, if a diff is to be sent."""
        self._held_state_vector = opening.state_vector
        self._held_number = 0
        self._is_moved = False

    async def run(
        self,
        requests: AsyncIterator[context_pb2.SyncRequest],
        header: common_pb2.ResponseHeader,
        cursor: context_pb2.Cursor,
    ) -> Responses:
        """The responses. Raises what ended the stream."""
        tasks = [
            asyncio.create_task(self._watched(each), name="sync")
            for each in (
                lambda: self._read(requests),
                lambda: self._editing.run(self._window),
                self._quorum.run,
            )
        ]
        try:
            opened = context_pb2.SyncOpened(header=header, info=self._info_of(self._record), cursor=cursor)
            yield context_pb2.SyncResponse(opened=opened)
            self._begin()
            async with contextlib.aclosing(self._responses()) as responses:
                async for response in responses:
                    yield response
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.close()

    def close(self) -> None:
        """Lets go of the document."""
        self._subscription.close()
        self._parts.live.release(self._holder)

    def _begin(self) -> None:
        opening = self._opening
        if opening.epoch and opening.epoch < self._record.epoch:
            self._subscription.move(self._document, 0)
        else:
            self._lacking_from = opening.state_vector

    def _lose(self) -> None:
        message = "another stream of this replica writes under its id"
        self._outbox.fail(Conflict(message, reason=Reason.WRITER_IN_USE))

    # What comes in.

    async def _watched(self, run: Callable[[], Coroutine[None, None, None]]) -> None:
        try:
            await run()
        except Exception as error:  # noqa: BLE001 - the stream ends by it, in its own task
            self._outbox.fail(error)

    async def _read(self, requests: AsyncIterator[context_pb2.SyncRequest]) -> None:
        async for request in requests:
            match request.WhichOneof("body"):
                case "update":
                    await self._window.put(request.update)
                case "resync":
                    self._lacking_from = request.resync.state_vector
                    self._outbox.wake.set()
                case _:
                    raise Invalid("a stream is opened once, by its first request", metadata={"field": "body"})
        self._window.end()

    # What goes out.

    async def _responses(self) -> Responses:
        outbox = self._outbox
        while True:
            outbox.wake.clear()
            for response in outbox.take():
                yield response
            if self._lacking_from is not None:
                async with contextlib.aclosing(self._diff(self._lacking_from)) as parts:
                    async for response in parts:
                        yield response
                continue
            pushed = self._next_push()
            if pushed is not None:
                yield pushed
                outbox.wake.set()
                continue
            if outbox.wake.is_set():
                continue
            if outbox.failure is not None:
                raise outbox.failure
            if outbox.has_ended:
                return
            await outbox.wake.wait()

    def _next_push(self) -> context_pb2.SyncResponse | None:
        """The next thing that others did, if there is one that the client does not have."""
        while (item := self._subscription.take()) is not None:
            match item:
                case Moved():
                    return self._moved(item)
                case Lagging() if not self._is_moved:
                    self._lacking_from = self._held_state_vector
                    self._outbox.wake.set()
                    return None
                case Pushed() if not self._is_moved and item.number > self._held_number:
                    return self._pushed(item)
        return None

    def _pushed(self, item: Pushed) -> context_pb2.SyncResponse:
        self._held_state_vector, self._held_number = item.state_vector, item.number
        cursor = context_pb2.Cursor(
            guid=self._document.guid,
            epoch=self._document.epoch,
            state_vector=item.state_vector,
            node_id=self._parts.hub.node_id,
            number=item.number,
            log=item.log,
        )
        pushed = context_pb2.SyncPushed(update=item.update, edit=item.edit, cursor=cursor)
        return context_pb2.SyncResponse(pushed=pushed)

    def _moved(self, item: Moved) -> context_pb2.SyncResponse | None:
        self._is_moved = True
        self._lacking_from = None
        self._quorum.moved(item.document, item.number, item.log)
        record = self._parts.following.record(self._document.guid)
        if record is None:
            return None
        return context_pb2.SyncResponse(moved=context_pb2.SyncMoved(info=self._info_of(record)))

    async def _diff(self, state_vector: bytes) -> Responses:
        """What a state vector lacks, in parts, and acks between them."""
        self._lacking_from = None
        is_begun = False
        deadline_s = asyncio.get_running_loop().time() + RETRY_S
        while not is_begun:
            try:
                # Of the whole document nobody asks who made what: that would be its history once more.
                diff = self._questions.diff(self._document, state_vector, with_edits=bool(state_vector))
                async with contextlib.aclosing(diff) as parts:
                    async for part in parts:
                        is_begun = True
                        if part.is_last:
                            self._held_state_vector, self._held_number = part.cursor.state_vector, part.cursor.number
                        yield _part(part.data, part.cursor, part.edits, is_last=part.is_last)
                        for response in self._outbox.take():
                            yield response
            except Unavailable:
                if is_begun or self._outbox.failure is not None or asyncio.get_running_loop().time() >= deadline_s:
                    raise
                await asyncio.sleep(RETRY_EVERY_S)
            except TallystickError:
                if self._is_moved or self._has_moved():  # a diff of the old epoch is of no use any more
                    return
                raise

    def _has_moved(self) -> bool:
        record = self._parts.following.record(self._document.guid)
        return record is not None and record.epoch != self._document.epoch


def _part(
    data: bytes, cursor: context_pb2.Cursor, edits: list[context_pb2.Edit], *, is_last: bool
) -> context_pb2.SyncResponse:
    part = context_pb2.SyncPart(data=data, is_last=is_last)
    if is_last:
        part.cursor.CopyFrom(cursor)
        part.edits.extend(edits)
    return context_pb2.SyncResponse(part=part)
