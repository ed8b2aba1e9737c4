"""What is asked of the worker about a document, as calls; large answers part by part.

Rules of this file:
- A document that the worker does not know as it was decided (a seed or an epoch it has not heard of) is begun first.
- An answer in parts that is not wanted to its end is dropped, so that the worker does not keep it.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import NamedTuple

from tallystick.errors import TallystickError
from tallystick.v1 import context_pb2
from tallystick.worker.v1 import worker_pb2
from tallystick_node.contexts.hub.hub import Hub
from tallystick_node.contexts.ids import ContextId
from tallystick_node.contexts.limits import PART_BYTES


class PartOf(NamedTuple):
    """A piece of an answer; with the last one come the cursor and the edits."""

    data: bytes
    is_last: bool
    cursor: context_pb2.Cursor
    edits: list[context_pb2.Edit]


class Questions:
    """See the module."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    async def describe(self, document: ContextId) -> worker_pb2.Described:
        """What this node has of a document. Raises as `Port.ask`."""
        request = worker_pb2.Request(describe=worker_pb2.Describe(id=document.to_proto()))
        return (await self._hub.ask(document.guid, request)).described

    async def size_bytes(self, document: ContextId) -> int:
        """How large a document is, encoded. Raises as `Port.ask`."""
        return (await self.describe(document)).size.document_bytes

    async def rebuilt(self, document: ContextId) -> AsyncGenerator[bytes, None]:
        """The content as a fresh update of writer 1, in parts. Raises as `Port.ask`; close it."""
        request = worker_pb2.Request(rebuild=worker_pb2.Rebuild(id=document.to_proto()))
        async with contextlib.aclosing(self._parts(document, request)) as parts:
            async for part in parts:
                yield part.data

    def diff(
        self,
        document: ContextId,
        state_vector: bytes,
        *,
        at: context_pb2.At | None = None,
        with_edits: bool = False,
    ) -> AsyncGenerator[PartOf, None]:
        """What a state vector lacks of a document, now or as it was. Raises as `Port.ask`; close it."""
        diff = worker_pb2.Diff(id=document.to_proto(), state_vector=state_vector, at=at, with_edits=with_edits)
        return self._parts(document, worker_pb2.Request(diff=diff))

    def as_json(
        self, document: ContextId, *, at: context_pb2.At | None = None, content: bytes = b""
    ) -> AsyncGenerator[PartOf, None]:
        """The content, or that of another update, as JSON text. Raises as `Port.ask`; close it."""
        as_json = worker_pb2.AsJson(id=document.to_proto(), at=at, content=content)
        return self._parts(document, worker_pb2.Request(as_json=as_json))

    async def _parts(self, document: ContextId, request: worker_pb2.Request) -> AsyncGenerator[PartOf, None]:
        first = (await self._hub.ask(document.guid, request)).data
        cursor = first.cursor
        cursor.node_id = self._hub.node_id
        edits, handle, offset = list(first.edits), first.handle, len(first.data)
        try:
            yield PartOf(first.data, offset >= first.size_bytes, cursor, edits)
            while offset < first.size_bytes:
                asked = worker_pb2.Request(part=worker_pb2.Part(handle=handle, offset=offset))
                part = (await self._hub.ask(document.guid, asked)).data
                if not part.data:
                    raise TallystickError("the worker gave less than it said")
                offset += len(part.data)
                yield PartOf(part.data, offset >= first.size_bytes, cursor, edits)
        finally:
            if handle and offset < first.size_bytes:
                drop = worker_pb2.Request(part=worker_pb2.Part(handle=handle, drop=True))
                with contextlib.suppress(TallystickError):  # it forgets by itself, a little later
                    await self._hub.ask(document.guid, drop)


def cut(data: bytes, cursor: context_pb2.Cursor) -> list[PartOf]:
    """What is at hand, as parts of the same sizes."""
    pieces = [data[offset : offset + PART_BYTES] for offset in range(0, len(data), PART_BYTES)] or [b""]
    return [PartOf(piece, number == len(pieces), cursor, []) for number, piece in enumerate(pieces, 1)]
