"""A snapshot on the wire: cut into parts by who sends it, checked and put together by who fetches it. No I/O.

    head (index, term, size) · data ... · end (sha256 of all data)

Rules of this file:
- The head comes first, and once; no part of data is empty; together they have exactly the size that the head says;
  the end comes last, and its digest is that of the data. Anything else is refused, and nothing of it is of use.
- The size is bounded before anything is written.
"""

from __future__ import annotations

import hashlib

from google.protobuf.message import DecodeError

from tallystick.peer.v1.peer_pb2 import SnapshotEnd, SnapshotHead, SnapshotPart


class BadPartError(Exception):
    """The peer broke the rules of a snapshot's parts, or sent one that is of no use."""


class Cutter:
    """Makes the parts of one snapshot, serialized, and sums them up."""

    def __init__(self) -> None:
        self._sum = hashlib.sha256()

    def head(self, index: int, term: int, size_bytes: int) -> bytes:
        """The first part."""
        return SnapshotPart(head=SnapshotHead(index=index, term=term, size_bytes=size_bytes)).SerializeToString()

    def data(self, data: bytes) -> bytes:
        """The next part of the data."""
        self._sum.update(data)
        return SnapshotPart(data=data).SerializeToString()

    def end(self) -> bytes:
        """The last part."""
        return SnapshotPart(end=SnapshotEnd(sha256=self._sum.digest())).SerializeToString()


class Assembly:
    """Checks the parts of one snapshot as they come.

    Attributes:
        head: what is coming; none before it was said.
        received_bytes: data so far.
        is_whole: everything has come, and is what was sent.

    Args:
        reach_index: a snapshot that reaches less is of no use.
        max_bytes: there is no room for a larger one.
    """

    def __init__(self, reach_index: int, max_bytes: int) -> None:
        self._reach_index = reach_index
        self._max_bytes = max_bytes
        self._sum = hashlib.sha256()
        self.head: SnapshotHead | None = None
        self.received_bytes = 0
        self.is_whole = False

    def take(self, part_data: bytes) -> bytes:
        """Check the next part; the data to be written, which are empty for the head and the end.

        Raises:
            BadPartError: the snapshot is of no use.
        """
        try:
            part = SnapshotPart.FromString(part_data)
        except DecodeError as error:
            raise BadPartError("this is no part of a snapshot") from error
        if self.is_whole:
            raise BadPartError("a part behind the end")
        kind = part.WhichOneof("part")
        if self.head is None:
            if kind != "head":
                raise BadPartError("the first part is not the head")
            self._begin(part.head)
            return b""
        if kind == "data":
            self._add(part.data, self.head)
            return part.data
        if kind == "end":
            self._finish(part.end, self.head)
            return b""
        raise BadPartError("a second head" if kind == "head" else "a part of a kind that this version does not know")

    def _begin(self, head: SnapshotHead) -> None:
        if head.index < self._reach_index:
            raise BadPartError(f"it reaches entry {head.index}, and {self._reach_index} is needed")
        if head.size_bytes > self._max_bytes:
            raise BadPartError(f"it has {head.size_bytes} bytes, and there is room for {self._max_bytes}")
        self.head = head

    def _add(self, data: bytes, head: SnapshotHead) -> None:
        if not data:
            raise BadPartError("an empty part")
        self.received_bytes += len(data)
        if self.received_bytes > head.size_bytes:
            raise BadPartError(f"more than the {head.size_bytes} bytes that were announced")
        self._sum.update(data)

    def _finish(self, end: SnapshotEnd, head: SnapshotHead) -> None:
        if self.received_bytes != head.size_bytes:
            raise BadPartError(f"it ended after {self.received_bytes} of {head.size_bytes} bytes")
        if end.sha256 != self._sum.digest():
            raise BadPartError("its sha256 is not that of what was sent")
        self.is_whole = True
