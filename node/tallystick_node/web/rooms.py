"""What the web needs of a document that a Yjs client has open."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from tallystick_node.web.messages import AwarenessState


@dataclass(frozen=True, slots=True)
class Edited:
    """Somebody else edited: an update to hand on."""

    update: bytes


@dataclass(frozen=True, slots=True)
class Present:
    """Somebody's presence changed."""

    states: Sequence[AwarenessState]


News: TypeAlias = Edited | Present


class Room(Protocol):
    """One document, open for one client."""

    async def state_vector(self) -> bytes:
        """Of this node's document."""
        ...

    async def diff(self, state_vector: bytes) -> bytes:
        """What a state vector lacks, as one update."""
        ...

    async def merge(self, update: bytes) -> bool:
        """Merges an update of this client; false: its predecessors are not here and it was not merged.

        Raises:
            TallystickError: refused, or not now.
        """
        ...

    def present(self, states: Sequence[AwarenessState]) -> None:
        """Takes the presence of this client.

        Raises:
            Refused: too much of it, or of others.
        """
        ...

    def presences(self) -> Sequence[AwarenessState]:
        """Who is here."""
        ...

    def news(self) -> AsyncIterator[News]:
        """What others do from now on, each thing once.

        Raises:
            TallystickError: the document was deleted, or is in a new epoch.
        """
        ...


class Rooms(Protocol):
    """The documents of this node."""

    def open(self, namespace: str, name: str, actor: str, peer: str) -> AbstractAsyncContextManager[Room]:
        """Opens a document for a client at the address `peer`.

        Raises:
            TallystickError: there is none of this name, or too many are open.
        """
        ...
