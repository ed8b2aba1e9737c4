"""Gives a peer a copy of this node's state machine, which is all that the cluster knows.

Rules of this file:
- Who may have it is who may open a link: the same admission. Who is removed meanwhile gets no further part.
- `SNAPSHOTS_AT_ONCE` at a time, from the making of the copy to its last byte. A peer that does not read is given up.
- Raft goes first: copy, file and digest are read and made on threads, and the event loop has its turn between parts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Final, TypeAlias

import grpc

from tallystick.peer.v1.peer_pb2 import SnapshotRequest
from tallystick_node.peers.admission import Admission, name_given
from tallystick_node.peers.counters import Refusal, SnapshotCounters
from tallystick_node.peers.identity import Caller
from tallystick_node.peers.limits import (
    SNAPSHOT_COPY_S,
    SNAPSHOT_PART_BYTES,
    SNAPSHOT_STALL_S,
    SNAPSHOTS_AT_ONCE,
    SNAPSHOTS_GIVEN_UP,
)
from tallystick_node.peers.options import FETCH_METHOD, PEER_SERVICE
from tallystick_node.peers.refusals import Refused, stopping
from tallystick_node.peers.snapshot_parts import Cutter
from tallystick_node.peers.snapshot_source import SnapshotFile, SnapshotSource
from tallystick_node.storage.errors import DiskFull, StorageError
from tallystick_node.storage.files import FileSystem, RealFiles

_log: Final = logging.getLogger(__name__)

_Context: TypeAlias = grpc.aio.ServicerContext[SnapshotRequest, bytes]


class SnapshotServer:
    """`PeerService.FetchSnapshot` of this node.

    Attributes:
        counters: what was counted.

    Args:
        admission: who may have one; the servicer's, so that it knows the members of now.
        source: makes the copies.
        copy_s: how long making one may take.
        stall_s: how long a peer may take to read a part.
    """

    def __init__(
        self,
        admission: Admission,
        source: SnapshotSource,
        *,
        copy_s: float = SNAPSHOT_COPY_S,
        stall_s: float = SNAPSHOT_STALL_S,
    ) -> None:
        self._admission = admission
        self._source = source
        self._files: FileSystem = RealFiles()  # the state's files are the operating system's, like SQLite's own
        self._copy_s = copy_s
        self._stall_s = stall_s
        self._under_way = 0
        self._refusing = 0
        self._closed = False
        self._last_logged: tuple[str, Refusal] | None = None
        self.counters = SnapshotCounters()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve on this server, beside the links."""
        handler = grpc.unary_stream_rpc_method_handler(
            self._fetch, request_deserializer=SnapshotRequest.FromString, response_serializer=None
        )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(PEER_SERVICE, {FETCH_METHOD: handler}),))

    def close(self) -> None:
        """Begin no more; the one under way ends with its next part."""
        self._closed = True

    async def _fetch(self, request: SnapshotRequest, context: _Context) -> None:
        checked = self._admission.check(context)
        refused = checked if isinstance(checked, Refused) else await self._serve(checked, request.reach_index, context)
        if refused is not None:
            self._note_refused(name_given(context), refused)
            self._refusing += 1
            try:
                await refused.abort(context)
            finally:  # where the peer does not read, only when it has gone
                self._refusing -= 1

    async def _serve(self, caller: Caller, reach_index: int, context: _Context) -> Refused | None:
        """Make and send one, if it is the caller's turn."""
        if self._closed:
            return stopping()
        if self._under_way >= SNAPSHOTS_AT_ONCE or self._refusing >= SNAPSHOTS_GIVEN_UP:
            return Refused(Refusal.OVERLOADED, "This node is sending a snapshot already: ask again later.")
        self._under_way += 1
        try:
            async with AsyncExitStack() as stack:
                try:
                    async with asyncio.timeout(self._copy_s):
                        file = await stack.enter_async_context(self._source.open(reach_index))
                except TimeoutError:
                    return Refused(Refusal.OVERLOADED, f"This node could not make a snapshot within {self._copy_s} s.")
                except DiskFull:
                    return Refused(Refusal.OVERLOADED, "This node's disk has no room for a snapshot.")
                except StorageError as error:
                    return Refused(Refusal.OVERLOADED, f"This node could not make a snapshot: {error}.")
                if file.index < reach_index:
                    return Refused(Refusal.BEHIND, f"This node has applied entry {file.index}, not {reach_index}.")
                return await self._send(caller, file, context)
        finally:
            self._under_way -= 1

    async def _send(self, caller: Caller, file: SnapshotFile, context: _Context) -> Refused | None:
        about = {"peer_id": caller.node_id, "index": file.index, "size_bytes": file.size_bytes}
        self.counters.begun += 1
        self._last_logged = None
        _log.info("sending a snapshot", extra={"event": "snapshot_sending", **about})
        async with aclosing(self._parts(file)) as parts:
            async for part in parts:
                ended = stopping() if self._closed else self._admission.check_member(caller.node_id)
                if ended is not None:
                    return ended
                try:
                    async with asyncio.timeout(self._stall_s):
                        await context.write(part)
                except TimeoutError:
                    return Refused(Refusal.STALLED, f"Node {caller.node_id} read nothing for {self._stall_s} s.")
                except grpc.aio.InternalError:  # the peer hung up, and gRPC has not cancelled us yet
                    return None
                self.counters.size_bytes += len(part)
        self.counters.sent += 1
        _log.info("sent a snapshot", extra={"event": "snapshot_sent", **about})
        return None

    async def _parts(self, file: SnapshotFile) -> AsyncGenerator[bytes, None]:
        """All parts, serialized. Between two of them others have their turn: each is made on a thread."""
        cutter, offset = Cutter(), 0
        yield cutter.head(file.index, file.term, file.size_bytes)
        while offset < file.size_bytes:
            size_bytes = min(SNAPSHOT_PART_BYTES, file.size_bytes - offset)
            yield await asyncio.to_thread(self._read, cutter, file.path, offset, size_bytes)
            offset += size_bytes
        yield cutter.end()

    def _read(self, cutter: Cutter, path: Path, offset: int, size_bytes: int) -> bytes:
        data = self._files.read_at(path, offset, size_bytes)
        if len(data) != size_bytes:
            raise RuntimeError(f"{path} ends after {offset + len(data)} bytes: its source announced more")
        return cutter.data(data)

    def _note_refused(self, node_id: str, refused: Refused) -> None:
        """Count it; log it unless the line would repeat the last one, for a refused peer asks again."""
        self.counters.refused[refused.refusal] += 1
        this = (node_id, refused.refusal)
        if this != self._last_logged and refused.refusal is not Refusal.STOPPING:
            self._last_logged = this
            extra = {
                "event": "snapshot_refused",
                "peer_id": node_id,
                "refusal": refused.refusal.value,
                "why": refused.sentence,
            }
            _log.warning("gave a peer no snapshot", extra=extra)
