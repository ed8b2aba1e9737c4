"""`Documents` of a simulated node: the desk in the node's process, in virtual time.

Rules of this file:
- What the worker's process does to requests is kept: the line, batches, an answer after the sync. It neither dies nor
  hangs by itself.
- The desk syncs each commit, and is never within one when its process ends: so a power cut leaves what a kill leaves.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from tallystick.errors import Reason, Unavailable, error_for
from tallystick.worker.v1.worker_pb2 import Request, Response
from tallystick_node.contexts.port import OnEarly, PortStatus
from tallystick_node.contexts.worker.limits import BATCH_REQUESTS
from tallystick_node.contexts.worker.line import Line
from tallystick_node.contexts.worker.process import Handler, OpenHandler
from tallystick_node.contexts.worker.suspects import Suspects

_STUCK_LOOK_S: Final = 0.05


class SimDocuments:
    """See the module.

    Args:
        folder: where they are.
        open_handler: opens the desk.
        clock: the node's.
        sync_s: how long a sync takes; asked for each.
        is_stuck: whether syncs do not return.
    """

    def __init__(
        self,
        folder: Path,
        open_handler: OpenHandler,
        *,
        clock: Callable[[], float],
        sync_s: Callable[[], float],
        is_stuck: Callable[[], bool],
    ) -> None:
        self._folder = folder
        self._open_handler = open_handler
        self._sync_s = sync_s
        self._is_stuck = is_stuck
        self._line = Line(Suspects(clock), self._send)
        self._sent: deque[Request] = deque()
        self._has_come = asyncio.Event()
        self._handler: Handler | None = None

    @property
    def is_up(self) -> bool:
        """See `Port`."""
        return self._handler is not None

    @property
    def status(self) -> PortStatus:
        """See `Documents`."""
        return PortStatus(requests=self._line.requests, request_bytes=self._line.size_bytes)

    async def ask(self, request: Request, on_early: OnEarly | None = None) -> Response:
        """See `Port`."""
        if self._handler is None:
            raise _down()
        response = await self._line.ask(request, on_early)
        if response.HasField("error"):
            raise error_for(response.error.reason, response.error.message, response.error.metadata)
        return response

    async def run(self) -> None:
        """See `Documents`."""
        await self._sync()
        self._folder.mkdir(exist_ok=True)
        self._handler = self._open_handler(self._folder)
        try:
            while True:
                await self._has_come.wait()
                await self._answer_some()
        except asyncio.CancelledError:
            while self._sent:
                await self._answer_some()
            raise
        finally:
            self.kill()
            self._line.fail(_down())

    def kill(self) -> None:
        """The process is gone."""
        handler, self._handler = self._handler, None
        if handler is not None:
            handler.close()

    def _send(self, sent: Request) -> None:
        request = Request()
        request.CopyFrom(sent)  # as over a wire: what its owner does with it later is its own
        self._sent.append(request)
        self._has_come.set()

    async def _answer_some(self) -> None:
        await self._sync()
        if self._handler is None:
            return
        batch = [self._sent.popleft() for _ in range(min(BATCH_REQUESTS, len(self._sent)))]
        if not self._sent:
            self._has_come.clear()
        answers = self._handler.handle(batch, self._tell_early)
        await asyncio.sleep(self._sync_s())  # it is on the disk, and nobody knows yet
        for answer in answers:
            self._line.answer(answer)

    def _tell_early(self, answers: Sequence[Response]) -> None:
        for answer in answers:
            self._line.tell_early(answer)

    async def _sync(self) -> None:
        await asyncio.sleep(self._sync_s())
        while self._is_stuck():  # noqa: ASYNC110 - a disk has no event
            await asyncio.sleep(_STUCK_LOOK_S)


def _down() -> Unavailable:
    return Unavailable("the documents are not open", reason=Reason.WORKER_DOWN)
