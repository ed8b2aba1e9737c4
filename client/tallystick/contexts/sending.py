"""Local edits on one stream: sent, acknowledged, refused, and drained when their epoch is over.

Rules of this file:
- A node that does not acknowledge within `ACK_S` is left.
- A refusal of one edit is the end of that edit: the document is then fetched whole, and what came after it made again.
- In a new epoch the edits of the old one are sent first; the document is fetched once a node has them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from tallystick._backoff import Failure
from tallystick._calls import AttemptError
from tallystick.contexts.exchange import Exchange, of_all_that_waits
from tallystick.contexts.holding import Holding
from tallystick.contexts.limits import UPDATE_BYTES
from tallystick.contexts.outbox import Group
from tallystick.contexts.replica import too_large
from tallystick.contexts.reuse import Reuse
from tallystick.contexts.rows import Level, Row
from tallystick.contexts.standing import Standing
from tallystick.contexts.store import Store
from tallystick.contexts.stream import Stream
from tallystick.errors import Reason, Refused, TallystickError, Unavailable, error_for
from tallystick.v1 import context_pb2

PASSING: Final = (Reason.WRITER_IN_USE, Reason.EPOCH_CONFLICT)
"""Refusals that time mends: the node still holds a stream that broke, or has not heard of an epoch."""
ACK_S: Final = 8.0
"""How long a node may take to acknowledge an edit before another is asked."""


class Reopen(Exception):
    """The stream has done what it can; another is needed at once."""


class Sending:
    """See the module.

    Args:
        reuse: told of what is sent.
        store: what it remembers helps where no node carries old edits over.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        stream: Stream,
        holding: Holding,
        store: Store,
        standing: Standing,
        reuse: Reuse,
        clock: Callable[[], float],
    ) -> None:
        self._stream, self._holding, self._store = stream, holding, store
        self._standing, self._reuse, self._clock = standing, reuse, clock
        self._before = b""
        self._drains_to = 0

    async def run(self) -> None:
        """Sends what is edited, until it is cancelled or the stream is of no more use."""
        holding = self._holding
        while True:
            through_id = self._drains_to if self._standing.is_draining else None
            group = holding.outbox.next_group(self._clock(), through_id=through_id)
            if group is not None:
                if len(group.update) > UPDATE_BYTES:
                    self._give_up(group.rows[0], too_large(len(group.update)))
                    self._stream.break_off("an edit is too large to be sent")
                    return
                try:
                    await self._reuse.sends(group.rows[0].writer)
                except Unavailable as error:
                    self._stream.break_off(f"what is sent cannot be noted: {error.message}")
                    return
                await self._stream.send(context_pb2.SyncRequest(update=_message(group)))
                continue
            since_s = holding.outbox.waits_since_s()
            if since_s is not None and self._clock() - since_s > ACK_S:
                self._stream.break_off(f"{self._stream.endpoint.address} acknowledged nothing for {ACK_S} s")
                return
            holding.more.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(ACK_S if since_s is not None else None):
                    await holding.more.wait()

    def acked(self, ack: context_pb2.SyncAck) -> None:
        """A node has what was sent. Raises Reopen: all of the old epoch, now."""
        level = Level.QUORUM if ack.level == context_pb2.ACK_LEVEL_QUORUM else Level.LOCAL
        if not self._standing.is_draining:
            self._standing.saw(ack.cursor)
        self._holding.acked(ack.number, level)
        if not self._standing.is_draining:  # else what waits must stay apart: it may have to be made again
            self._holding.squash()  # who only writes has nothing come in
        self._check_drained()

    async def refused(self, refused: context_pb2.SyncRefused) -> None:
        """A node did not take what was sent.

        Raises:
            Reopen: it is dealt with.
            AttemptError: it is no fault of the edit's.
        """
        error = error_for(refused.error.reason, refused.error.message, refused.error.metadata)
        group = self._holding.outbox.group(refused.number)
        if group is None:
            return
        if error.reason is Reason.EPOCH_CONFLICT and self._standing.is_draining:
            self._standing.exchange = await of_all_that_waits(self._holding, self._store, error)
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
        before = self._before if self._standing.is_draining else None
        self._standing.exchange = Exchange(before=before, refused=row, rest=rest)

    def moved(self) -> None:
        """The document is in a new epoch.

        Edits of the old epoch that a node has are part of the new one; the others are still sent. What is edited
        meanwhile is not: it is made again on the new document.

        Raises:
            Reopen: there are none to be sent.
        """
        if not self._standing.is_draining:
            self._standing.is_draining = True
            self._before = self._holding.replica.doc.get_update()
            self._drains_to = self._holding.outbox.made_id
        self._check_drained()

    def _check_drained(self) -> None:
        """Once a node has all of them, the document is fetched anew."""
        if not self._standing.is_draining:
            return
        holding = self._holding
        holding.settled(min(holding.outbox.local_id, self._drains_to))
        if holding.outbox.first_id > self._drains_to:
            self._standing.exchange = Exchange(before=self._before)
            raise Reopen


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
