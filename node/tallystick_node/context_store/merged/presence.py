"""Who is here: one Presence stream.

Rules of this file:
- What waits for a slow reader is the newest state of each writer, not each change.
- The caller's own state is gone when its stream ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Final

from tallystick.errors import Invalid, NotFound, Overloaded, Reason
from tallystick.v1 import context_pb2
from tallystick_node.contexts.hub.presence import Presence
from tallystick_node.contexts.limits import PRESENCE_STATES

_WAITING: Final = 4 * PRESENCE_STATES
"""Writers whose states wait for one reader; those who came and went count too."""


class PresenceStream:
    """See the module; `run` is all of its life.

    Args:
        writer: the caller's own id; 0: it only looks.
        actor: who it is.
    """

    def __init__(self, presence: Presence, guid: bytes, writer: int, actor: str) -> None:
        self._presence = presence
        self._guid = guid
        self._writer = writer
        self._actor = actor
        self._waiting: dict[int, context_pb2.PresenceState] = {}
        self._wake = asyncio.Event()
        self._failure: BaseException | None = None
        self._ended = False

    async def run(
        self, requests: AsyncIterator[context_pb2.PresenceRequest]
    ) -> AsyncGenerator[list[context_pb2.PresenceState], None]:
        """States that changed; the first are all there are. Raises what ended the stream."""
        presence, guid = self._presence, self._guid
        presence.listen(guid, self._hear, self._lose)
        reading = asyncio.create_task(self._read(requests), name="presence")
        try:
            self._waiting = {state.writer: state for state in presence.states(guid) if state.writer != self._writer}
            yield self._take()
            while not self._ended or self._waiting:
                if self._failure is not None:
                    raise self._failure
                if self._waiting:
                    yield self._take()
                    continue
                self._wake.clear()
                await self._wake.wait()
        finally:
            presence.unlisten(guid, self._hear)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            if self._writer:
                presence.leave(guid, self._writer, self)

    def _take(self) -> list[context_pb2.PresenceState]:
        taken = list(self._waiting.values())
        self._waiting.clear()
        return taken

    def _hear(self, _guid: bytes, states: Sequence[context_pb2.PresenceState]) -> None:
        for state in states:
            if state.writer != self._writer:
                self._waiting[state.writer] = state
        if len(self._waiting) > _WAITING:
            self._failure = Overloaded("the reader of this presence is too slow")
        self._wake.set()

    def _lose(self) -> None:
        self._failure = NotFound("the context was deleted", reason=Reason.CONTEXT_NOT_FOUND)
        self._wake.set()

    async def _read(self, requests: AsyncIterator[context_pb2.PresenceRequest]) -> None:
        try:
            async for request in requests:
                self._set(request)
        except Exception as error:  # noqa: BLE001 - the stream ends by it, in its own task
            self._failure = error
        self._ended = True
        self._wake.set()

    def _set(self, request: context_pb2.PresenceRequest) -> None:
        if request.WhichOneof("body") != "state":
            raise Invalid("a stream is opened once, by its first request", metadata={"field": "body"})
        state = request.state
        if not self._writer or state.writer != self._writer:
            raise Invalid("this stream speaks for another id", metadata={"field": "writer"})
        own = context_pb2.PresenceState(writer=state.writer, clock=state.clock, state=state.state, actor=self._actor)
        self._presence.set(self._guid, [own], is_local=True, owner=self)
