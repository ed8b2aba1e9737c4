"""What a node sees of its documents: a question, an answer.

Behind it stands a worker process (`worker.supervisor`), or, in the simulation, the desk itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from tallystick.worker.v1 import worker_pb2


@dataclass(frozen=True, slots=True)
class PortStatus:
    """What is behind a port.

    Attributes:
        pid: of the worker; 0 if there is none.
        restarts: how often it died and was started again.
        set_aside: updates, questions and documents that are refused because they killed it.
        requests: how many are not answered.
        request_bytes: what they hold together.
    """

    pid: int = 0
    restarts: int = 0
    set_aside: int = 0
    requests: int = 0
    request_bytes: int = 0


OnEarly: TypeAlias = Callable[[worker_pb2.Response], None]


class Port(Protocol):
    """The documents of this node."""

    @property
    def is_up(self) -> bool:
        """Whether questions are answered at the moment."""
        ...

    async def ask(self, request: worker_pb2.Request, on_early: OnEarly | None = None) -> worker_pb2.Response:
        """The answer. Requests are taken in the order in which they are asked; `request.id` is set here.

        Args:
            on_early: of a merge: may be told what the answer will be before it is on disk. It is called when a task
                that awaits an answer given at that moment would go on, so what is told and what is answered keep the
                order of the update log. If an error comes after it, it was told in vain.

        Raises:
            Refused: what `Response.error` said.
            Unavailable: WORKER_DOWN, the worker died or is starting; of a merge: it is not known whether it was stored,
                and merging it again does no harm. CONTEXT_DAMAGED: the document cannot be read.
            Overloaded: too much is under way, or the disk is full.
        """
        ...


class Documents(Port, Protocol):
    """A port with what stands behind it."""

    @property
    def status(self) -> PortStatus:
        """What is behind it."""
        ...

    async def run(self) -> None:
        """Keeps it up until it is cancelled, which ends it in order: what was asked before is answered.

        Raises:
            StorageError: the documents cannot be opened, and the node must not go on without them.
        """
        ...
