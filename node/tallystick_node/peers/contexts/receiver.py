"""What one peer's stream brings: merged here, and answered with what is on this disk and with what it lacks.

Rules of this file:
- Frames are taken one after another; the edits of one are merged together, in order.
- Nothing is believed: each edit and diff passes the admission of updates in the worker, as a peer's. What does not fit
  or is damaged is not merged; the document is owed, and a diff is asked for.
- Only documents that are decided here, in that epoch, are merged. An epoch that is past here is not answered; one that
  is not here yet is asked for once this node's log has come to it.
- While the worker is down or has too much to do, the same merge is tried again: the stream waits, and the sender drops
  and offers where it has too much.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from tallystick.errors import Overloaded, Reason, Refused, TallystickError, Unavailable
from tallystick.peer.v1 import peer_pb2
from tallystick.worker.v1 import worker_pb2
from tallystick_node.contexts.ids import ContextId
from tallystick_node.peers.contexts.coverage import Coverage
from tallystick_node.peers.contexts.limits import (
    ASKED_AT_ONCE,
    DIFF_BYTES,
    DIFF_EDITS_BYTES,
    DIFFS_AT_ONCE,
    MERGE_RETRIES_S,
)
from tallystick_node.peers.contexts.owed import Owed, TooMuchOwedError
from tallystick_node.peers.contexts.replies import Replies
from tallystick_node.peers.contexts.seams import Documents, Here
from tallystick_node.peers.frames import BadFrameError

_log: Final = logging.getLogger(__name__)

_RETRY_MIN_S: Final = 0.05
_RETRY_MAX_S: Final = 1.0
_LOOK_EVERY_S: Final = 0.25
"""How often it is looked for what is owed and due."""
_LATER: Final = frozenset({Reason.WORKER_DOWN, Reason.OVERLOADED, Reason.DISK_FULL})


@dataclass(slots=True)
class ReceiverCounters:
    """Of all incoming streams of edits."""

    pushes: int = 0
    novel: int = 0
    diffs: int = 0
    lacking: int = 0
    """Edits whose predecessors were not here."""
    refused: int = 0
    """Edits and diffs that were damaged, or broke a rule."""
    lost: int = 0
    """Documents that could not be read here, and were fetched anew."""


@dataclass(frozen=True, slots=True)
class Taking:
    """What the incoming streams of a node share.

    Attributes:
        epoch_of: the epoch of a document as this node's log has it; 0: there is no such document.
        next_handle: of a stage.
        begin: the worker does not know a document as it is decided: it is told.
        on_lost: hears that a document was dropped here, for it was damaged.
    """

    documents: Documents
    here: Here
    epoch_of: Callable[[bytes], int]
    coverage: Coverage
    next_handle: Callable[[], int]
    begin: Callable[[bytes], None]
    on_lost: Callable[[bytes], None]
    counters: ReceiverCounters = field(default_factory=ReceiverCounters)


@dataclass(slots=True)
class _Staged:
    """A diff of which not all parts are here."""

    handle: int
    size_bytes: int = 0


class Receiver:
    """See the module; of one stream.

    Args:
        taking: what all streams share.
        peer_id: whose stream it is.
        replies: what is to be answered goes there.
    """

    def __init__(self, taking: Taking, peer_id: str, replies: Replies) -> None:
        self._taking = taking
        self._documents = taking.documents
        self._counters = taking.counters
        self._peer_id = peer_id
        self._replies = replies
        self._owed = Owed()
        self._staged: dict[ContextId, _Staged] = {}
        self._look = asyncio.Event()

    @property
    def owed(self) -> int:
        """Documents of which something could not be merged yet."""
        return len(self._owed)

    def ask(self, document: ContextId) -> None:
        """A diff of this document is wanted; passed over where too many are."""
        with contextlib.suppress(TooMuchOwedError):
            self._owed.failed(document, 0, self._now_s())
        self._look.set()

    def decided(self, document: ContextId) -> None:
        """This node's log has come to this epoch of a document: what waited for it goes on."""
        self._owed.soon(document, self._now_s())
        self._look.set()

    async def take(self, frame: peer_pb2.ContextFrame) -> None:
        """One frame of the peer, to its end.

        Raises:
            BadFrameError: the peer broke the rules of a diff.
            TooMuchOwedError: more cannot be merged than is remembered.
        """
        for presence in frame.presences:
            self._hear(presence)
        await asyncio.gather(*(self._take_push(push) for push in frame.pushes))
        for part in frame.diffs:
            await self._take_part(part)

    async def run(self) -> None:
        """Asks for what is owed, until cancelled."""
        while True:
            due = self._owed.take_due(self._now_s(), ASKED_AT_ONCE)
            if due:
                await asyncio.gather(*(self._ask_for(document) for document in due))
                continue
            self._look.clear()
            try:
                async with asyncio.timeout(_LOOK_EVERY_S if self._owed else None):
                    await self._look.wait()
            except TimeoutError:
                continue

    async def close(self) -> None:
        """What is staged is dropped."""
        for staged in self._staged.values():
            await self._drop_stage(staged)
        self._staged.clear()

    # Edits.

    async def _take_push(self, push: peer_pb2.ContextPush) -> None:
        document = ContextId.of(push.id)
        self._counters.pushes += 1
        epoch = self._taking.epoch_of(document.guid)
        if epoch > document.epoch:
            return
        if epoch < document.epoch or not push.update:
            self._offered(document, push.number, push.log)
            return
        merged = await self._merge(document, worker_pb2.Merge(update=push.update, edit=push.edit))
        if merged is None:
            self._fails(document, push.number)
            return
        self._taking.coverage.pushed(self._peer_id, document, push.number, push.log, is_novel=merged.is_novel)
        self._counters.novel += merged.is_novel
        number = self._owed.merged(document, push.number)
        if number:
            self._replies.ack(document, number)

    def _offered(self, document: ContextId, number: int, log: bytes) -> None:
        if self._taking.coverage.holds(self._peer_id, document, number, log):
            self._replies.ack(document, number, whole=number)
        else:
            self._fails(document, number)

    def _fails(self, document: ContextId, number: int) -> None:
        self._owed.failed(document, number, self._now_s())
        self._look.set()

    async def _merge(self, document: ContextId, merge: worker_pb2.Merge) -> worker_pb2.Merged | None:
        """What became of it; None: it could not be merged, and a diff is to be asked for."""
        merge.origin = worker_pb2.ORIGIN_PEER
        try:
            merged = await self._merge_or_later(document, merge)
        except Refused as error:
            self._counters.refused += 1
            self._log_refused(document, error)
            return None
        except TallystickError as error:
            self._log_refused(document, error)
            return None
        if merged.lacks_state_vector:
            self._counters.lacking += 1
            return None
        return merged

    async def _merge_or_later(self, document: ContextId, merge: worker_pb2.Merge) -> worker_pb2.Merged:
        until_s, wait_s = self._now_s() + MERGE_RETRIES_S, _RETRY_MIN_S
        while True:
            try:
                return await self._documents.merge(document, merge)
            except (Unavailable, Overloaded) as error:
                # A stage does not outlive its worker.
                if error.reason not in _LATER or merge.HasField("staged") or self._now_s() > until_s:
                    raise
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, _RETRY_MAX_S)

    # Diffs.

    async def _take_part(self, part: peer_pb2.ContextDiff) -> None:
        document = ContextId.of(part.id)
        staged = self._staged.get(document)
        self._owed.postpone(document, self._now_s())
        size_bytes = (staged.size_bytes if staged else 0) + len(part.data)
        if size_bytes > DIFF_BYTES or sum(edit.ByteSize() for edit in part.edits) > 2 * DIFF_EDITS_BYTES:
            raise BadFrameError(f"a diff of more than {DIFF_BYTES} bytes")
        if not part.is_last:
            await self._stage(document, part.data)
            return
        if not part.data or self._taking.epoch_of(document.guid) != document.epoch:  # given up, or of no use
            if not part.data:
                self._owed.given_up(document, self._now_s())
            self._staged.pop(document, None)
            if staged is not None:
                await self._drop_stage(staged)
            return
        if staged is None:
            merged = await self._merge(document, worker_pb2.Merge(update=part.data, edits=part.edits))
        else:
            await self._stage(document, part.data)
            self._staged.pop(document, None)
            if staged.handle < 0:
                return  # a part was lost with the worker
            merged = await self._merge(document, worker_pb2.Merge(staged=staged.handle, edits=part.edits))
        if merged is not None:
            self._diffed(document, part.number, part.log, merged)

    def _diffed(self, document: ContextId, number: int, log: bytes, merged: worker_pb2.Merged) -> None:
        self._counters.diffs += 1
        self._counters.novel += merged.is_novel
        self._taking.coverage.diffed(self._peer_id, document, number, log, is_novel=merged.is_novel)
        reached = self._owed.answered(document, number, self._now_s())
        if reached:
            self._replies.ack(document, reached, whole=number)
        self._look.set()

    async def _stage(self, document: ContextId, data: bytes) -> None:
        staged = self._staged.get(document)
        if staged is None:
            if len(self._staged) >= DIFFS_AT_ONCE:
                raise BadFrameError(f"more than {DIFFS_AT_ONCE} diffs at once")
            staged = self._staged[document] = _Staged(self._taking.next_handle())
        staged.size_bytes += len(data)
        if staged.handle < 0:
            return
        stage = worker_pb2.Stage(handle=staged.handle, data=data)
        try:
            await self._documents.ask(document.guid, worker_pb2.Request(stage=stage))
        except TallystickError as error:
            self._log_refused(document, error)
            staged.handle = -1

    async def _drop_stage(self, staged: _Staged) -> None:
        if staged.handle < 0:
            return
        stage = worker_pb2.Stage(handle=staged.handle, drop=True)
        try:
            await self._documents.ask(b"", worker_pb2.Request(stage=stage))
        except TallystickError:  # it lets go of it by itself
            return

    # What is lacking.

    async def _ask_for(self, document: ContextId) -> None:
        epoch = self._taking.epoch_of(document.guid)
        if epoch > document.epoch:
            self._owed.drop(document)
        if epoch != document.epoch:
            self._owed.again(document, self._now_s())
            return
        describe = worker_pb2.Describe(id=document.to_proto())
        try:
            response = await self._documents.ask(document.guid, worker_pb2.Request(describe=describe))
            state_vector = response.described.cursor.state_vector
        except TallystickError as error:
            if error.reason is Reason.CONTEXT_DAMAGED:
                await self._lose(document)
            elif error.reason is not Reason.CONTEXT_NOT_FOUND:
                if error.reason is Reason.EPOCH_CONFLICT:
                    self._taking.begin(document.guid)
                self._owed.again(document, self._now_s())
                return
            state_vector = b""
        self._replies.behind(document, state_vector)

    async def _lose(self, document: ContextId) -> None:
        """What is damaged here is dropped, and comes whole from the peer."""
        forget = worker_pb2.Forget(guid=document.guid)
        extra = {"event": "context_lost", "guid": document.guid.hex(), "peer_id": self._peer_id}
        _log.warning("a damaged document is fetched anew", extra=extra)
        try:
            await self._documents.ask(document.guid, worker_pb2.Request(forget=forget))
        except TallystickError as error:
            self._log_refused(document, error)
            return
        self._counters.lost += 1
        self._taking.begin(document.guid)
        self._taking.on_lost(document.guid)

    # Beside.

    def _hear(self, presence: peer_pb2.ContextPresence) -> None:
        if not self._taking.epoch_of(presence.guid):
            return
        try:
            self._taking.here.set(presence.guid, presence.states, is_local=False)
        except Refused as error:
            self._counters.refused += 1
            _log.info("refused the presence of a peer", extra={"event": "presence_refused", "why": str(error)})

    def _log_refused(self, document: ContextId, error: TallystickError) -> None:
        extra = {
            "event": "context_not_merged",
            "peer_id": self._peer_id,
            "guid": document.guid.hex(),
            "why": error.reason.value,
        }
        _log.info("could not merge what a peer sent", extra=extra)

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()
