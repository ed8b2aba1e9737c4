"""What one stream brings of what others edited.

Rules of this file:
- It is applied in the order in which the node sends it. What does not follow what is here is not applied: the
  difference is asked for (`resync`).
- Nothing is applied while a local transaction is open.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from tallystick._backoff import Failure
from tallystick._calls import AttemptError
from tallystick.contexts.changes import Author
from tallystick.contexts.exchange import Exchange
from tallystick.contexts.holding import Holding
from tallystick.contexts.lib0 import covers, read_state_vector
from tallystick.contexts.limits import DOCUMENT_BYTES
from tallystick.contexts.standing import Standing
from tallystick.contexts.stream import OPEN_S, Stream
from tallystick.contexts.supply import Supply
from tallystick.errors import Corrupt
from tallystick.v1 import context_pb2

SHORT_BYTES: Final = 1024
"""State vectors up to this size are compared with every push, longer ones with each `COMPARE_EVERY`th."""
COMPARE_EVERY: Final = 64
EMPTY_UPDATE: Final = b"\x00\x00"


class Receiving:
    """See the module."""

    def __init__(self, stream: Stream, holding: Holding, standing: Standing) -> None:
        self._stream, self._holding, self._standing = stream, holding, standing
        self._is_resyncing = False
        self._pushes = 0
        self._clocks: dict[int, int] = {}
        self._parts = bytearray()

    async def take_whole(self, info: context_pb2.ContextInfo, supply: Supply) -> None:
        """Fetches the document, and puts it in place of what there is.

        Raises:
            AttemptError: the stream has ended.
            Unavailable, Undecided: edits are to be made again, and there is no writer for them.
            Corrupt: pycrdt cannot take it.
        """
        holding, standing = self._holding, self._standing
        is_exchange = standing.exchange is not None
        content, cursor = await self._read_whole()
        writer = await supply.fresh(is_needed=is_exchange)
        await holding.idle()
        # From here on nothing waits: no edit can come in between.
        exchange, standing.exchange = standing.exchange or Exchange(), None
        try:
            again = exchange.again(holding, content, info.epoch)
            holding.begin(guid=info.guid, epoch=info.epoch, schema=info.schema, content=content, writer=writer)
        except Corrupt:
            standing.exchange = exchange
            raise
        holding.make_again(again)
        self._caught_up(cursor)

    async def _read_whole(self) -> tuple[bytes, context_pb2.Cursor]:
        data = bytearray()
        while True:
            response = await self._stream.read(OPEN_S)
            if response.WhichOneof("body") != "part":
                continue
            data += response.part.data
            if len(data) > DOCUMENT_BYTES:
                raise AttemptError(Failure(Corrupt("the node sends a document without an end")))
            if response.part.is_last:
                return bytes(data) or EMPTY_UPDATE, response.part.cursor

    async def take_part(self, part: context_pb2.SyncPart) -> None:
        """A part of what the replica lacks; applied with the last one.

        Raises:
            Corrupt: pycrdt cannot take it, or there is no end of it.
        """
        self._parts += part.data
        if len(self._parts) > DOCUMENT_BYTES:
            raise Corrupt("the node sends an update without an end")
        if not part.is_last:
            return
        update = bytes(self._parts)
        self._parts.clear()
        await self._holding.idle()
        if update not in (b"", EMPTY_UPDATE):
            self._holding.came(update, _common_author(part.edits))
        self._caught_up(part.cursor)

    async def take_pushed(self, pushed: context_pb2.SyncPushed) -> None:
        """Applies what somebody edited, if it follows what is here. Raises Corrupt: pycrdt cannot take it."""
        await self._holding.idle()
        edit = pushed.edit
        if edit.writer and self._clocks.get(edit.writer, 0) < edit.clock:
            await self._resync()
            return
        self._holding.came(pushed.update, _author_of(edit), edit.writer)
        self._clocks[edit.writer] = max(self._clocks.get(edit.writer, 0), edit.end_clock)
        if self._is_behind(pushed.cursor.state_vector):
            await self._resync()
            return
        self._standing.saw(pushed.cursor)

    def _is_behind(self, state_vector: bytes) -> bool:
        """The replica lacks what the node's document has; long state vectors are not compared each time."""
        self._pushes += 1
        if len(state_vector) > SHORT_BYTES and self._pushes % COMPARE_EVERY:
            return False
        held = read_state_vector(self._holding.replica.state_vector())
        return not covers(held, read_state_vector(state_vector))

    async def _resync(self) -> None:
        if self._is_resyncing:
            return
        self._is_resyncing = True
        self._parts.clear()
        message = context_pb2.SyncResync(state_vector=self._holding.replica.state_vector())
        await self._stream.send(context_pb2.SyncRequest(resync=message))

    def _caught_up(self, cursor: context_pb2.Cursor) -> None:
        self._is_resyncing = False
        self._clocks = read_state_vector(cursor.state_vector)
        self._standing.caught_up(cursor)
        self._holding.moved_on()


def _author_of(edit: context_pb2.Edit) -> Author:
    return Author(edit.actor, edit.cause, edit.time_unix_ms, edit.node_id)


def _common_author(edits: Sequence[context_pb2.Edit]) -> Author:
    """Who made all of them; nobody, if they are of several."""
    actors = {edit.actor for edit in edits}
    if len(actors) != 1:
        return Author()
    return _author_of(edits[0]) if len(edits) == 1 else Author(actors.pop(), time_unix_ms=edits[-1].time_unix_ms)
