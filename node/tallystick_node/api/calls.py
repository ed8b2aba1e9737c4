"""What every call has in common: errors to statuses, time left, who calls.

Rules of this file:
- An error of ours travels as its row of the table says, with `google.rpc.ErrorInfo`; anything else is a bug, is logged
  with its traceback and travels as INTERNAL without detail.
- CancelledError is always raised again.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, NoReturn, TypeAlias, TypeVar

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from tallystick.errors import ERROR_DOMAIN, REASONS, Overloaded, TallystickError

log = logging.getLogger(__name__)

MAX_TIMEOUT_S: Final = 30.0
"""A call waits no longer, whatever its deadline."""

ANSWER_BEFORE: Final = 0.9
"""The part of a caller's time that is used: the answer should arrive before the deadline does."""

_RETRY_AFTER_MS: Final = 100
_CLIENT_SUFFIX: Final = ".client.tallystick"
_STATUS_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
"""gRPC's context, whatever the messages."""

Self = TypeVar("Self")
Request = TypeVar("Request")
Response = TypeVar("Response")


def timeout_s(context: Context) -> float:
    """How long this call may wait, in seconds."""
    remaining = context.time_remaining()
    return MAX_TIMEOUT_S if remaining is None else max(0.0, min(remaining * ANSWER_BEFORE, MAX_TIMEOUT_S))


def actor(context: Context, claimed: str) -> str:
    """Who calls: the name in the certificate where there is one, else what the request says."""
    for name in context.auth_context().get("x509_subject_alternative_name", ()):
        text = bytes(name).decode("ascii", "replace")
        if text.endswith(_CLIENT_SUFFIX):
            return text.removesuffix(_CLIENT_SUFFIX)
    return claimed


def _any(message: ErrorInfo | RetryInfo) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(message)
    return packed


async def abort(context: Context, error: TallystickError) -> NoReturn:
    """Ends the call with an error of ours."""
    row = REASONS[error.reason]
    details = [_any(ErrorInfo(reason=error.reason, domain=ERROR_DOMAIN, metadata=error.metadata))]
    if isinstance(error, Overloaded):
        details.append(_any(RetryInfo(retry_delay=Duration(nanos=_RETRY_AFTER_MS * 1_000_000))))
    status = Status(code=int(row.status), message=error.message, details=details)
    trailers = (("grpc-status-details-bin", status.SerializeToString()),)
    await context.abort(_STATUS_CODES[int(row.status)], error.message, trailers)
    raise AssertionError("abort raises")


async def abort_for_bug(context: Context) -> NoReturn:
    """Ends the call after something that must not happen; the traceback is in the node's log."""
    log.exception("a call failed", extra={"event": "call_failed"})
    await abort(context, TallystickError("internal error; the node's log has the details"))


def unary(
    method: Callable[[Self, Request, Context], Awaitable[Response]],
) -> Callable[[Self, Request, Context], Awaitable[Response]]:
    """A method that answers once: its errors become statuses."""

    @functools.wraps(method)
    async def answering(self: Self, request: Request, context: Context) -> Response:
        try:
            return await method(self, request, context)
        except TallystickError as error:
            await abort(context, error)
        except Exception:  # noqa: BLE001 - the border: nothing may pass it as it is
            await abort_for_bug(context)

    return answering


def streaming(
    method: Callable[[Self, Request, Context], AsyncIterator[Response]],
) -> Callable[[Self, Request, Context], AsyncIterator[Response]]:
    """A method that answers many times: its errors become statuses."""

    @functools.wraps(method)
    async def answering(self: Self, request: Request, context: Context) -> AsyncIterator[Response]:
        try:
            async for response in method(self, request, context):
                yield response
        except TallystickError as error:
            await abort(context, error)
        except Exception:  # noqa: BLE001 - as above
            await abort_for_bug(context)

    return answering
