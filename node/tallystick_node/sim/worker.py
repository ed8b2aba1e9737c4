"""The worker of a simulated node: the real desk, in virtual time, behind the real supervisor.

Rules of this file:
- What the worker's process does to requests is kept: batches, an answer after the sync, an end at any moment between.
- The desk syncs each commit, and is never within one when its process ends: so a power cut leaves what a kill leaves.
- What the desk raises ends the worker, as it ends a process; what it must never raise fails the simulation.
"""

from __future__ import annotations

import asyncio
import signal
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, cast

from google.protobuf.message import Message

from tallystick.worker.v1.worker_pb2 import Done, ListDocuments, Request, Response
from tallystick_node.contexts.worker.documents import put_aside
from tallystick_node.contexts.worker.limits import BATCH_REQUESTS
from tallystick_node.contexts.worker.process import Handler, OpenHandler, open_up
from tallystick_node.storage.errors import DatabaseDamaged, DiskFull

SILENT_S: Final = 6.0
"""How long a simulated worker may be silent: a script has no time for the real limit."""
_LOOK_S: Final = 0.05
_PID: Final = 1


class SimWorker:
    """`Running`, in the node's process.

    Args:
        folder: where the documents are.
        open_handler: opens the desk.
        sync_s: how long a sync takes; asked for each.
        is_stuck: whether syncs do not return.
        on_answer: hears the answers.
    """

    def __init__(
        self,
        folder: Path,
        open_handler: OpenHandler,
        *,
        sync_s: Callable[[], float],
        is_stuck: Callable[[], bool],
        on_answer: Callable[[Response], None],
    ) -> None:
        self._folder = folder
        self._open_handler = open_handler
        self._sync_s = sync_s
        self._is_stuck = is_stuck
        self._on_answer = on_answer
        self._sent: deque[Request] = deque()
        self._has_come = asyncio.Event()
        self._handler: Handler | None = None
        self._serving: asyncio.Task[None] | None = None
        self._code: int | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.complaint = ""
        self.stands = False
        """It was stopped by a signal: it does nothing."""

    @property
    def pid(self) -> int:
        """See `Running`."""
        return _PID

    @property
    def is_open(self) -> bool:
        """Whether it has the documents open."""
        return self._handler is not None

    def look(self, question: Request) -> Response:
        """The answer of the desk, from outside and in no time; it must be open."""
        assert self._handler is not None  # noqa: S101 - who asks knows
        (answer,) = self._handler.handle([question])
        return answer

    def held(self) -> frozenset[bytes]:
        """The guids of the documents that are stored."""
        if self._handler is None:
            return frozenset()
        answer = self.look(Request(list_documents=ListDocuments()))
        return frozenset(document.guid for document in answer.documents.ids)

    @property
    def last_words(self) -> str:
        """See `Running`."""
        return ""

    async def start(self, command: Sequence[str]) -> None:
        """See `Running`."""
        del command
        self._serving = asyncio.create_task(self._serve(), name="worker")

    def send(self, message: Message) -> None:
        """See `Running`."""
        if self._code is None:
            request = Request()
            request.CopyFrom(cast("Request", message))  # as over a wire: what its owner does with it later is its own
            self._sent.append(request)
            self._has_come.set()

    async def end(self) -> int:
        """See `Running`."""
        self.kill()
        return self._code or 0

    def kill(self) -> None:
        """See `Running`."""
        self._end(-signal.SIGKILL)

    def cpu_s(self) -> float:
        """See `Running`: it never is busy for long."""
        return 0.0

    # The process.

    async def _serve(self) -> None:
        await self._sync()
        try:
            self._handler, ready = open_up(self._folder, self._open_handler, put_aside)
            self._on_answer(ready)
            if self._handler is not None:
                await self._answer_all()
        except (DatabaseDamaged, DiskFull):
            self._end(1)
        else:
            self._end(0)

    async def _answer_all(self) -> None:
        while True:
            await self._has_come.wait()
            await self._sync()
            batch = [self._sent.popleft() for _ in range(min(BATCH_REQUESTS, len(self._sent)))]
            if not self._sent:
                self._has_come.clear()
            stops = [place for place, request in enumerate(batch) if request.HasField("stop")]
            await self._answer_some(batch[: stops[0]] if stops else batch)
            if stops:
                self._on_answer(Response(id=batch[stops[0]].id, done=Done()))
                return

    async def _answer_some(self, requests: Sequence[Request]) -> None:
        assert self._handler is not None  # noqa: S101 - for the type
        answers = self._handler.handle(requests, self._tell) if requests else []
        await self._sync()  # it is on the disk, and who waits for that does not know yet
        self._tell(answers)

    def _tell(self, answers: Sequence[Response]) -> None:
        for answer in answers:
            self._on_answer(answer)

    async def _sync(self) -> None:
        await asyncio.sleep(self._sync_s())
        while self._is_stuck() or self.stands:  # noqa: ASYNC110 - a disk has no event
            await asyncio.sleep(_LOOK_S)

    def _end(self, code: int) -> None:
        if self._code is not None:
            return
        self._code = code
        handler, self._handler = self._handler, None
        if handler is not None:
            handler.close()
        if self._serving is not None and self._serving is not _current_task():
            self._serving.cancel()
        self.ended.set_result(None)


def _current_task() -> asyncio.Task[object] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # the simulation is over
        return None
