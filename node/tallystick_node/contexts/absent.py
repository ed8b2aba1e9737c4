"""`Documents` of a node that was told to hold none."""

from __future__ import annotations

import asyncio
from typing import NoReturn

from tallystick.errors import Reason, Unavailable
from tallystick.worker.v1.worker_pb2 import Request
from tallystick_node.contexts.port import OnEarly, PortStatus


class NoDocuments:
    """See the module."""

    @property
    def is_up(self) -> bool:
        """See `Port`."""
        return False

    @property
    def status(self) -> PortStatus:
        """See `Documents`."""
        return PortStatus()

    async def ask(self, request: Request, on_early: OnEarly | None = None) -> NoReturn:
        """See `Port`."""
        del request, on_early
        raise Unavailable("this node was started without contexts", reason=Reason.WORKER_DOWN)

    async def run(self) -> None:
        """See `Documents`."""
        await asyncio.Event().wait()
