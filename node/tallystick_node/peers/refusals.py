"""How a refusal travels: a status, a sentence, and an `ErrorInfo` that programs match on.

Rules of this file:
- Each `Refusal` has one row. `ErrorInfo.metadata["refusal"]` is its code.
- After SUPERSEDED, OVERLOADED, BEHIND, STALLED and STOPPING the same may be asked again; the others come back unchanged
  until somebody changes a setting or the members.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn, TypeVar, cast

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from tallystick.errors import ERROR_DOMAIN, Reason
from tallystick_node.peers.counters import Refusal

QuestionT = TypeVar("QuestionT")
AnswerT = TypeVar("AnswerT")
DETAILS_KEY: Final = "grpc-status-details-bin"

_REFUSED: Final = (grpc.StatusCode.FAILED_PRECONDITION, Reason.INVALID_REQUEST)
_DENIED: Final = (grpc.StatusCode.PERMISSION_DENIED, Reason.DENIED)
_BAD: Final = (grpc.StatusCode.INVALID_ARGUMENT, Reason.INVALID_REQUEST)

_ROWS: Final[Mapping[Refusal, tuple[grpc.StatusCode, Reason]]] = {
    Refusal.BAD_METADATA: _BAD,
    Refusal.OTHER_CLUSTER: _REFUSED,
    Refusal.OTHER_VERSION: _REFUSED,
    Refusal.OWN_NODE_ID: _REFUSED,
    Refusal.UNKNOWN_NODE: _DENIED,
    Refusal.REMOVED: _DENIED,
    Refusal.WRONG_CERTIFICATE: _DENIED,
    Refusal.OLD_INCARNATION: _REFUSED,
    Refusal.OTHER_DATA_FOLDER: _REFUSED,
    Refusal.SUPERSEDED: (grpc.StatusCode.ABORTED, Reason.UNREACHABLE),
    Refusal.FRAME_TOO_LARGE: (grpc.StatusCode.INVALID_ARGUMENT, Reason.TOO_LARGE),
    Refusal.BAD_FRAME: _BAD,
    Refusal.OVERLOADED: (grpc.StatusCode.RESOURCE_EXHAUSTED, Reason.OVERLOADED),
    Refusal.BEHIND: (grpc.StatusCode.UNAVAILABLE, Reason.BEHIND),
    Refusal.STALLED: (grpc.StatusCode.ABORTED, Reason.UNREACHABLE),
    Refusal.STOPPING: (grpc.StatusCode.UNAVAILABLE, Reason.STOPPING),
}


@dataclass(frozen=True, slots=True)
class Refused:
    """A stream is not wanted, or no longer. The sentence is for people."""

    refusal: Refusal
    sentence: str

    @property
    def code(self) -> grpc.StatusCode:
        """The status of the call."""
        return _ROWS[self.refusal][0]

    @property
    def trailers(self) -> tuple[tuple[str, bytes], ...]:
        """The trailing metadata that carry the `ErrorInfo`."""
        code_number: int = self.code.value[0]
        info = ErrorInfo(reason=_ROWS[self.refusal][1], domain=ERROR_DOMAIN, metadata={"refusal": self.refusal})
        detail = AnyMessage()
        detail.Pack(info)
        status = Status(code=code_number, message=self.sentence, details=[detail])
        return ((DETAILS_KEY, status.SerializeToString()),)

    async def abort(self, context: grpc.aio.ServicerContext[QuestionT, AnswerT]) -> NoReturn:
        """Ends the call with it."""
        await context.abort(self.code, self.sentence, self.trailers)


def stopping() -> Refused:
    """What a node says that is about to end."""
    return Refused(Refusal.STOPPING, "This node is stopping.")


def refusal_of(error: grpc.aio.AioRpcError) -> Refusal | None:
    """Why a node of ours refused; None if another reason ended the call, or one that this version does not know."""
    # gRPC's metadata are pairs; its stubs call them something else.
    trailers = cast("Sequence[tuple[str, str | bytes]]", error.trailing_metadata() or ())
    for key, value in trailers:
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                details = Status.FromString(value).details
                info = ErrorInfo()
                if details and details[0].Unpack(info) and info.domain == ERROR_DOMAIN:
                    return Refusal(info.metadata["refusal"])
            except (DecodeError, ValueError):
                return None
    return None


def describe(error: grpc.aio.AioRpcError) -> str:
    """How a call failed, as a sentence for logs."""
    return f"{error.code().name}: {error.details()}"
