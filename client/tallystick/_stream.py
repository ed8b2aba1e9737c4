"""A pipeline of appends: many unanswered at once, answered in order, whole again after a failover.

Rules of this file:
- Requests stay in `_items` until they are answered; the first `_sent` of them are on the present call. A call that
  breaks is left, and everything unanswered is sent again, in order and with the same keys, so it has one effect.
- An answer that says "no" is one append's affair, and the pipeline goes on. One that says "not now" or "not known"
  breaks the call, for what follows must not overtake it.
- No more than `window` requests and `MAX_WINDOW_BYTES` bytes wait; `append` waits for room.
- Without any answer for `timeout_s` the stream fails as a whole, and so does every append from then on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Generator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import grpc

from tallystick import _convert
from tallystick._backoff import ATTEMPT_S, Failure, Retry
from tallystick._calls import AttemptError, Calls
from tallystick._cancelling import cancellations, raise_if_cancelled
from tallystick._channel import Endpoint
from tallystick._failures import failure_of
from tallystick._values import MAIN, Appended, Mutation, Operation
from tallystick.errors import Corrupt, Invalid, Reason, StaleOwner, TallystickError, Unavailable, Undecided, error_for
from tallystick.leases.fence import Fence
from tallystick.schemas.bringing import Bringer
from tallystick.v1 import common_pb2, state_pb2

if TYPE_CHECKING:
    from grpc.aio import StreamStreamCall

    Call = StreamStreamCall[state_pb2.AppendRequest, state_pb2.AppendStreamResponse]

DEFAULT_WINDOW: Final = 256
MAX_WINDOW: Final = 4096
MAX_WINDOW_BYTES: Final = 16 * 1024 * 1024


class PendingAppend:
    """An append that was handed in; `result` waits for its answer."""

    def __init__(self, future: asyncio.Future[Appended]) -> None:
        self._future = future
        self._asked = False

    def __await__(self) -> Generator[object, None, Appended]:
        return self.result().__await__()

    def done(self) -> bool:
        """It is answered, one way or the other."""
        return self._future.done()

    async def result(self) -> Appended:
        """Waits for the answer.

        Raises:
            Refused: this append was refused; those after it are not affected.
            Unavailable: the stream failed and this append did nothing.
            Undecided: the stream failed and this append may have been applied.
        """
        self._asked = True
        return await asyncio.shield(self._future)  # a caller that is cancelled gives up the answer, not the append


class _Item:
    """A request on its way, and who waits for its answer."""

    __slots__ = ("future", "pending", "request", "size_bytes", "was_sent")

    def __init__(self, request: state_pb2.AppendRequest) -> None:
        self.request = request
        self.size_bytes = request.ByteSize()
        self.future: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        self.pending = PendingAppend(self.future)
        self.was_sent = False


class AppendStream:
    """A pipeline of appends to one agent's log. Made by `Agent.stream`; used as `async with`.

    Leaving the block waits for every answer, and raises the first failure that nobody asked for.
    """

    def __init__(
        self, calls: Calls, ref: common_pb2.AgentRef, fence: Fence, *, actor: str, window: int, timeout_s: float | None
    ) -> None:
        if not 1 <= window <= MAX_WINDOW:
            raise Invalid(f"a window is between 1 and {MAX_WINDOW}", metadata={"field": "window"})
        self._calls, self._ref, self._fence, self._actor = calls, ref, fence, actor
        self._window, self._timeout_s = window, timeout_s
        self._items: deque[_Item] = deque()
        self._size_bytes = 0
        self._sent = 0
        self._refused: PendingAppend | None = None  # the first failure since the last flush
        self._error: TallystickError | None = None
        self._runner: asyncio.Task[None] | None = None
        self._retry: Retry | None = None
        self._is_ready = False  # the state has the version that this program writes
        self._more = asyncio.Event()  # something to send
        self._unanswered = asyncio.Event()  # something was sent
        self._fewer = asyncio.Event()  # something was answered

    async def __aenter__(self) -> Self:
        self._calls.check_open()
        if self._runner is not None:
            raise RuntimeError("a stream is used once")
        self._runner = asyncio.create_task(self._run())
        self._runner.add_done_callback(self._ended)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                await self.flush()
        finally:
            await self.close()

    async def append(
        self,
        *operations: Operation,
        cause: str = "",
        trace_id: str = "",
        schema_version: int = 0,
        expected_seq: int | None = None,
        idempotency_key: str | None = None,
    ) -> PendingAppend:
        """Hands in one mutation, once there is room in the window; `result` of what it returns is the answer.

        Raises:
            StaleOwner: the lease under which it goes was lost.
            Unavailable: the stream has failed or is closed; nothing was handed in.
        """
        mutation = Mutation.of(*operations, cause=cause, trace_id=trace_id, schema_version=schema_version)
        return await self.append_mutation(mutation, expected_seq=expected_seq, idempotency_key=idempotency_key)

    async def append_mutation(
        self, mutation: Mutation, *, expected_seq: int | None = None, idempotency_key: str | None = None
    ) -> PendingAppend:
        """Hands in a mutation, as `append` does; `Mutation.event` makes one of a custom event."""
        return await self.append_many((mutation,), expected_seq=expected_seq, idempotency_key=idempotency_key)

    async def append_many(
        self, mutations: Sequence[Mutation], *, expected_seq: int | None = None, idempotency_key: str | None = None
    ) -> PendingAppend:
        """Hands in several mutations as one append, all or none, next to each other in the log.

        It is one request with one answer and takes one place in the window: for small mutations the fastest way in.

        Raises:
            Unavailable: the stream has failed or is closed; nothing was handed in.
            Conflict: `STATE_VERSION`, the state has a newer version than this program knows.
        """
        chain = self._calls.versions.to_check(self._ref.agent, mutations)
        if chain is not None and not self._is_ready:
            bringer = Bringer(self._calls, self._ref, actor=self._actor, epoch=self._fence.epoch)
            expected_seq = await bringer.ready(
                chain, expected_seq, self._timeout_s, may_be_decided=idempotency_key is not None
            )
            self._is_ready = True
        mutations = self._calls.versions.stamped(self._ref.agent, mutations)
        request = state_pb2.AppendRequest(
            agent=self._ref,
            mutations=map(_convert.mutation_message, mutations),
            idempotency_key=idempotency_key or self._calls.outside.new_key(),
            expected_seq=expected_seq,
            epoch=self._fence.epoch,
            actor=self._actor,
        )
        item = _Item(request)
        self._check_usable()
        while self._items and (
            len(self._items) >= self._window or self._size_bytes + item.size_bytes > MAX_WINDOW_BYTES
        ):
            self._fewer.clear()
            await self._fewer.wait()
            self._check_usable()
        # In the order of the log: what an earlier one carries, a later one need not.
        observing, log = self._calls.observing, (self._ref.agent, self._ref.branch or MAIN)
        observing.acknowledged(*log, observing.carry(*log, request.mutations))
        self._items.append(item)
        self._size_bytes += item.size_bytes
        self._more.set()
        return item.pending

    async def flush(self) -> None:
        """Waits until everything handed in so far is answered.

        Raises:
            TallystickError: the first failure since the last flush, unless its `result` was asked for.
        """
        if self._items:
            last = self._items[-1].future
            await asyncio.wait((last,))
        refused, self._refused = self._refused, None
        if refused is not None and not refused._asked:  # noqa: SLF001 - the same file
            await refused.result()

    async def close(self) -> None:
        """Ends the stream at once; what is unanswered fails as `Undecided`, or `Unavailable` if it never was sent."""
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.wait((self._runner,))
        self._fail(Unavailable("the stream is closed", reason=Reason.STOPPING))

    def _check_usable(self) -> None:
        if self._error is not None:
            raise Unavailable(f"the stream has ended: {self._error.message}", reason=Reason.STOPPING) from self._error
        if self._runner is None:
            raise RuntimeError("a stream is used as `async with`")

    async def _run(self) -> None:
        """One call after another, until the deadline passes without an answer."""
        while True:
            if not self._items:
                self._more.clear()
                await self._more.wait()
            self._calls.check_open()
            endpoint = self._calls.endpoints.for_leader(self._calls.outside.clock())
            try:
                await self._one_call(endpoint)
            except AttemptError as attempt:
                self._calls.failed(endpoint, attempt.failure)
                if self._retry is None:  # the first failure, or the first since an answer came
                    self._retry = self._calls.retry(self._timeout_s)
                await asyncio.sleep(self._retry.after(attempt.failure, self._calls.outside.clock()))

    async def _one_call(self, endpoint: Endpoint) -> None:
        """Sends and reads until something fails.

        Raises:
            AttemptError: always, for a call has no other end.
        """
        await self._calls.ready(endpoint, ATTEMPT_S)
        call: Call = endpoint.state.AppendStream(None)
        self._sent = 0
        self._unanswered.clear()
        writer = asyncio.create_task(self._write(call))
        try:
            while True:
                await self._unanswered.wait()
                self._answered(await self._read(call, endpoint), endpoint)
        finally:
            writer.cancel()
            call.cancel()
            await asyncio.wait((writer,))

    async def _write(self, call: Call) -> None:
        try:
            while True:
                while self._sent < len(self._items):
                    item = self._items[self._sent]
                    item.was_sent = True
                    self._sent += 1
                    self._unanswered.set()
                    await call.write(item.request)
                self._more.clear()
                await self._more.wait()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            self._unanswered.set()  # the call is over: the reader learns why

    async def _read(self, call: Call, endpoint: Endpoint) -> state_pb2.AppendStreamResponse:
        before = cancellations()
        try:
            async with asyncio.timeout(ATTEMPT_S):
                response = await call.read()
        except TimeoutError:
            text = f"{endpoint.address} did not answer within {ATTEMPT_S} s"
            raise AttemptError(Failure(Undecided(text), maybe_applied=True)) from None
        except grpc.aio.AioRpcError as rpc:
            raise_if_cancelled(before)
            raise AttemptError(failure_of(rpc, writes=True, endpoint=endpoint.address)) from rpc
        except asyncio.CancelledError:
            self._calls.check_cut(writes=True)
            raise
        if not isinstance(response, state_pb2.AppendStreamResponse):
            raise AttemptError(Failure(Undecided(f"{endpoint.address} ended the stream"), maybe_applied=True))
        return response

    def _answered(self, response: state_pb2.AppendStreamResponse, endpoint: Endpoint) -> None:
        """Takes the answer to the oldest unanswered request."""
        if not self._sent:
            raise AttemptError(Failure(Corrupt(f"{endpoint.address} answered what was not asked")))
        if response.WhichOneof("result") == "response":
            answer = response.response
            self._calls.answered(endpoint, answer.header)
            self._calls.session.saw(answer.revision)
            log = (self._ref.agent, self._ref.branch or MAIN)
            self._calls.observing.wrote(*log, answer.first_seq, answer.last_seq, answer.hash)
            self._take().future.set_result(_convert.appended(answer))
            return
        error = error_for(response.error.reason, response.error.message, response.error.metadata)
        failure = Failure(error, maybe_applied=isinstance(error, Undecided | Corrupt))
        if not failure.is_final:
            raise AttemptError(failure)
        self._reject(self._take(), error)

    def _take(self) -> _Item:
        item = self._items.popleft()
        self._size_bytes -= item.size_bytes
        self._sent -= 1
        if not self._sent:
            self._unanswered.clear()
        self._retry = None  # progress
        self._fewer.set()
        return item

    def _reject(self, item: _Item, error: TallystickError) -> None:
        self._calls.observing.lost(self._ref.agent, self._ref.branch or MAIN)
        self._calls.versions.doubt((self._ref.agent, self._ref.branch or MAIN))
        self._is_ready = False
        if isinstance(error, StaleOwner):
            self._fence.refused(item.request.epoch)
        item.future.set_exception(error)
        item.future.exception()  # seen: `flush` raises it if nobody asks
        if self._refused is None:
            self._refused = item.pending

    def _fail(self, error: TallystickError) -> None:
        """The end: everything unanswered fails."""
        self._error = self._error or error
        while self._items:
            item = self._items.popleft()
            metadata = {**error.metadata, "idempotency_key": item.request.idempotency_key}
            if item.was_sent:
                self._reject(item, Undecided(f"the stream ended before the answer: {error.message}", metadata=metadata))
            else:
                self._reject(item, Unavailable(error.message, metadata=metadata))
        self._size_bytes = self._sent = 0
        self._fewer.set()

    def _ended(self, runner: asyncio.Task[None]) -> None:
        if runner.cancelled():
            return
        error = runner.exception()
        if isinstance(error, TallystickError):
            self._fail(error)
        elif error is not None:
            self._fail(TallystickError(f"a bug in the client: {error!r}", reason=Reason.INTERNAL))
