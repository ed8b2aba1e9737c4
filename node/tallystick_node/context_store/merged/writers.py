"""Who writes under which id at this node: two replicas with one writer id would lose one side's edits.

Rules of this file:
- A writer id of a document is held by one stream. One of the same incarnation takes it over: its replica has come back
  before this node noticed that it had gone. One of another incarnation is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tallystick.errors import Conflict, Invalid, Reason
from tallystick_node.context_store.merged.limits import STREAM_WRITERS


@dataclass(eq=False, slots=True)
class Holder:
    """One stream.

    Attributes:
        guid: of its document.
        incarnation: of its replica.
        on_lost: called when another stream of this incarnation took over.
        writers: the ids it holds.
    """

    guid: bytes
    incarnation: bytes
    on_lost: Callable[[], None]
    writers: set[int] = field(default_factory=set)


class LiveWriters:
    """See the module."""

    def __init__(self) -> None:
        self._holders: dict[tuple[bytes, int], Holder] = {}

    def claim(self, holder: Holder, writer: int) -> None:
        """From now on this stream writes under the id.

        Raises:
            Conflict: WRITER_IN_USE, a replica of another incarnation does.
            Invalid: more ids than one stream advances.
        """
        if writer in holder.writers:
            return
        if len(holder.writers) >= STREAM_WRITERS:
            raise Invalid(
                f"a stream writes under {STREAM_WRITERS} ids at most",
                reason=Reason.INVALID_REQUEST,
                metadata={"field": "writer", "limit": str(STREAM_WRITERS)},
            )
        key = (holder.guid, writer)
        other = self._holders.get(key)
        if other is not None:
            if other.incarnation != holder.incarnation:
                raise Conflict(
                    f"another replica writes under {writer}",
                    reason=Reason.WRITER_IN_USE,
                    metadata={"writer": str(writer)},
                )
            other.writers.discard(writer)
            other.on_lost()
        self._holders[key] = holder
        holder.writers.add(writer)

    def release(self, holder: Holder) -> None:
        """The stream has ended."""
        for writer in holder.writers:
            self._holders.pop((holder.guid, writer), None)
        holder.writers.clear()
