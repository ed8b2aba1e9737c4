"""What is too large for one message, on its way out and in.

Rules of this file:
- Each way is bounded in number and bytes; what nobody asks for within `HANDLE_S` is let go of.
- The desk names what goes out, the caller what comes in.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from tallystick.errors import Invalid, Overloaded, Reason
from tallystick.worker.v1 import worker_pb2
from tallystick_node.contexts import limits
from tallystick_node.contexts.desk import limits as own


class _Held:
    __slots__ = ("data", "until_s")

    def __init__(self, data: bytes | bytearray, until_s: float) -> None:
        self.data = data
        self.until_s = until_s


class _Table:
    """Things by handle."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._held: dict[int, _Held] = {}
        self._size_bytes = 0

    def make_room(self, size_bytes: int) -> None:
        """Raises Overloaded if there is none for so much more."""
        now_s = self._clock()
        for handle in [handle for handle, held in self._held.items() if held.until_s <= now_s]:
            self.drop(handle)
        if len(self._held) >= own.HANDLES or self._size_bytes + size_bytes > own.HANDLES_BYTES:
            raise Overloaded("too much is handed over in parts at the moment", reason=Reason.OVERLOADED)

    def get(self, handle: int) -> bytes | bytearray | None:
        held = self._held.get(handle)
        if held is None:
            return None
        held.until_s = self._clock() + own.HANDLE_S
        return held.data

    def put(self, handle: int, data: bytes | bytearray) -> None:
        self._held[handle] = _Held(data, self._clock() + own.HANDLE_S)
        self._size_bytes += len(data)

    def grow(self, handle: int, data: bytes) -> None:
        held = self._held[handle]
        assert isinstance(held.data, bytearray)  # noqa: S101 - for the type
        held.data += data
        held.until_s = self._clock() + own.HANDLE_S
        self._size_bytes += len(data)

    def drop(self, handle: int) -> bytes | bytearray | None:
        held = self._held.pop(handle, None)
        if held is None:
            return None
        self._size_bytes -= len(held.data)
        return held.data


class Outgoing:
    """Answers that are fetched in parts."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._table = _Table(clock)
        self._handles = itertools.count(1)

    def first(self, data: bytes) -> worker_pb2.Data:
        """The first part, with a handle if there are more. Raises Overloaded."""
        if len(data) <= limits.PART_BYTES:
            return worker_pb2.Data(data=data, size_bytes=len(data))
        self._table.make_room(len(data))
        handle = next(self._handles)
        self._table.put(handle, data)
        return worker_pb2.Data(data=data[: limits.PART_BYTES], size_bytes=len(data), handle=handle)

    def part(self, part: worker_pb2.Part) -> worker_pb2.Data:
        """A further part; with the last the handle ends. Raises Overloaded: it was let go of."""
        if part.drop:
            self._table.drop(part.handle)
            return worker_pb2.Data()
        data = self._table.get(part.handle)
        if data is None:
            raise Overloaded("it was not fetched in time: ask again", reason=Reason.OVERLOADED)
        end = part.offset + limits.PART_BYTES
        found = worker_pb2.Data(data=bytes(data[part.offset : end]), size_bytes=len(data), handle=part.handle)
        if end >= len(data):
            self._table.drop(part.handle)
            found.handle = 0
        return found


class Incoming:
    """Updates that are handed in in parts."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._table = _Table(clock)

    def stage(self, stage: worker_pb2.Stage) -> None:
        """Takes a part. Raises Overloaded; Invalid: TOO_LARGE."""
        if stage.drop:
            self._table.drop(stage.handle)
            return
        held = self._table.get(stage.handle)
        self._table.make_room(len(stage.data))
        if held is None:
            self._table.put(stage.handle, bytearray(stage.data))
            return
        if len(held) + len(stage.data) > own.DIFF_BYTES:
            self._table.drop(stage.handle)
            raise Invalid(f"more than {own.DIFF_BYTES} bytes at once", reason=Reason.TOO_LARGE)
        self._table.grow(stage.handle, stage.data)

    def take(self, handle: int) -> bytes:
        """The whole; it is let go of. Raises Overloaded: it is not there (any more)."""
        data = self._table.drop(handle)
        if data is None:
            raise Overloaded("what was handed in was let go of: hand it in again", reason=Reason.OVERLOADED)
        return bytes(data)
