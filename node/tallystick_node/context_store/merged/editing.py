"""Merges the updates of one stream, in order, and says what became of each.

    window -> checked (size, whose writer) -> hub -> acknowledged | refused | tried again

Rules of this file:
- An update is refused for what it is; then the stream goes on. What follows it of the same writer and cannot be merged
  without it is refused with it.
- What cannot be merged now (the worker is down, the context sealed, what it builds on is not here) is tried again, for
  a bounded time; then the stream ends, and the client sends again elsewhere. Merging twice does no harm.
- An ack never passes an update that is not settled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tallystick.errors import Conflict, Invalid, NotFound, Reason, Refused, TallystickError, Unavailable, error_for
from tallystick.v1 import context_pb2
from tallystick.worker.v1 import worker_pb2
from tallystick_node.context_store.decided import DecidedContexts
from tallystick_node.context_store.merged.following import Following
from tallystick_node.context_store.merged.limits import RETRY_EVERY_S, RETRY_S, SEALED_S
from tallystick_node.context_store.merged.outbox import Outbox
from tallystick_node.context_store.merged.quorum import Quorum
from tallystick_node.context_store.merged.window import Window
from tallystick_node.context_store.merged.writers import Holder, LiveWriters
from tallystick_node.contexts.hub.hub import Hub
from tallystick_node.contexts.hub.subscriptions import Subscription
from tallystick_node.contexts.ids import ContextId
from tallystick_node.contexts.limits import UPDATE_BYTES
from tallystick_node.core import limits as core_limits
from tallystick_node.core.outcomes import ContextRecord
from tallystick_node.wire.fields import check_bytes

OWNER_S: Final = 5.0
"""How long it may take to ask a majority whose a writer id is."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What all streams share."""

    decided: DecidedContexts
    following: Following
    hub: Hub
    live: LiveWriters


@dataclass(slots=True)
class _Update:
    """One update on its way. `cursor`: of this node's document once it is merged."""

    message: context_pb2.SyncUpdate
    is_settled: bool = False
    document: ContextId | None = None
    cursor: context_pb2.Cursor | None = None


class Editing:
    """See the module.

    Args:
        actor: whose the writers must be.
        subscription: is not told what is merged here.
    """

    def __init__(
        self,
        parts: Parts,
        record: ContextRecord,
        actor: str,
        holder: Holder,
        subscription: Subscription,
        outbox: Outbox,
        quorum: Quorum,
    ) -> None:
        self._decided = parts.decided
        self._following = parts.following
        self._hub = parts.hub
        self._live = parts.live
        self._guid = record.guid
        self._opened_epoch = record.epoch
        self._namespace = record.namespace
        self._schema = record.schema
        self._actor = actor
        self._holder = holder
        self._subscription = subscription
        self._outbox = outbox
        self._quorum = quorum
        self._newest = 0
        self._acknowledged = 0
        self._refused_writers: dict[int, tuple[int, TallystickError]] = {}

    async def run(self, window: Window) -> None:
        """Until the window ends.

        Raises:
            Invalid: the numbers do not rise.
            NotFound: the context was deleted.
            Unavailable: an update cannot be merged here for longer than it may wait.
        """
        while messages := await window.take():
            await self._outbox.until_room()
            updates = [_Update(message) for message in messages]
            for update in updates:
                await self._check(update)
            await self._merge_all(updates)
        self._outbox.end()

    async def _check(self, update: _Update) -> None:
        message = update.message
        if message.number <= self._newest:
            raise Invalid(
                f"update {message.number} came after {self._newest}: the numbers of a stream rise",
                metadata={"field": "number"},
            )
        self._newest = message.number
        try:
            if message.writer not in self._holder.writers:
                await self._check_writer(message.writer)
                self._live.claim(self._holder, message.writer)
            check_bytes("update", message.update, UPDATE_BYTES)
            check_bytes("cause", message.cause.encode(), core_limits.CAUSE_BYTES)
        except Refused as error:
            self._refuse(update, error)

    async def _check_writer(self, writer: int) -> None:
        owner = self._decided.known_owner(writer) or await self._decided.owner_of(writer, OWNER_S)
        if owner is None or owner.namespace != self._namespace or owner.actor != self._actor:
            raise Invalid(
                f"writer {writer} is not {self._actor!r}'s",
                reason=Reason.FOREIGN_WRITER,
                metadata={"writer": str(writer), "actor": self._actor},
            )

    async def _merge_all(self, updates: Sequence[_Update]) -> None:
        begun_s = asyncio.get_running_loop().time()
        while waiting := [update for update in updates if not update.is_settled]:
            why = await self._merge_once(waiting)
            self._acknowledge(updates)
            if why is None:
                continue
            longest_s = SEALED_S if why.reason is Reason.CONTEXT_SEALED else RETRY_S
            if asyncio.get_running_loop().time() - begun_s >= longest_s:
                raise why
            await asyncio.sleep(RETRY_EVERY_S)
        self._acknowledge(updates)

    async def _merge_once(self, updates: Sequence[_Update]) -> TallystickError | None:
        """Tries these; why some of them are still to be merged, if some are."""
        record = self._following.record(self._guid)
        if record is None:
            raise NotFound("the context was deleted", reason=Reason.CONTEXT_NOT_FOUND)
        for update in updates:
            self._check_epoch(update, record)
        updates = [update for update in updates if not update.is_settled]
        if not updates:
            return None
        merges = [self._start(update, record) for update in updates]
        await asyncio.wait(merges)
        why: TallystickError | None = None
        for update, merge in zip(updates, merges, strict=True):
            error = merge.exception()
            if error is None:
                why = self._take(update, ContextId(self._guid, record.epoch), merge.result()) or why
            else:
                why = self._take_error(update, error) or why
        return why

    def _check_epoch(self, update: _Update, record: ContextRecord) -> None:
        epoch = update.message.epoch or self._opened_epoch
        if epoch < record.epoch - 1:
            message = f"the update is of epoch {epoch}, the context in {record.epoch}: one epoch back is carried over"
            metadata = {"epoch": str(record.epoch)}
            self._refuse(update, Conflict(message, reason=Reason.EPOCH_CONFLICT, metadata=metadata))

    def _start(self, update: _Update, record: ContextRecord) -> asyncio.Task[worker_pb2.Merged]:
        message = update.message
        edit = context_pb2.Edit(
            writer=message.writer,
            actor=self._actor,
            cause=message.cause,
            time_unix_ms=message.time_unix_ms,
            node_id=self._hub.node_id,
        )
        merge = worker_pb2.Merge(
            update=message.update,
            origin=worker_pb2.ORIGIN_CLIENT,
            edit=edit,
            schema=self._schema,
            carry_over=(message.epoch or self._opened_epoch) < record.epoch,
        )
        document = ContextId(self._guid, max(record.epoch, message.epoch))
        return self._hub.start_merge(document, merge, self._subscription)

    def _take(self, update: _Update, document: ContextId, merged: worker_pb2.Merged) -> TallystickError | None:
        if merged.lacks_state_vector:
            refused = self._refused_writers.get(update.message.writer)
            if refused is None:
                return Unavailable("an update builds on what this node does not have yet", reason=Reason.BEHIND)
            number, error = refused
            message = f"it follows update {number}, which was refused: {error.message}"
            self._refuse(update, error_for(error.reason, message, error.metadata))
            return None
        update.is_settled = True
        update.document = document
        update.cursor = context_pb2.Cursor(
            guid=document.guid,
            epoch=document.epoch,
            state_vector=merged.state_vector,
            deletes_digest=merged.deletes_digest,
            node_id=self._hub.node_id,
            number=merged.number,
            log=merged.log,
        )
        return None

    def _take_error(self, update: _Update, error: BaseException) -> TallystickError | None:
        if isinstance(error, NotFound):
            raise error
        if isinstance(error, Conflict) and error.reason is Reason.EPOCH_CONFLICT:  # the epoch has changed meanwhile
            self._following.begin_if_unknown(self._guid)
            return Unavailable(error.message, reason=Reason.BEHIND)
        if isinstance(error, Refused):
            self._refuse(update, error)
            return None
        if isinstance(error, Unavailable):
            return error
        raise error

    def _refuse(self, update: _Update, error: TallystickError) -> None:
        update.is_settled = True
        if update.message.writer in self._holder.writers:
            self._refused_writers[update.message.writer] = (update.message.number, error)
        self._outbox.refuse(update.message.number, error)

    def _acknowledge(self, updates: Sequence[_Update]) -> None:
        """Acks the settled ones that no unsettled one precedes."""
        newest: _Update | None = None
        for update in updates:
            if not update.is_settled:
                break
            if update.cursor is not None:
                newest = update
        if newest is None or newest.cursor is None or newest.document is None:
            return
        number, cursor = newest.message.number, newest.cursor
        if number <= self._acknowledged:
            return
        self._acknowledged = number
        self._outbox.ack(number, context_pb2.ACK_LEVEL_LOCAL, cursor)
        self._quorum.add(number, newest.document, cursor)
