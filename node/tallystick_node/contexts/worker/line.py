"""What is asked of a worker and not answered: bounded, in order, and one at a time where care is called for.

Rules of this file:
- Requests are sent in the order in which they came. One that is to be sent alone waits until nothing is under way, and
  those behind it wait for its answer.
- What nobody waits for any more is under way all the same, until it is answered.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tallystick.errors import Overloaded, TallystickError
from tallystick.worker.v1.worker_pb2 import Request, Response
from tallystick_node.contexts.limits import WORKER_BYTES, WORKER_REQUESTS
from tallystick_node.contexts.port import OnEarly
from tallystick_node.contexts.worker.limits import BATCH_REQUESTS
from tallystick_node.contexts.worker.suspects import Care, Conviction, Kind, Suspects

FIRST_ID: Final = 1


class NotAsked(Exception):
    """An answer to nothing."""


@dataclass(slots=True)
class _Job:
    request: Request
    size_bytes: int
    answer: asyncio.Future[Response] | None
    """None: a question of our own."""
    on_early: OnEarly | None = None

    def fail(self, error: TallystickError) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_exception(error)


class Line:
    """See the module.

    Args:
        suspects: who is to be sent with care, and who not at all.
        send: writes a request to the worker.
    """

    def __init__(self, suspects: Suspects, send: Callable[[Request], None]) -> None:
        self._suspects = suspects
        self._send = send
        self._waiting: deque[_Job] = deque()
        self._under_way: OrderedDict[int, _Job] = OrderedDict()
        self._alone: int | None = None
        self._next_id = FIRST_ID
        self._size_bytes = 0
        self.answered = 0
        """Counts answers: whether it rises says whether the worker lives."""

    @property
    def requests(self) -> int:
        """How many are waiting or under way."""
        return len(self._waiting) + len(self._under_way)

    @property
    def size_bytes(self) -> int:
        """What they hold together."""
        return self._size_bytes

    @property
    def is_under_way(self) -> bool:
        """Whether the worker owes an answer."""
        return bool(self._under_way)

    def ask(self, request: Request, on_early: OnEarly | None = None) -> asyncio.Future[Response]:
        """Takes a request; the future has its answer.

        Args:
            on_early: see `Port.ask`.

        Raises:
            Overloaded: too much is waiting.
        """
        size_bytes = request.ByteSize()
        if self.requests >= WORKER_REQUESTS or (
            self._size_bytes + size_bytes > WORKER_BYTES and self._size_bytes  # one alone may always be asked
        ):
            raise Overloaded("too many requests are under way at the worker")
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Job(request, size_bytes, answer, on_early))
        self._size_bytes += size_bytes
        self._go_on()
        return answer

    def tell_early(self, response: Response) -> None:
        """The worker says what an answer will be. It is told in its turn, as answers are: a step of the loop later.

        Raises:
            NotAsked: nobody waits for it.
        """
        job = self._under_way.get(response.id)
        if job is None:
            raise NotAsked(f"an early answer to {response.id}")
        if job.on_early is not None:
            asyncio.get_running_loop().call_soon(job.on_early, response)

    def answer(self, response: Response) -> None:
        """The worker answered.

        Raises:
            NotAsked: nobody waits for it.
        """
        job = self._under_way.pop(response.id, None)
        if job is None:
            raise NotAsked(f"an answer to {response.id}")
        self.answered += 1
        self._size_bytes -= job.size_bytes
        is_probe = job.answer is None
        self._suspects.went_well(job.request, is_probe=is_probe)
        if self._alone == response.id:
            self._alone = None
        if job.answer is not None:
            if not job.answer.done():
                job.answer.set_result(response)
        elif response.data.handle:
            self._drop_part(response.data.handle)
        self._go_on()

    def worker_died(self, error: TallystickError, *, is_own_doing: bool) -> Conviction | None:
        """All that waits gets this error; who was convicted of the death, if anyone, is told so."""
        first = list(self._under_way.values())[:BATCH_REQUESTS]
        conviction = None
        if first:
            conviction = self._suspects.died(
                [job.request for job in first],
                was_alone=self._alone is not None,
                is_probe=first[0].answer is None,
                is_own_doing=is_own_doing,
            )
        else:
            self._suspects.staged.clear()
        if conviction is not None and conviction.kind is not Kind.DOCUMENT:
            first[0].fail(self._suspects.refusal(first[0].request) or error)
        self.fail(error)
        return conviction

    def fail(self, error: TallystickError) -> None:
        """All that waits gets this error."""
        jobs = [*self._under_way.values(), *self._waiting]
        self._under_way.clear()
        self._waiting.clear()
        self._alone = None
        self._size_bytes = 0
        for job in jobs:
            job.fail(error)

    def _go_on(self) -> None:
        """Sends what can be sent."""
        while self._waiting and self._alone is None:
            job = self._waiting[0]
            refusal = self._suspects.refusal(job.request)
            if refusal is not None:
                self._waiting.popleft()
                self._size_bytes -= job.size_bytes
                job.fail(refusal)
                continue
            care = self._suspects.care(job.request)
            if care is not Care.NONE and self._under_way:
                return
            if care is Care.PROBE_FIRST:
                self._alone = self._start(_Job(self._suspects.probe_of(job.request), 0, None))
                return
            self._waiting.popleft()
            number = self._start(job)
            if care is Care.ALONE:
                self._alone = number

    def _start(self, job: _Job) -> int:
        number = self._next_id
        self._next_id += 1
        job.request.id = number
        self._under_way[number] = job
        self._suspects.sent(job.request)
        self._send(job.request)
        return number

    def _drop_part(self, handle: int) -> None:
        request = Request()
        request.part.handle = handle
        request.part.drop = True
        self._waiting.appendleft(_Job(request, 0, None))
