"""Fetches a copy of a peer's state machine into a file.

Rules of this file:
- The file is what the peer sent, on disk, or it is not there: whatever goes wrong removes it, being cancelled too.
- Nothing blocks the event loop: parts are checked, summed up and written on threads, one after another.
- It has a connection of its own: the link to the peer is not held up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

import grpc

from tallystick.peer.v1.peer_pb2 import SnapshotRequest
from tallystick_node.host import Host, RealHost
from tallystick_node.peers.cancelling import raise_if_cancelled
from tallystick_node.peers.channel import open_channel
from tallystick_node.peers.counters import Refusal
from tallystick_node.peers.identity import LocalNode, to_metadata
from tallystick_node.peers.limits import SNAPSHOT_COPY_S, SNAPSHOT_STALL_S
from tallystick_node.peers.options import FETCH_METHOD, PEER_SERVICE
from tallystick_node.peers.refusals import describe, refusal_of
from tallystick_node.peers.snapshot_parts import Assembly, BadPartError
from tallystick_node.peers.tls import PeerCredentials
from tallystick_node.storage.files import AppendFile, FileSystem, RealFiles

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the bytes so far and the size of all, on the event loop, after each part."""

_Call: TypeAlias = grpc.aio.UnaryStreamCall[SnapshotRequest, bytes]


class SnapshotFailed(Exception):
    """There is no snapshot, and no file. `str()` says why, for people.

    Attributes:
        refusal: why the peer gave none, if it said so.
    """

    def __init__(self, why: str, refusal: Refusal | None = None) -> None:
        super().__init__(why)
        self.refusal: Final = refusal


@dataclass(frozen=True, slots=True)
class Fetched:
    """What is in the file: the state machine after entry `index`, which is of `term`."""

    index: int
    term: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for a peer: for the copy to be made, and then for each part."""

    copy_s: float = SNAPSHOT_COPY_S + SNAPSHOT_STALL_S
    stall_s: float = SNAPSHOT_STALL_S


async def fetch_snapshot(
    local: LocalNode,
    peer_id: str,
    endpoint: str,
    credentials: PeerCredentials | None,
    reach_index: int,
    target: Path,
    *,
    max_bytes: int,
    on_progress: Progress | None = None,
    patience: Patience | None = None,
    host: Host | None = None,
) -> Fetched:
    """Fetch a snapshot that reaches `reach_index` into the file `target`, and sync it.

    Args:
        local: this node.
        peer_id, endpoint, credentials: whom to ask, as for a link.
        reach_index: one that reaches less is of no use.
        target: a file that is there already is replaced.
        max_bytes: a larger one is refused before anything is written: the free space less what is to be left.
        on_progress: see `Progress`.
        patience: how long to wait; none: as `limits.py` has it.
        host: the network; none: this machine's.

    Raises:
        SnapshotFailed: the peer refused, or cannot be reached, or sends nothing more, or sent what is of no use; or
            the disk has no room. `target` is not there.
    """
    host, patience = host or RealHost(), patience or Patience()
    assembly = Assembly(reach_index, max_bytes)
    sink = _Sink(RealFiles(), target, assembly)  # the state's files are the operating system's, like SQLite's own
    channel = open_channel(host, peer_id, endpoint, credentials)
    try:
        await sink.open()
        method: grpc.aio.UnaryStreamMultiCallable[SnapshotRequest, bytes] = channel.unary_stream(
            f"/{PEER_SERVICE}/{FETCH_METHOD}", SnapshotRequest.SerializeToString, None
        )
        call = method(SnapshotRequest(reach_index=reach_index), metadata=to_metadata(local), wait_for_ready=False)
        try:
            await _receive(call, sink, assembly, patience, on_progress)
        finally:
            call.cancel()
        return await sink.finish()
    except BadPartError as error:
        raise SnapshotFailed(f"node {peer_id} sent a bad snapshot: {error}") from error
    except grpc.aio.AioRpcError as error:
        raise_if_cancelled()
        raise SnapshotFailed(f"no snapshot of node {peer_id}: {describe(error)}", refusal_of(error)) from error
    except OSError as error:
        raise SnapshotFailed(f"cannot write {target}: {error.strerror}") from error
    finally:
        try:
            await sink.discard_unless_finished()
        finally:
            await channel.close(None)


async def _receive(
    call: _Call, sink: _Sink, assembly: Assembly, patience: Patience, on_progress: Progress | None
) -> None:
    while (part := await _next_part(call, patience.copy_s if assembly.head is None else patience.stall_s)) is not None:
        await sink.take(part)
        if on_progress is not None and assembly.head is not None:
            on_progress(assembly.received_bytes, assembly.head.size_bytes)
    if not assembly.is_whole:
        raise BadPartError(f"it ended after {assembly.received_bytes} bytes, in the middle")


async def _next_part(call: _Call, within_s: float) -> bytes | None:
    """The next part; None: the peer has ended the stream."""
    try:
        async with asyncio.timeout(within_s):
            part = await call.read()
    except TimeoutError:
        raise SnapshotFailed(f"the peer sent nothing for {within_s} s") from None
    return part if isinstance(part, bytes) else None


class _Sink:
    """The file that is written. One job at a time is on a thread; being cancelled does not end it."""

    def __init__(self, files: FileSystem, target: Path, assembly: Assembly) -> None:
        self._files = files
        self._target = target
        self._assembly = assembly
        self._file: AppendFile | None = None
        self._job: asyncio.Future[None] | None = None
        self._finished = False

    async def open(self) -> None:
        """Begin with an empty file."""
        await self._run(self._open)

    async def take(self, part: bytes) -> None:
        """Check a part and write what it brings."""
        await self._run(lambda: self._write(part))

    async def finish(self) -> Fetched:
        """Have all on disk."""
        await self._run(self._sync)
        head = self._assembly.head
        if head is None:
            raise BadPartError("it has no head")
        self._finished = True
        return Fetched(head.index, head.term, head.size_bytes)

    async def discard_unless_finished(self) -> None:
        """Remove the file, also if we are cancelled meanwhile."""
        if not self._finished:
            await asyncio.shield(asyncio.ensure_future(self._discard()))

    async def _discard(self) -> None:
        if self._job is not None:
            await asyncio.wait({self._job})
        await asyncio.to_thread(self._remove)

    async def _run(self, job: Callable[[], None]) -> None:
        self._job = asyncio.ensure_future(asyncio.to_thread(job))
        await asyncio.shield(self._job)

    def _open(self) -> None:
        self._file = self._files.open_append(self._target)
        self._file.truncate(0)

    def _write(self, part: bytes) -> None:
        data = self._assembly.take(part)
        if data and self._file is not None:
            self._file.write(data)

    def _sync(self) -> None:
        if self._file is not None:
            self._file.fdatasync()
            self._close()
        self._files.sync_folder(self._target.parent)

    def _remove(self) -> None:
        self._close()
        with suppress(OSError):  # it is not there, or the disk fails: what went wrong first is what to tell
            self._files.remove(self._target)

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
