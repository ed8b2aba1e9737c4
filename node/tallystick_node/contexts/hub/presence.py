"""Who is here: the awareness states of documents. Nothing of it is stored.

Rules of this file:
- A state is replaced by one of a higher clock, or by an equal clock that says "gone" (as Yjs's awareness does).
- A state that is not repeated for `PRESENCE_TTL_S` is gone; so is one whose stream ends.
- States of this node's clients are local: they are told to other nodes. States that came from there are not told on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from tallystick.errors import Invalid, QuotaExceeded, Reason
from tallystick.v1 import context_pb2
from tallystick_node.contexts.limits import PRESENCE_BYTES, PRESENCE_STATES, PRESENCE_TTL_S

PRESENCE_DOCUMENTS: Final = 10_000
"""Documents in which somebody is."""

PresenceListener: TypeAlias = Callable[[bytes, Sequence[context_pb2.PresenceState]], None]
"""Hears, of a guid, the states that changed; an empty state: gone."""


def _nothing() -> None:
    """Nobody minds that the document was deleted."""


@dataclass(slots=True)
class _Held:
    state: context_pb2.PresenceState
    heard_s: float
    is_local: bool
    owner: object


@dataclass(slots=True)
class _Document:
    states: dict[int, _Held] = field(default_factory=dict)
    listeners: dict[PresenceListener, Callable[[], None]] = field(default_factory=dict)


class Presence:
    """See the module.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._documents: dict[bytes, _Document] = {}
        self._on_local: list[PresenceListener] = []

    def on_local(self, listener: PresenceListener) -> None:
        """From now on this hears of what changes of this node's own clients, repetitions included."""
        self._on_local.append(listener)

    def states(self, guid: bytes) -> list[context_pb2.PresenceState]:
        """Who is in a document now."""
        document = self._documents.get(guid)
        return [held.state for held in document.states.values()] if document else []

    def local_states(self) -> list[tuple[bytes, list[context_pb2.PresenceState]]]:
        """Those of this node's own clients: for a node that has just been reached."""
        found = [
            (guid, [held.state for held in document.states.values() if held.is_local])
            for guid, document in self._documents.items()
        ]
        return [(guid, states) for guid, states in found if states]

    def listen(self, guid: bytes, listener: PresenceListener, on_deleted: Callable[[], None] = _nothing) -> None:
        """Tells a listener of each change in a document from now on, and that it was deleted.

        Raises:
            QuotaExceeded: PRESENCE_QUOTA.
        """
        self._document(guid).listeners[listener] = on_deleted

    def unlisten(self, guid: bytes, listener: PresenceListener) -> None:
        """No more."""
        document = self._documents.get(guid)
        if document is not None:
            document.listeners.pop(listener, None)
            self._drop_if_empty(guid, document)

    def set(
        self,
        guid: bytes,
        states: Iterable[context_pb2.PresenceState],
        *,
        is_local: bool,
        owner: object = None,
    ) -> None:
        """Somebody says that it is here, is here still, or has gone (an empty state).

        Args:
            owner: the stream that says so; the last one that did takes the state along when it ends.

        Raises:
            Invalid: no writer.
            QuotaExceeded: PRESENCE_QUOTA, a state is too large or there are too many. Those before it are set.
        """
        document = self._document(guid)
        changed: list[context_pb2.PresenceState] = []
        repeated: list[context_pb2.PresenceState] = []
        try:
            for state in states:
                if self._set(document, state, owner, is_local=is_local):
                    changed.append(state)
                elif is_local:
                    repeated.append(state)
        finally:
            self._tell(guid, document, changed)
            if is_local and (changed or repeated):
                self._tell_peers(guid, [*changed, *repeated])
            self._drop_if_empty(guid, document)

    def leave(self, guid: bytes, writer: int, owner: object = None) -> None:
        """The stream of a local writer ended: its state is gone, unless another stream has taken it over."""
        document = self._documents.get(guid)
        held = document.states.get(writer) if document else None
        if held is not None and held.is_local and held.owner is owner:
            gone = context_pb2.PresenceState(writer=writer, clock=held.state.clock + 1, actor=held.state.actor)
            self.set(guid, [gone], is_local=True)

    def forget(self, guid: bytes) -> None:
        """The document was deleted."""
        document = self._documents.pop(guid, None)
        for on_deleted in document.listeners.values() if document else ():
            on_deleted()

    def expire(self) -> None:
        """Those that were not heard of for too long are gone. To be called about each second."""
        oldest_s = self._clock() - PRESENCE_TTL_S
        for guid, document in list(self._documents.items()):
            old = [held for held in document.states.values() if held.heard_s < oldest_s]
            for held in old:
                del document.states[held.state.writer]
            gone = [
                context_pb2.PresenceState(writer=held.state.writer, clock=held.state.clock + 1, actor=held.state.actor)
                for held in old
            ]
            self._tell(guid, document, gone)
            self._drop_if_empty(guid, document)

    def _set(self, document: _Document, state: context_pb2.PresenceState, owner: object, *, is_local: bool) -> bool:
        """Whether it changed anything."""
        if not state.writer:
            raise Invalid("a presence state needs a writer", metadata={"field": "writer"})
        if len(state.state) > PRESENCE_BYTES:
            raise _too_much(f"a presence state of {len(state.state)} bytes", PRESENCE_BYTES)
        held = document.states.get(state.writer)
        if not state.state:
            if held is None or held.state.clock > state.clock:
                return False
            del document.states[state.writer]
            return True
        if held is None:
            if len(document.states) >= PRESENCE_STATES:
                raise _too_much("too many are in this document", PRESENCE_STATES)
        elif held.state.clock >= state.clock:
            if held.state.clock == state.clock:
                held.heard_s, held.owner = self._clock(), owner
            return False
        document.states[state.writer] = _Held(state, self._clock(), is_local, owner)
        return held is None or held.state.state != state.state

    def _tell(self, guid: bytes, document: _Document, states: Sequence[context_pb2.PresenceState]) -> None:
        if states:
            for listener in list(document.listeners):
                listener(guid, states)

    def _tell_peers(self, guid: bytes, states: Sequence[context_pb2.PresenceState]) -> None:
        for listener in self._on_local:
            listener(guid, states)

    def _document(self, guid: bytes) -> _Document:
        document = self._documents.get(guid)
        if document is None:
            if len(self._documents) >= PRESENCE_DOCUMENTS:
                raise _too_much("somebody is in too many documents", PRESENCE_DOCUMENTS)
            document = self._documents[guid] = _Document()
        return document

    def _drop_if_empty(self, guid: bytes, document: _Document) -> None:
        if not document.states and not document.listeners:
            self._documents.pop(guid, None)


def _too_much(what: str, limit: int) -> QuotaExceeded:
    return QuotaExceeded(f"{what}; the limit is {limit}", reason=Reason.PRESENCE_QUOTA, metadata={"limit": str(limit)})
