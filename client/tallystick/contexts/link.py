"""The link of a replica to the cluster: one stream after the other, from whichever node answers.

    stream ── what others edited ─▶ receiving ─▶ holding ─▶ sending ── local edits ─▶ stream

Rules of this file:
- A new stream sends again, in order, all that no majority has acknowledged.
- The document is fetched whole (`Exchange`) at first, in a new epoch, after a refusal, and if pycrdt could not take an
  update.
- Before anything is applied or sent, it is looked whether others wrote under our ids (`reuse`).
- A refusal of the stream is the end of the link, but of what time mends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from tallystick._backoff import Failure, wait_s
from tallystick._calls import AttemptError, Calls
from tallystick._channel import Endpoint
from tallystick._contexts import Contexts
from tallystick._json import JSONLike
from tallystick._values import Consistency
from tallystick.contexts.cursor import Cursor
from tallystick.contexts.ending import end
from tallystick.contexts.exchange import Exchange
from tallystick.contexts.holding import Holding
from tallystick.contexts.lib0 import read_state_vector
from tallystick.contexts.receiving import Receiving
from tallystick.contexts.reuse import Reuse
from tallystick.contexts.sending import PASSING, Reopen, Sending
from tallystick.contexts.standing import Standing
from tallystick.contexts.store import Store
from tallystick.contexts.stream import OPEN_S, Stream
from tallystick.contexts.supply import Supply
from tallystick.contexts.writers import Writers
from tallystick.errors import Corrupt, NotFound, Reason, TallystickError, Unavailable, Undecided
from tallystick.v1 import context_pb2


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


class Link:
    """See the module.

    Attributes:
        standing: what is known of the cluster.
        supply: of writer ids.
    """

    def __init__(
        self, calls: Calls, contexts: Contexts, writers: Writers, origin: Origin, holding: Holding, store: Store
    ) -> None:
        self._calls, self._contexts = calls, contexts
        self._origin, self._holding, self._store = origin, holding, store
        self._incarnation = bytes.fromhex(calls.outside.new_key())
        self._new_guid = bytes.fromhex(calls.outside.new_key())
        self._is_created = False
        self.standing = Standing(origin.after)
        self.supply = Supply(calls, writers, holding, store, self.standing)
        self._reuse = Reuse(holding, store)

    async def run(self) -> None:
        """Keeps the replica and the cluster together until it is cancelled, or refused for good."""
        supply = asyncio.create_task(self.supply.run())
        try:
            while self._holding.error is None:
                await self._once()
        except TallystickError as error:
            self._holding.end(error)
        finally:
            await end(supply)

    async def _once(self) -> None:
        """One stream, and what its end means."""
        calls, standing = self._calls, self.standing
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
            standing.exchange = standing.exchange or Exchange()
            await self._failed(Failure(error))
        finally:
            standing.is_online = False

    async def _failed(self, failure: Failure) -> None:
        self.standing.is_online, self.standing.failure = False, failure.error
        self._holding.moved_on()
        if failure.is_final:
            await self._refused(failure.error)
        else:
            await self._pause(failure.retry_after_s)

    async def _pause(self, at_least_s: float = 0.0) -> None:
        await asyncio.sleep(max(at_least_s, wait_s(self.standing.failures, self._calls.outside.rng)))
        self.standing.failures += 1

    async def _refused(self, error: TallystickError) -> None:
        """The stream was refused: perhaps the document is still to be made, or the node has not heard of it yet."""
        if error.reason not in (*PASSING, Reason.CONTEXT_NOT_FOUND):
            self._holding.end(error)
            return
        try:
            if error.reason is Reason.CONTEXT_NOT_FOUND:
                await self._create_or_confirm()
        except (Unavailable, Undecided) as unclear:
            self.standing.failure = unclear
        except TallystickError as refused:
            self._holding.end(refused)
        await self._pause()

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
        holding, standing = self._holding, self.standing
        standing.is_draining = False
        receiving = Receiving(stream, holding, standing)
        sending = Sending(stream, holding, self._store, standing, self._reuse, self._calls.outside.clock)
        is_whole = standing.exchange is not None or not holding.guid
        await stream.send(context_pb2.SyncRequest(open=self._open_message(is_whole=is_whole)))
        first = await stream.read(OPEN_S + (self._calls.timeout_s if standing.after is not None else 0))
        info = self._opened(stream.endpoint, first)
        if is_whole:
            await receiving.take_whole(info, self.supply)
        else:
            await self._check_reuse(info, first.opened.cursor)
            if info.epoch != holding.epoch:
                sending.moved()
        holding.outbox.restart()
        sender = asyncio.create_task(sending.run())
        try:
            while True:
                await self._take(await stream.read(), receiving, sending)
        finally:
            await end(sender)

    def _open_message(self, *, is_whole: bool) -> context_pb2.SyncOpen:
        holding, origin, after = self._holding, self._origin, self.standing.after
        message = context_pb2.SyncOpen(context=origin.ref, actor=origin.actor, incarnation=self._incarnation)
        if not is_whole:
            message.guid, message.epoch = holding.guid, holding.epoch
            message.state_vector = holding.replica.state_vector()
        if after is not None:
            message.after.CopyFrom(after.message())
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

    async def _check_reuse(self, info: context_pb2.ContextInfo, cursor: context_pb2.Cursor) -> None:
        """Raises Reopen: others wrote under ids of ours."""
        reused = self._reuse.found(read_state_vector(cursor.state_vector))
        if reused:
            is_moved = info.epoch != self._holding.epoch
            self.standing.exchange = await self._reuse.leave(reused, self.supply, is_moved=is_moved)
            raise Reopen

    async def _take(self, response: context_pb2.SyncResponse, receiving: Receiving, sending: Sending) -> None:
        match response.WhichOneof("body"):
            case "pushed" if not self.standing.is_draining:
                await receiving.take_pushed(response.pushed)
            case "part" if not self.standing.is_draining:
                await receiving.take_part(response.part)
            case "ack":
                sending.acked(response.ack)
            case "refused":
                await sending.refused(response.refused)
            case "moved":
                sending.moved()
            case _:
                return
