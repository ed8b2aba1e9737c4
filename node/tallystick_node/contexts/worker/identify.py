"""What a request is about, so that it is known again when it comes again.

Rules of this file:
- An update is known by its SHA-256, whoever sends it, and also if it came in parts; any other question by what it asks,
  without what differs each time (its id, times, who asks).
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Final, Protocol

from tallystick.peer.v1.peer_pb2 import ContextId
from tallystick.worker.v1.worker_pb2 import Request, Stage
from tallystick_node.contexts.worker.limits import STAGED

_HARMLESS: Final = frozenset({"part", "stage", "list_documents", "stop"})
"""Requests that read and write no document."""


class _Sum(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...


class StagedSums:
    """The SHA-256 of what a worker was handed in parts; the oldest are forgotten beyond `STAGED`."""

    def __init__(self) -> None:
        self._sums: OrderedDict[int, _Sum] = OrderedDict()

    def note(self, stage: Stage) -> None:
        """A part is sent."""
        if stage.drop:
            self._sums.pop(stage.handle, None)
            return
        found = self._sums.setdefault(stage.handle, hashlib.sha256())
        found.update(stage.data)
        if len(self._sums) > STAGED:
            self._sums.popitem(last=False)

    def of(self, handle: int) -> bytes | None:
        """The sum of what a handle has; None: it is not known."""
        found = self._sums.get(handle)
        return None if found is None else found.digest()

    def clear(self) -> None:
        """The worker is gone, and what it was handed."""
        self._sums.clear()


def is_harmless(request: Request) -> bool:
    """Whether it touches no document."""
    return request.WhichOneof("body") in _HARMLESS


def document_of(request: Request) -> ContextId | None:
    """The document that it is about; without an epoch where it names none, None if it is about no single one."""
    kind = request.WhichOneof("body")
    if kind is None or kind in _HARMLESS:
        return None
    if kind == "forget":
        return ContextId(guid=request.forget.guid)
    if kind == "squash":
        return ContextId(guid=request.squash.guid)
    if kind == "ranges":
        return ContextId(guid=request.ranges.compare.guid) if request.ranges.compare.guid else None
    found = getattr(request, kind).id
    return found if isinstance(found, ContextId) and found.guid else None


def sum_of(request: Request, staged: StagedSums) -> bytes:
    """32 bytes that it is known by."""
    if request.WhichOneof("body") == "merge":
        return _sum_of_update(request, staged)
    question = Request()
    question.CopyFrom(request)
    question.ClearField("id")
    if question.HasField("restore"):
        question.restore.ClearField("writer")
        question.restore.ClearField("edit")
        question.restore.ClearField("now_unix_ms")
    elif question.HasField("start_epoch"):
        question.start_epoch.ClearField("writer")
        question.start_epoch.ClearField("now_unix_ms")
    return hashlib.sha256(b"question " + question.SerializeToString(deterministic=True)).digest()


def _sum_of_update(request: Request, staged: StagedSums) -> bytes:
    merge = request.merge
    if merge.WhichOneof("from") == "staged":
        return staged.of(merge.staged) or hashlib.sha256(f"staged {merge.staged}".encode()).digest()
    return hashlib.sha256(merge.update).digest()
