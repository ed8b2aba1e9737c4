"""A call that survives its nodes: choose, send, learn, wait, try again until the deadline.

The policy is in `_backoff`, the choice in `_endpoints`, the meaning of failures in `_failures`; here is the I/O.

Rules of this file:
- A call that is left is cancelled, whatever the reason; `CancelledError` of the caller always goes up.
- No task is made for a call, no message is copied.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

import grpc

from tallystick._backoff import Failure, Retry
from tallystick._cancelling import cancellations, raise_if_cancelled
from tallystick._channel import Endpoint
from tallystick._endpoints import Endpoints
from tallystick._failures import failure_of
from tallystick._outside import Outside
from tallystick._session import Session
from tallystick._values import Consistency
from tallystick.causality.observing import Observing
from tallystick.errors import Invalid, NoLeader, Overloaded, Reason, Unavailable
from tallystick.schemas.versions import Versions
from tallystick.v1 import common_pb2

if TYPE_CHECKING:
    from grpc.aio import UnaryUnaryMultiCallable

CONNECT_S: Final = 1.0
"""Longest that one attempt waits for its channel."""


class Answer(Protocol):
    """Every unary answer has a header."""

    @property
    def header(self) -> common_pb2.ResponseHeader:
        """Who answered, at which revision, and who leads."""


RequestT = TypeVar("RequestT")
AnswerT = TypeVar("AnswerT", bound=Answer)
Method = Callable[[Endpoint], "UnaryUnaryMultiCallable[RequestT, AnswerT]"]


class AttemptError(Exception):
    """One attempt failed. It never leaves the client: it carries the failure to the retry loop."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.error)
        self.failure = failure


class Calls:
    """The calls of one client, over its endpoints."""

    def __init__(
        self, endpoints: Endpoints, *, timeout_s: float, outside: Outside, versions: Versions, observe: bool = True
    ) -> None:
        self.endpoints = endpoints
        self.session = Session()
        self.observing = Observing(is_on=observe)
        self.versions = versions
        self.outside = outside
        self.closed = False
        self._timeout_s = _positive(timeout_s)

    @property
    def timeout_s(self) -> float:
        """The limit of a call that says nothing else."""
        return self._timeout_s

    async def write(
        self, method: Method[RequestT, AnswerT], request: RequestT, *, key: str, timeout_s: float | None
    ) -> AnswerT:
        """Sends a write until it is decided; the caller keeps the revision.

        Raises:
            Refused: decided: no.
            Unavailable: no attempt did anything.
            Undecided: an attempt may have been applied.
        """
        return await self._unary(method, request, self.retry(timeout_s, key), to_leader=True, writes=True)

    async def change(self, method: Method[RequestT, AnswerT], request: RequestT, retry: Retry) -> AnswerT:
        """Sends what has no key until it is decided; `retry` says afterwards whether an attempt may have been applied.

        Raises: as `write`; a refusal may be due to an earlier attempt of this call that was applied.
        """
        return await self._unary(method, request, retry, to_leader=True, writes=True)

    async def ask_leader(self, method: Method[RequestT, AnswerT], request: RequestT, retry: Retry) -> AnswerT:
        """Sends a question to the leader if one is known, else to any node, until it is answered.

        Raises:
            Unavailable: no node answered.
        """
        return await self._unary(method, request, retry, to_leader=True, writes=False)

    async def read(
        self,
        method: Method[RequestT, AnswerT],
        request: RequestT,
        *,
        consistency: Consistency,
        timeout_s: float | None,
    ) -> AnswerT:
        """Sends a read until it is answered, and keeps the revision that was seen.

        Raises:
            Refused: decided: no.
            Unavailable: no node answered.
        """
        to_leader = consistency is Consistency.LINEARIZABLE
        answer = await self._unary(method, request, self.retry(timeout_s), to_leader=to_leader, writes=False)
        self.session.saw(answer.header.revision)
        return answer

    def retry(self, timeout_s: float | None, key: str = "") -> Retry:
        """The attempts of a call that begins now."""
        limit_s = self._timeout_s if timeout_s is None else _positive(timeout_s)
        return Retry(self.outside.clock() + limit_s, self.outside.rng, key)

    async def ready(self, endpoint: Endpoint, timeout_s: float) -> None:
        """Waits until a call may leave to the endpoint.

        Raises:
            AttemptError: it cannot, or the client is closed.
        """
        if endpoint.is_connected() and not self.closed:
            return
        connected = not self.closed and await endpoint.connect(min(CONNECT_S, timeout_s))
        if self.closed:
            raise AttemptError(Failure(_closed()))
        if not connected:
            text = f"{endpoint.address} cannot be reached (refused, no answer, or TLS does not match)"
            raise AttemptError(Failure(Unavailable(text, metadata={"endpoint": endpoint.address})))

    def check_open(self) -> None:
        """Refuses a closed client.

        Raises:
            Unavailable: it is closed.
        """
        if self.closed:
            raise _closed()

    def failed(self, endpoint: Endpoint, failure: Failure) -> None:
        """Learns from a failure which endpoint to ask next."""
        error = failure.error
        if failure.is_final:
            endpoint.succeeded()
            return
        if not isinstance(error, Overloaded) or error.reason is Reason.DISK_FULL:  # else busy, and so its neighbours
            endpoint.failed(self.outside.clock())
            self.endpoints.forget_leader(endpoint)
        hint = error.metadata.get("leader_endpoint", "") if isinstance(error, NoLeader) else ""
        self.endpoints.learn_leader(hint)

    def answered(self, endpoint: Endpoint, header: common_pb2.ResponseHeader) -> None:
        """Learns from an answer."""
        endpoint.succeeded()
        self.endpoints.learn_leader(header.leader_endpoint)

    def check_cut(self, *, writes: bool) -> None:
        """Tells a `CancelledError` that is no cancellation of the caller: the client was closed under the call.

        Raises:
            AttemptError: it is that.
        """
        task = asyncio.current_task()
        if self.closed and (task is None or not task.cancelling()):
            raise AttemptError(Failure(_closed(), maybe_applied=writes)) from None

    async def _unary(
        self,
        method: Method[RequestT, AnswerT],
        request: RequestT,
        retry: Retry,
        *,
        to_leader: bool,
        writes: bool,
    ) -> AnswerT:
        endpoints = self.endpoints
        while True:
            if self.closed:
                raise retry.final(_closed())
            now_s = self.outside.clock()
            endpoint = endpoints.for_leader(now_s) if to_leader else endpoints.for_any(now_s)
            try:
                answer = await self.once(endpoint, method, request, timeout_s=retry.attempt_s(now_s), writes=writes)
            except AttemptError as attempt:
                self.failed(endpoint, attempt.failure)
                pause_s = retry.after(attempt.failure, self.outside.clock())
            else:
                self.answered(endpoint, answer.header)
                return answer
            await asyncio.sleep(pause_s)

    async def once(
        self,
        endpoint: Endpoint,
        method: Method[RequestT, AnswerT],
        request: RequestT,
        *,
        timeout_s: float,
        writes: bool,
    ) -> AnswerT:
        """One attempt at one endpoint.

        Raises:
            AttemptError: it failed.
        """
        ends_s = self.outside.clock() + timeout_s
        await self.ready(endpoint, timeout_s)
        before = cancellations()
        call = method(endpoint)(request, timeout=max(0.001, ends_s - self.outside.clock()))
        try:
            return await call
        except grpc.aio.AioRpcError as rpc:
            raise_if_cancelled(before)
            raise AttemptError(failure_of(rpc, writes=writes, endpoint=endpoint.address)) from rpc
        except asyncio.CancelledError:
            call.cancel()
            self.check_cut(writes=writes)
            raise


def _closed() -> Unavailable:
    return Unavailable("the client is closed", reason=Reason.STOPPING)


def _positive(timeout_s: float) -> float:
    if not timeout_s > 0:
        raise Invalid("a timeout is above 0 seconds", metadata={"field": "timeout_s"})
    return timeout_s
