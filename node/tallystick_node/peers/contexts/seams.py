"""What this package asks of the node: its documents, and what was decided of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from tallystick.v1 import context_pb2
from tallystick.worker.v1 import worker_pb2
from tallystick_node.contexts.ids import ContextId


class Documents(Protocol):
    """The documents of this node: its hub."""

    async def ask(self, guid: bytes, request: worker_pb2.Request) -> worker_pb2.Response:
        """A question about one, once all that was decided of it has been told. Raises as `contexts.port.Port.ask`."""
        ...

    async def merge(self, document: ContextId, merge: worker_pb2.Merge) -> worker_pb2.Merged:
        """Checks, merges and stores an update. Calls reach the worker in the order in which they are made.

        Raises:
            Refused: it is not to be believed, or too much.
            Unavailable: WORKER_DOWN, it is not known whether it was merged; OVERLOADED, CONTEXT_DAMAGED.
        """
        ...

    def note_ack(self, peer_id: str, document: ContextId, number: int, whole: int) -> None:
        """A peer has on disk what this node pushed of a document up to `number`, and all of its log up to `whole`."""
        ...


class Here(Protocol):
    """Who is here, in all documents: the hub's `Presence`."""

    def set(self, guid: bytes, states: Iterable[context_pb2.PresenceState], *, is_local: bool) -> None:
        """Somebody is here, or has gone. Raises `Refused` what is too much."""
        ...

    def local_states(self) -> Sequence[tuple[bytes, Sequence[context_pb2.PresenceState]]]:
        """Those of this node's own clients."""
        ...
