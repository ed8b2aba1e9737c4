"""What is known of a payload, and of its way: immutable values, no gRPC but in `info_of`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from tallystick import _convert
from tallystick._payload_ref import PayloadRef
from tallystick._times import to_time
from tallystick._values import Revision
from tallystick.v1 import payload_pb2


@dataclass(frozen=True, slots=True)
class PayloadInfo:
    """A payload, as it is kept.

    Attributes:
        chunks: of how many it is.
        references: places of logs that name it; with none it is collected after a time.
        created_unix_ms: when it was put first; `actor` by whom.
        touched_unix_ms: when it was put last, or its last reference went.
    """

    id: str
    size_bytes: int
    chunks: int
    references: int
    created_unix_ms: int
    touched_unix_ms: int
    actor: str
    revision: Revision

    @property
    def ref(self) -> PayloadRef:
        """What names it in a value."""
        return PayloadRef(self.id, self.size_bytes)

    @property
    def created(self) -> datetime:
        """When it was put first, by the clock of the node that took it."""
        return to_time(self.created_unix_ms)

    @property
    def touched(self) -> datetime:
        """When it was put last, or its last reference went."""
        return to_time(self.touched_unix_ms)


@dataclass(frozen=True, slots=True)
class PayloadProgress:
    """How far a payload is on its way.

    Attributes:
        done_bytes: of it are where they go; a download counts what an earlier one left.
        moved_bytes: of those, that travelled: an upload sends only what the nodes lack.
        total_bytes: of the payload; None as long as it is not known.
    """

    done_bytes: int
    moved_bytes: int
    total_bytes: int | None


OnPayloadProgress: TypeAlias = Callable[[PayloadProgress], "Awaitable[None] | None"]
"""Is told how far a payload is, on the event loop; it may be a coroutine function."""


def info_of(message: payload_pb2.PayloadInfo) -> PayloadInfo:
    """A payload that a node told of."""
    return PayloadInfo(
        id=message.id.hex(),
        size_bytes=message.size_bytes,
        chunks=message.chunks,
        references=message.references,
        created_unix_ms=message.created_unix_ms,
        touched_unix_ms=message.touched_unix_ms,
        actor=message.actor,
        revision=_convert.revision(message.revision),
    )
