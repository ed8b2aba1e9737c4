"""`Room` on this node's documents: what a Yjs client sends goes the way of every edit.

Rules of this file:
- A client of another epoch is told not to come back (4409): its replica would bring the old epoch's past along. Its
  user opens the document anew.
- What the client is known to have is the document as of the last thing it was told; who lags is sent a diff from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from tallystick.errors import Conflict, Invalid, QuotaExceeded, Reason
from tallystick.v1 import context_pb2
from tallystick.worker.v1 import worker_pb2
from tallystick_node.context_store.merged.contexts import MergedContexts
from tallystick_node.contexts.hub.hub import Hub
from tallystick_node.contexts.hub.subscriptions import Lagging, Moved, Pushed
from tallystick_node.contexts.ids import ContextId
from tallystick_node.contexts.limits import FIRST_WRITER, PRESENCE_STATES
from tallystick_node.core.outcomes import ContextRecord
from tallystick_node.web.messages import AwarenessState
from tallystick_node.web.rooms import Edited, News, Present

PRESENCES: Final = 16
"""Awareness ids that one connection may speak for: tabs behind one link, not crowds."""

FIND_S: Final = 3.0
"""How long it may take to ask a majority for a context of which this node has not heard."""

CAUSE: Final = "yjs"
"""What the record says led to an edit that came by this way."""


class HubRooms:
    """`Rooms` of a node.

    Args:
        unix_ms: Unix time in milliseconds: a stamp.
    """

    def __init__(self, contexts: MergedContexts, hub: Hub, unix_ms: Callable[[], int]) -> None:
        self._contexts = contexts
        self._hub = hub
        self._unix_ms = unix_ms

    @asynccontextmanager
    async def open(self, namespace: str, name: str, actor: str, peer: str) -> AsyncIterator[HubRoom]:
        """See `Rooms`."""
        with self._contexts.connections.open(peer):
            ref = context_pb2.ContextRef(namespace=namespace, name=name)
            record = await self._contexts.find(ref, FIND_S)
            room = HubRoom(record, self._contexts, self._hub, actor, self._unix_ms)
            try:
                yield room
            finally:
                room.close()


class HubRoom:
    """One document, open for one Yjs client."""

    def __init__(
        self, record: ContextRecord, contexts: MergedContexts, hub: Hub, actor: str, unix_ms: Callable[[], int]
    ) -> None:
        self._record = record
        self._document = ContextId(record.guid, record.epoch)
        self._contexts = contexts
        self._hub = hub
        self._actor = actor
        self._unix_ms = unix_ms
        self._wake = asyncio.Event()
        self._subscription = hub.audience.subscribe(self._document, self._wake.set)
        self._changed: dict[int, context_pb2.PresenceState] = {}
        self._mine: dict[int, None] = {}
        self._claimed: list[int] = []
        self._known_state_vector = b""
        hub.presence.listen(record.guid, self._presence_changed)

    async def state_vector(self) -> bytes:
        """See `Room`."""
        return (await self._contexts.described(self._record)).cursor.state_vector

    async def diff(self, state_vector: bytes) -> bytes:
        """See `Room`."""
        update, cursor = await self._contexts.whole(self._document, state_vector)
        self._known_state_vector = cursor.state_vector
        return update

    async def merge(self, update: bytes) -> bool:
        """See `Room`."""
        merge = worker_pb2.Merge(
            update=update,
            origin=worker_pb2.ORIGIN_WEB,
            edit=context_pb2.Edit(actor=self._actor, cause=CAUSE, time_unix_ms=self._unix_ms()),
            schema=self._record.schema,
            web_writers=self._claimed,
        )
        merged = await self._hub.merge(self._document, merge, self._subscription)
        if merged.web_writers:
            self._claimed = list(merged.web_writers)
        return not merged.lacks_state_vector

    def present(self, states: Sequence[AwarenessState]) -> None:
        """See `Room`. Awareness that a client repeats for others is left out: they speak for themselves."""
        told = {state.writer for state in self._hub.presence.states(self._document.guid)}
        own = [state for state in states if state.client in self._mine or state.client not in told]
        for state in own:
            if not 0 < state.client < FIRST_WRITER:
                raise Invalid(
                    f"{state.client} is no id that a Yjs client draws",
                    reason=Reason.FOREIGN_WRITER,
                    metadata={"field": "client"},
                )
            if state.state:
                self._mine[state.client] = None
            if len(self._mine) > PRESENCES:
                raise QuotaExceeded(
                    f"more than {PRESENCES} presences on one connection",
                    reason=Reason.PRESENCE_QUOTA,
                    metadata={"limit": str(PRESENCES)},
                )
        self._hub.presence.set(
            self._document.guid,
            [
                context_pb2.PresenceState(writer=each.client, clock=each.clock, state=each.state, actor=self._actor)
                for each in own
            ],
            is_local=True,
            owner=self,
        )

    def presences(self) -> Sequence[AwarenessState]:
        """See `Room`."""
        return [_awareness(state) for state in self._hub.presence.states(self._document.guid)]

    async def news(self) -> AsyncIterator[News]:
        """See `Room`."""
        while True:
            self._wake.clear()
            while (item := self._subscription.take()) is not None:
                match item:
                    case Pushed():
                        self._known_state_vector = item.state_vector
                        yield Edited(item.update)
                    case Lagging():
                        yield Edited(await self._caught_up())
                    case Moved():
                        raise _moved(item.document.epoch)
            if self._changed:
                changed, self._changed = self._changed, {}
                yield Present([_awareness(state) for state in changed.values() if state.writer not in self._mine])
            await self._wake.wait()

    def close(self) -> None:
        """The client is gone, and with it its presence."""
        self._subscription.close()
        self._hub.presence.unlisten(self._document.guid, self._presence_changed)
        for writer in self._mine:
            self._hub.presence.leave(self._document.guid, writer, self)

    async def _caught_up(self) -> bytes:
        update, cursor = await self._contexts.whole(self._document, self._known_state_vector)
        self._known_state_vector = cursor.state_vector
        return update

    def _presence_changed(self, _guid: bytes, states: Sequence[context_pb2.PresenceState]) -> None:
        for state in states:
            self._changed[state.writer] = state
        if len(self._changed) > 2 * PRESENCE_STATES:  # a slow reader: those that came and went meanwhile are left out
            here = self._hub.presence.states(self._document.guid)
            self._changed = {state.writer: state for state in here}
        self._wake.set()


def _moved(epoch: int) -> Conflict:
    return Conflict(f"the context is in epoch {epoch} now; open it anew", reason=Reason.EPOCH_CONFLICT)


def _awareness(state: context_pb2.PresenceState) -> AwarenessState:
    return AwarenessState(state.writer, state.clock, state.state)
