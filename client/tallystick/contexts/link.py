"""The link of a replica to the cluster: one stream after the other, from whichever node answers.

Rules of this file:
- What others edited is applied in the order in which the node sends it. What does not follow what is here is not
  applied: the difference is asked for (`resync`).
- A new stream sends again, in order, all that no majority has acknowledged.
- A node that does not acknowledge within `ACK_S` is left.
- The document is fetched whole (`Exchange`) at first, in a new epoch, after a refusal, and if pycrdt could not take an
  update. In a new epoch the edits of the old one are sent first, and the exchange waits until a node has them.
- A refusal of one edit is the end of that edit; a refusal of the stream is the end of the link.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from tallystick._backoff import Failure, wait_s
from tallystick._calls import AttemptError, Calls
from tallystick._channel import Endpoint
from tallystick._contexts import Contexts
from tallystick._json import JSONLike
from tallystick._values import Consistency
from tallystick.contexts.changes import Author
from tallystick.contexts.cursor import Cursor
from tallystick.contexts.ending import end
from tallystick.contexts.holding import Holding
from tallystick.contexts.lib0 import covers, read_state_vector
from tallystick.contexts.limits import DOCUMENT_BYTES, SPARES, UPDATE_BYTES
from tallystick.contexts.outbox import Group
from tallystick.contexts.rebase import Remake, content_with
from tallystick.contexts.replica import too_large
from tallystick.contexts.rows import Level, Row
from tallystick.contexts.store import Store
from tallystick.contexts.stream import OPEN_S, Stream
from tallystick.contexts.writers import Writers
from tallystick.errors import (
    Corrupt,
    NotFound,
    Reason,
    Refused,
    TallystickError,
    Unavailable,
    Undecided,
    error_for,
)
from tallystick.v1 import context_pb2

PASSING: Final = (Reason.WRITER_IN_USE, Reason.EPOCH_CONFLICT)
"""Refusals that time mends: the node still holds a stream that broke, or has not heard of an epoch."""
SHORT_BYTES: Final = 1024
"""State vectors up to this size are compared with every push, longer ones with each `COMPARE_EVERY`th."""
COMPARE_EVERY: Final = 64
ACK_S: Final = 8.0
"""How long a node may take to acknowledge an edit before another is asked."""
EMPTY_UPDATE: Final = b"\x00\x00"


@dataclass(frozen=True, slots=True)
class Origin:
    """Which document, and how it comes to be.

    Attributes:
        create: make it if it is not there.
        schema: of a new one.
        seed: what a new one begins with: an update; may be empty.
        after: the node first catches up with this.
    """

    ref: context_pb2.ContextRef
    actor: str
    create: bool = True
    schema: Mapping[str, JSONLike] | None = None
    seed: bytes = b""
    after: Cursor | None = None


@dataclass(slots=True)
class Exchange:
    """The document is to be fetched whole.

    Attributes:
        before: the document that `rest` was made on; None: the fetched one, with `refused`.
        refused: the edit that was refused.
        rest: edits to be made again.
    """

    before: bytes | None = None
    refused: Row | None = None
    rest: Sequence[Row] = ()


class Reopen(Exception):
    """The stream has done what it can; another is needed at once."""


class Link:
    """See the module."""

    def __init__(
        self, calls: Calls, contexts: Contexts, writers: Writers, origin: Origin, holding: Holding, store: Store
    ) -> None:
        self._calls, self._contexts, self._writers = calls, contexts, writers
        self._origin, self._holding, self._store = origin, holding, store
        self._incarnation = bytes.fromhex(calls.outside.new_key())
        self._new_guid = bytes.fromhex(calls.outside.new_key())
        self._exchange: Exchange | None = None
        self._attempt = 0
        self._is_created = False
        self._after = origin.after
        self._is_draining = False
        self._is_resyncing = False
        self._drains_to = self._pushes = 0
        self._before = b""
        self._clocks: dict[int, int] = {}
        self._parts = bytearray()
        self.is_online = False
        self.has_caught_up = self.has_spares = False
        self.cursor: Cursor | None = None
        self.failure: TallystickError | None = None

    async def run(self) -> None:
        """Keeps the replica and the cluster together until it is cancelled, or refused for good."""
        supply = asyncio.create_task(self._supply_writer())
        try:
            while self._holding.error is None:
                await self._once()
        except TallystickError as error:
            self._holding.end(error)
        finally:
            await end(supply)

    async def _once(self) -> None:
        """One stream, and what its end means."""
        calls = self._calls
        endpoint = calls.endpoints.for_any(calls.outside.clock())
        try:
            calls.check_open()
            async with Stream(calls, endpoint) as stream:
                await self._talk(stream)
        except Reopen:
            return
        except AttemptError as attempt:
            calls.failed(endpoint, attempt.failure)
            await self._failed(attempt.failure)
        except (Unavailable, Undecided) as error:  # the client is closed, or no writer can be had
            await self._failed(Failure(error))
        except Corrupt as error:  # pycrdt could not take it: fetch the whole
            self._exchange = self._exchange or Exchange()
            await self._failed(Failure(error))
        finally:
            self.is_online = False

    async def _failed(self, failure: Failure) -> None:
        self.is_online, self.failure = False, failure.error
        self._holding.moved_on()
        if failure.is_final:
            await self._refused(failure.error)
        else:
            await asyncio.sleep(max(failure.retry_after_s, wait_s(self._attempt, self._calls.outside.rng)))
            self._attempt += 1

    async def _refused(self, error: TallystickError) -> None:
        """The stream was refused: perhaps the document is still to be made, or the node has not heard of it yet."""
        if error.reason not in (*PASSING, Reason.CONTEXT_NOT_FOUND):
            self._holding.end(error)
            return
        try:
            if error.reason is Reason.CONTEXT_NOT_FOUND:
                await self._create_or_confirm()
        except (Unavailable, Undecided) as unclear:
            self.failure = unclear
        except TallystickError as refused:
            self._holding.end(refused)
        await asyncio.sleep(wait_s(self._attempt, self._calls.outside.rng))
        self._attempt += 1

    async def _create_or_confirm(self) -> None:
        """Makes the document, or asks the leader whether it is still there: one node may not have heard of it.

        Raises:
            NotFound: it is not there any more.
        """
        origin, holding = self._origin, self._holding
        if not holding.guid and origin.create and not self._is_created:
            await self._contexts.create(
                origin.ref.name, schema=origin.schema, seed=origin.seed, guid=self._new_guid, exist_ok=True
            )
            self._is_created = True
            return
        info = await self._contexts.describe(origin.ref.name, consistency=Consistency.LINEARIZABLE)
        if holding.guid not in (b"", info.guid):
            raise NotFound(
                f"the context {origin.ref.name!r} was deleted; another one has its name now",
                reason=Reason.CONTEXT_NOT_FOUND,
            )

    # One stream.

    async def _talk(self, stream: Stream) -> None:
        holding, is_whole = self._holding, self._exchange is not None or not self._holding.guid
        self._is_draining = self._is_resyncing = False
        self._parts.clear()
        await stream.send(context_pb2.SyncRequest(open=self._open_message(is_whole=is_whole)))
        first = await stream.read(OPEN_S + (self._calls.timeout_s if self._after is not None else 0))
        info = self._opened(stream.endpoint, first)
        if is_whole:
            await self._take_whole(stream, info)
        elif info.epoch != holding.epoch:
            self._start_draining()
            self._check_drained()
        holding.outbox.restart()
        sender = asyncio.create_task(self._send(stream))
        try:
            while True:
                await self._take(stream, await stream.read())
        finally:
            await end(sender)

    def _open_message(self, *, is_whole: bool) -> context_pb2.SyncOpen:
        holding, origin = self._holding, self._origin
        message = context_pb2.SyncOpen(context=origin.ref, actor=origin.actor, incarnation=self._incarnation)
        if not is_whole:
            message.guid, message.epoch = holding.guid, holding.epoch
            message.state_vector = holding.replica.state_vector()
        if self._after is not None:
            message.after.CopyFrom(self._after.message())
        return message

    def _opened(self, endpoint: Endpoint, first: context_pb2.SyncResponse) -> context_pb2.ContextInfo:
        if first.WhichOneof("body") == "moved":
            info = first.moved.info
        else:
            info = first.opened.info
            self._calls.answered(endpoint, first.opened.header)
        if self._holding.guid not in (b"", info.guid):
            text = f"{endpoint.address} has another document of this name"
            raise AttemptError(Failure(NotFound(text, reason=Reason.CONTEXT_NOT_FOUND)))
        return info

    async def _take_whole(self, stream: Stream, info: context_pb2.ContextInfo) -> None:
        """Fetches the document, and puts it in place of what there is."""
        holding = self._holding
        is_exchange = self._exchange is not None
        data, last = bytearray(), None
        while last is None:
            response = await stream.read(OPEN_S)
            if response.WhichOneof("body") != "part":
                continue
            data += response.part.data
            if len(data) > DOCUMENT_BYTES:
                raise AttemptError(Failure(Corrupt("the node sends a document without an end")))
            last = response.part if response.part.is_last else None
        writer = await self._fresh_writer(is_needed=is_exchange)
        await holding.idle()
        # From here on nothing waits: no edit can come in between.
        exchange, self._exchange = self._exchange or Exchange(), None
        content = bytes(data) or EMPTY_UPDATE
        try:
            again = self._again(exchange, content, info.epoch)
            holding.begin(guid=info.guid, epoch=info.epoch, schema=info.schema, content=content, writer=writer)
        except Corrupt:
            self._exchange = exchange
            raise
        holding.make_again(again)
        self._caught_up(last.cursor)

    def _again(self, exchange: Exchange, content: bytes, epoch: int) -> list[Remake]:
        """The edits to be made again on the fetched document; they leave the outbox."""
        holding = self._holding
        rest = list(exchange.rest)
        if exchange.refused is not None:
            rest += holding.outbox.cut(exchange.refused.id)
        elif epoch != holding.epoch:
            rest += holding.outbox.cut(0)
        if not rest:
            return []
        before = exchange.before
        if before is None:
            refused = [exchange.refused.update] if exchange.refused is not None else []
            kept = [row.update for row in holding.outbox.rows]
            before = content_with(content, [*kept, *refused])
        exchange.rest = rest  # should it fail, they are not lost
        return holding.rest_of(before, rest)

    async def _take(self, stream: Stream, response: context_pb2.SyncResponse) -> None:
        holding = self._holding
        match response.WhichOneof("body"):
            case "pushed" if not self._is_draining:
                await holding.idle()
                await self._take_pushed(stream, response.pushed)
            case "part" if not self._is_draining:
                await self._take_part(response.part)
            case "ack":
                level = Level.QUORUM if response.ack.level == context_pb2.ACK_LEVEL_QUORUM else Level.LOCAL
                if not self._is_draining:
                    self._saw(response.ack.cursor)
                holding.acked(response.ack.number, level)
                self._check_drained()
            case "refused":
                error = response.refused.error
                await self._take_refused(
                    response.refused.number, error_for(error.reason, error.message, error.metadata)
                )
            case "moved":
                self._start_draining()
                self._check_drained()
            case _:
                return

    async def _take_part(self, part: context_pb2.SyncPart) -> None:
        self._parts += part.data
        if len(self._parts) > DOCUMENT_BYTES:
            raise Corrupt("the node sends an update without an end")
        if not part.is_last:
            return
        update = bytes(self._parts)
        self._parts.clear()
        await self._holding.idle()
        if update not in (b"", EMPTY_UPDATE):
            self._apply(update, common_author(part.edits))
        self._caught_up(part.cursor)

    async def _take_pushed(self, stream: Stream, pushed: context_pb2.SyncPushed) -> None:
        """Applies what somebody edited, if it follows what is here."""
        edit = pushed.edit
        if edit.writer and self._clocks.get(edit.writer, 0) < edit.clock:
            await self._resync(stream)
            return
        self._apply(pushed.update, author_of(edit), edit.writer)
        self._clocks[edit.writer] = max(self._clocks.get(edit.writer, 0), edit.end_clock)
        if self._is_behind(pushed.cursor.state_vector):
            await self._resync(stream)
            return
        self._saw(pushed.cursor)

    def _is_behind(self, state_vector: bytes) -> bool:
        """The replica lacks what the node's document has; long state vectors are not compared each time."""
        self._pushes += 1
        if len(state_vector) > SHORT_BYTES and self._pushes % COMPARE_EVERY:
            return False
        held = read_state_vector(self._holding.replica.state_vector())
        return not covers(held, read_state_vector(state_vector))

    def _apply(self, update: bytes, author: Author, writer: int = 0) -> None:
        self._holding.came(update, author, writer)

    async def _resync(self, stream: Stream) -> None:
        if self._is_resyncing:
            return
        self._is_resyncing = True
        self._parts.clear()
        message = context_pb2.SyncResync(state_vector=self._holding.replica.state_vector())
        await stream.send(context_pb2.SyncRequest(resync=message))

    async def _take_refused(self, number: int, error: TallystickError) -> None:
        group = self._holding.outbox.group(number)
        if group is None:
            return
        if error.reason is Reason.EPOCH_CONFLICT and self._is_draining:
            await self._make_all_again(error)
            raise Reopen
        if error.reason in PASSING:
            raise AttemptError(Failure(Unavailable(error.message, reason=error.reason, metadata=error.metadata)))
        if not isinstance(error, Refused) or error.reason is Reason.CONTEXT_NOT_FOUND:
            raise AttemptError(Failure(error))
        if len(group.rows) > 1:
            for row in group.rows:
                row.goes_alone = True
        else:
            self._give_up(group.rows[0], error)
        raise Reopen

    def _give_up(self, row: Row, error: TallystickError) -> None:
        """One edit will never be merged: the replica goes back to before it, and what came after is made again."""
        rest = self._holding.refuse(row, error)
        self._exchange = Exchange(before=self._before if self._is_draining else None, refused=row, rest=rest)

    # A new epoch.

    def _start_draining(self) -> None:
        """Edits of the old epoch that a node has are part of the new one; the others are still sent.

        What is edited meanwhile is not: it is made again on the new document.
        """
        if self._is_draining:
            return
        self._is_draining = True
        self._before = self._holding.replica.doc.get_update()
        self._drains_to = self._holding.outbox.made_id

    def _check_drained(self) -> None:
        """Once a node has all of them, the document is fetched anew."""
        if not self._is_draining:
            return
        holding = self._holding
        holding.settled(min(holding.outbox.local_id, self._drains_to))
        if holding.outbox.first_id > self._drains_to:
            self._exchange = Exchange(before=self._before)
            raise Reopen

    async def _make_all_again(self, error: TallystickError) -> None:
        """No node carries the old edits over any more: they are made again from what the store remembers."""
        kept = await self._store.history()
        first, *_ = self._holding.outbox.rows
        if kept.is_pending_in_base:
            for row in self._holding.outbox.cut(first.id):
                self._holding.refused(row, error)
            self._exchange = Exchange(before=self._holding.replica.doc.get_update())
            return
        waiting = {row.id for row in self._holding.outbox.rows}
        before = content_with(kept.base, [row.update for row in kept.rows if row.id not in waiting])
        self._exchange = Exchange(before=before)

    # Sending.

    async def _send(self, stream: Stream) -> None:
        holding, clock = self._holding, self._calls.outside.clock
        while True:
            group = holding.outbox.next_group(clock(), through_id=self._drains_to if self._is_draining else None)
            if group is not None:
                if len(group.update) > UPDATE_BYTES:
                    self._give_up(group.rows[0], too_large(len(group.update)))
                    stream.break_off("an edit is too large to be sent")
                    return
                await stream.send(context_pb2.SyncRequest(update=_message(group)))
                continue
            since_s = holding.outbox.waits_since_s()
            if since_s is not None and clock() - since_s > ACK_S:
                stream.break_off(f"{stream.endpoint.address} acknowledged nothing for {ACK_S} s")
                return
            holding.more.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(ACK_S if since_s is not None else None):
                    await holding.more.wait()

    # What is known of the node.

    def _caught_up(self, cursor: context_pb2.Cursor) -> None:
        self._is_resyncing = False
        self._clocks = read_state_vector(cursor.state_vector)
        self._attempt = 0
        self.is_online = self.has_caught_up = True
        self._after = self.failure = None
        self._saw(cursor)
        self._holding.moved_on()

    def _saw(self, cursor: context_pb2.Cursor) -> None:
        if cursor.guid:
            self.cursor = Cursor.of(cursor)

    # Writer ids.

    async def _fresh_writer(self, *, is_needed: bool) -> int | None:
        """An id for the document that is about to take its place."""
        try:
            return await self._writers.take()
        except (Unavailable, Undecided):
            if is_needed:
                raise
            return None  # `_supply_writer` goes on asking

    async def _supply_writer(self) -> None:
        """Gets a writer for a replica that has none, and spares for later starts."""
        attempt, holding = 0, self._holding
        while True:
            try:
                await holding.until(lambda: holding.guid != b"" and self.has_caught_up)
                if not holding.replica.has_writer:
                    writer = await self._writers.take()
                    await holding.idle()
                    holding.take_writer(writer)
                if not self._store.is_durable:
                    return
                missing = SPARES - await self._store.spares()
                await self._store.put_spares([await self._writers.take() for _ in range(missing)])
                self.has_spares = True
            except (Unavailable, Undecided, Corrupt):
                if holding.error is not None:
                    return
                await asyncio.sleep(wait_s(attempt, self._calls.outside.rng))
                attempt += 1
            except TallystickError:  # the context has ended, or ids are refused: edits say so
                return
            else:
                return


def author_of(edit: context_pb2.Edit) -> Author:
    """Who made an edit."""
    return Author(edit.actor, edit.cause, edit.time_unix_ms, edit.node_id)


def common_author(edits: Sequence[context_pb2.Edit]) -> Author:
    """Who made all of them; nobody, if they are of several."""
    actors = {edit.actor for edit in edits}
    if len(actors) != 1:
        return Author()
    return author_of(edits[0]) if len(edits) == 1 else Author(actors.pop(), time_unix_ms=edits[-1].time_unix_ms)


def _message(group: Group) -> context_pb2.SyncUpdate:
    first = group.rows[0]
    return context_pb2.SyncUpdate(
        number=group.number,
        writer=first.writer,
        update=group.update,
        cause=first.cause,
        epoch=first.epoch,
        time_unix_ms=first.time_unix_ms,
    )
