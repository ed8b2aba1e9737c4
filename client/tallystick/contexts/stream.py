"""One Sync stream to one node: messages out, messages in, and what its end means."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import grpc

from tallystick._backoff import ATTEMPT_S, Failure
from tallystick._calls import AttemptError, Calls
from tallystick._cancelling import cancellations, raise_if_cancelled
from tallystick._channel import Endpoint
from tallystick._failures import failure_of
from tallystick.errors import Unavailable
from tallystick.v1 import context_pb2

if TYPE_CHECKING:
    from grpc.aio import StreamStreamCall

    Call = StreamStreamCall[context_pb2.SyncRequest, context_pb2.SyncResponse]

OPEN_S: Final = 5.0
"""How long a node may take for the first answer; with a cursor to catch up with, it may take longer."""


class Stream:
    """A stream of the Sync call; used as `async with`, which cancels it at the end."""

    def __init__(self, calls: Calls, endpoint: Endpoint) -> None:
        self._calls, self.endpoint = calls, endpoint
        self._call: Call | None = None
        self._broken = ""

    async def __aenter__(self) -> Self:
        await self._calls.ready(self.endpoint, ATTEMPT_S)
        self._call = self.endpoint.contexts.Sync(None)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._call is not None:
            self._call.cancel()

    async def send(self, request: context_pb2.SyncRequest) -> None:
        """Sends one message, once there is room. If the stream has ended, `read` says why."""
        before = cancellations()
        try:
            await self._opened().write(request)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            raise_if_cancelled(before)
        except asyncio.CancelledError:
            self._calls.check_cut(writes=False)
            raise

    async def read(self, timeout_s: float | None = None) -> context_pb2.SyncResponse:
        """The next message.

        Raises:
            AttemptError: the stream has ended, or there was none within this time.
        """
        before = cancellations()
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._opened().read()
        except TimeoutError:
            raise self.failure(f"{self.endpoint.address} did not answer within {timeout_s} s") from None
        except grpc.aio.AioRpcError as rpc:
            raise_if_cancelled(before)
            raise AttemptError(failure_of(rpc, writes=False, endpoint=self.endpoint.address)) from rpc
        except asyncio.CancelledError:
            self._calls.check_cut(writes=False)
            task = asyncio.current_task()
            if self._broken and (task is None or not task.cancelling()):
                raise self.failure(self._broken) from None
            raise
        if not isinstance(response, context_pb2.SyncResponse):
            raise self.failure(f"{self.endpoint.address} ended the stream")
        return response

    def break_off(self, reason: str) -> None:
        """Ends the stream: `read` fails, for this reason."""
        self._broken = reason
        self._opened().cancel()

    def failure(self, text: str) -> AttemptError:
        """The end of the stream, for this reason: another node may be asked."""
        return AttemptError(Failure(Unavailable(text, metadata={"endpoint": self.endpoint.address})))

    def _opened(self) -> Call:
        if self._call is None:
            raise RuntimeError("the stream is not open")
        return self._call
