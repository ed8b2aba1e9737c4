"""What a node sees of its documents: a question, an answer.

Behind it stands a worker process (`worker.supervisor`), or, in the simulation, the desk itself.
"""

from __future__ import annotations

from typing import Protocol

from tallystick.worker.v1 import worker_pb2


class Port(Protocol):
    """The documents of this node."""

    @property
    def is_up(self) -> bool:
        """Whether questions are answered at the moment."""
        ...

    async def ask(self, request: worker_pb2.Request) -> worker_pb2.Response:
        """The answer. Requests are taken in the order in which they are asked; `request.id` is set here.

        Raises:
            Refused: what `Response.error` said.
            Unavailable: WORKER_DOWN, the worker died or is starting; of a merge: it is not known whether it was stored,
                and merging it again does no harm. CONTEXT_DAMAGED: the document cannot be read.
            Overloaded: too much is under way, or the disk is full.
        """
        ...
