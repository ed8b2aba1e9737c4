"""What a failed gRPC call means: its status to a `Failure`.

Rules of this file:
- A status of ours carries a google.rpc.ErrorInfo with a reason; the table in `tallystick.errors` gives the class. The
  text of such a one is never looked at.
- A status without one comes from gRPC itself. The request had been sent, for calls leave only over connected
  channels: of a write it is then not known whether it was applied.
"""

from __future__ import annotations

from typing import Final, Protocol

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from tallystick._backoff import Failure
from tallystick.errors import (
    ERROR_DOMAIN,
    Corrupt,
    Denied,
    Invalid,
    Overloaded,
    Reason,
    TallystickError,
    Unavailable,
    Undecided,
    error_for,
)

_DETAILS: Final = "grpc-status-details-bin"
_MAX_RETRY_AFTER_S: Final = 60.0
_ABOVE_A_SIZE: Final = "message larger than max"
"""In the text of gRPC's RESOURCE_EXHAUSTED where the message, not the server, is at fault."""

_TRANSPORT: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.INTERNAL,
    }
)


class RpcFailure(Protocol):
    """What is read of grpc.aio.AioRpcError."""

    def code(self) -> grpc.StatusCode:
        """The status."""

    def details(self) -> str | None:
        """The text."""

    def trailing_metadata(self) -> object:
        """Pairs of a name and a value."""


def failure_of(rpc: RpcFailure, *, writes: bool, endpoint: str) -> Failure:
    """What the failed call means; `writes`: had it been applied, something would have changed."""
    status = _status(rpc)
    if status is not None:
        retry_after_s = 0.0
        ours: TallystickError | None = None
        for detail in status.details:
            if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
                info = error_details_pb2.ErrorInfo()
                detail.Unpack(info)
                if info.domain == ERROR_DOMAIN:
                    ours = error_for(info.reason, status.message, info.metadata)
            elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
                retry = error_details_pb2.RetryInfo()
                detail.Unpack(retry)
                delay_s = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
                retry_after_s = min(max(delay_s, 0.0), _MAX_RETRY_AFTER_S)
        if ours is not None:
            return Failure(ours, writes and isinstance(ours, Undecided | Corrupt), retry_after_s)
    return _without_details(rpc.code(), f"{endpoint}: {rpc.details() or 'no details'}", writes=writes)


def _without_details(code: grpc.StatusCode, text: str, *, writes: bool) -> Failure:
    metadata = {"grpc_status": code.name}
    if code in _TRANSPORT:
        error: TallystickError = (Undecided if writes else Unavailable)(text, metadata=metadata)
        return Failure(error, maybe_applied=writes)
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and _ABOVE_A_SIZE in text:
        return Failure(Invalid(text, reason=Reason.TOO_LARGE, metadata=metadata))
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:  # more calls at once than the server takes: it saw nothing of this
        return Failure(Overloaded(text, metadata=metadata))
    if code is grpc.StatusCode.PERMISSION_DENIED:
        return Failure(Denied(text, metadata=metadata))
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return Failure(Denied(text, reason=Reason.UNAUTHENTICATED, metadata=metadata))
    if code is grpc.StatusCode.DATA_LOSS:
        return Failure(Corrupt(text, metadata=metadata), maybe_applied=writes)
    if code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE):
        return Failure(Invalid(text, metadata=metadata))
    return Failure(TallystickError(text, metadata=metadata))


def _status(rpc: RpcFailure) -> status_pb2.Status | None:
    """The details of the status; None when there are none, or when they are not what they claim."""
    pairs = rpc.trailing_metadata()
    if not isinstance(pairs, grpc.aio.Metadata):
        return None
    for name, value in pairs:
        if name == _DETAILS and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                return None
    return None
