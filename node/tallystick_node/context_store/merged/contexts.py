"""Every use case of contexts that is merged: who calls whom.

Rules of this file:
- A document is found by its name as this node has applied the log; before this node says that there is none, it asks a
  majority.
- An answer has at least what the cursor says that the caller names, or there is none (`BEHIND`).
- Every wait has a timeout, but a Sync stream's.
"""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Final

from tallystick.errors import Conflict, Corrupt, Invalid, NotFound, Reason, Unavailable
from tallystick.peer.v1 import peer_pb2
from tallystick.v1 import context_pb2
from tallystick.worker.v1 import worker_pb2
from tallystick_node.access import Consistency, ReadFrom, page_items
from tallystick_node.context_store.decided import DecidedContexts, NewVersion
from tallystick_node.context_store.merged.connections import Connections
from tallystick_node.context_store.merged.cursors import is_covered
from tallystick_node.context_store.merged.editing import Parts
from tallystick_node.context_store.merged.following import Following
from tallystick_node.context_store.merged.presence import PresenceStream
from tallystick_node.context_store.merged.questions import PartOf, Questions, cut
from tallystick_node.context_store.merged.session import InfoOf, MakeHeader, Responses, Session
from tallystick_node.context_store.merged.writers import LiveWriters
from tallystick_node.contexts.hub.hub import Hub
from tallystick_node.contexts.ids import ContextId
from tallystick_node.contexts.limits import DOCUMENT_BYTES
from tallystick_node.core import limits as core_limits
from tallystick_node.core.commands import MAIN, Target
from tallystick_node.core.contexts import not_found
from tallystick_node.core.outcomes import ContextRecord, VersionRecord
from tallystick_node.wire.fields import check_bytes, check_name

_INCARNATION_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and how.

    Attributes:
        actor: its name.
        peer: its connection.
        timeout_s: how long it may wait.
    """

    actor: str
    peer: str
    timeout_s: float


class MergedContexts:
    """See the module."""

    def __init__(self, decided: DecidedContexts, hub: Hub) -> None:
        self._decided = decided
        self._hub = hub
        self._questions = Questions(hub)
        self.following = Following(decided, hub)
        self._parts = Parts(decided, self.following, hub, LiveWriters())
        self.connections = Connections()
        self._present = Connections()
        hub.admit = self.following.admit

    async def run(self) -> None:
        """Keeps the worker in step with what is decided, until it is cancelled."""
        self._decided.listen(self.following)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.following.run(), name="follow contexts")
            tasks.create_task(self._hub.run(), name="hub")

    # Open documents.

    async def sync(
        self,
        opening: context_pb2.SyncOpen,
        requests: AsyncIterator[context_pb2.SyncRequest],
        caller: Caller,
        make_header: MakeHeader,
        info_of: InfoOf,
    ) -> Responses:
        """One document, live, in both directions; see `session`.

        Raises:
            NotFound: there is no such context, or it was deleted.
            Invalid, Conflict: the stream breaks a rule; another stream of the replica took over.
            QuotaExceeded: CONNECTION_QUOTA.
            Unavailable: BEHIND, WORKER_DOWN, CONTEXT_SEALED, ...: come back, here or at another node.
        """
        _check_opening(opening, caller)
        with self.connections.open(caller.peer):
            record, cursor = await self._open(opening, caller)
            session = Session(self._parts, record, opening, caller.actor, info_of)
            async with contextlib.aclosing(session.run(requests, make_header(), cursor)) as responses:
                async for response in responses:
                    yield response

    async def _open(self, opening: context_pb2.SyncOpen, caller: Caller) -> tuple[ContextRecord, context_pb2.Cursor]:
        """The document as it is decided at this very moment, and what this node has of it."""
        while True:
            record = await self.find(opening.context, caller.timeout_s, guid=opening.guid, epoch=opening.epoch)
            try:
                cursor = await self._reach(record, opening.after, caller.timeout_s)
            except Unavailable:
                if self.following.record(record.guid) == record:
                    raise
            else:
                if self.following.record(record.guid) == record:
                    return record, cursor
            await asyncio.sleep(0)  # decided anew meanwhile: look again

    async def find(
        self, ref: context_pb2.ContextRef, timeout_s: float, *, guid: bytes = b"", epoch: int = 0
    ) -> ContextRecord:
        """The context of a name; the one with this guid, at least in this epoch, if they are given.

        Raises:
            NotFound: there is none, or it is another one.
            Invalid: no name.
            Conflict: EPOCH_CONFLICT, it has not come to this epoch.
            Unavailable: this node does not know it, and cannot ask a majority.
        """
        with contextlib.suppress(NotFound):
            record = self._decided.info(ref.namespace, ref.name)
            if (not guid or record.guid == guid) and record.epoch >= epoch:
                return record
        record = await self._decided.describe(ref.namespace, ref.name, ReadFrom(Consistency.LINEARIZABLE, 0, timeout_s))
        if guid and record.guid != guid:
            raise not_found(ref.namespace, ref.name, guid)
        if record.epoch < epoch:
            message = f"context {ref.name!r} is in epoch {record.epoch}, not in {epoch}"
            raise Conflict(message, reason=Reason.EPOCH_CONFLICT, metadata={"epoch": str(record.epoch)})
        return record

    async def described(self, record: ContextRecord) -> worker_pb2.Described:
        """What this node has of a document.

        Raises:
            Unavailable: BEHIND, it is moving to another epoch; and as `Port.ask`.
        """
        document = ContextId(record.guid, record.epoch)
        try:
            try:
                described = await self._questions.describe(document)
            except Conflict:  # of another epoch than the worker has heard of
                described = None
            if described is None or (described.cursor.number == 0 and self._decided.base(record.guid)):
                self.following.begin_if_unknown(record.guid)
                described = await self._questions.describe(document)
        except Conflict as error:
            raise Unavailable(error.message, reason=Reason.BEHIND) from None
        described.cursor.node_id = self._hub.node_id
        return described

    def subscribers(self, record: ContextRecord) -> int:
        """How many have a document open at this node."""
        return self._hub.audience.of(record.guid)

    async def _reach(self, record: ContextRecord, wanted: context_pb2.Cursor, timeout_s: float) -> context_pb2.Cursor:
        """The cursor of this node's document once it has what a cursor says.

        Raises:
            Unavailable: BEHIND, it has not in time.
        """
        if wanted.guid and wanted.guid != record.guid:
            raise not_found(record.namespace, record.name, wanted.guid)
        described = await self.described(record)
        document = ContextId(record.guid, record.epoch)
        hub = self._hub
        if is_covered(described.cursor, document, wanted, hub.node_id, hub.coverage):
            return described.cursor
        changed = asyncio.Event()
        catching_up = asyncio.create_task(hub.coverage.catch_up(wanted.node_id, document, wanted.number, wanted.log))
        catching_up.add_done_callback(lambda _: changed.set())
        try:
            with hub.audience.subscribe(document, changed.set) as subscription:
                async with asyncio.timeout(timeout_s):
                    while not is_covered(described.cursor, document, wanted, hub.node_id, hub.coverage):
                        await changed.wait()
                        changed.clear()
                        subscription.drain()
                        described = await self.described(record)
        except TimeoutError:
            raise Unavailable("this node has not caught up with the cursor", reason=Reason.BEHIND) from None
        finally:
            catching_up.cancel()
            await asyncio.gather(catching_up, return_exceptions=True)
        return described.cursor

    # Reads.

    async def pull(
        self, request: context_pb2.PullRequest, caller: Caller
    ) -> AsyncGenerator[tuple[ContextRecord, PartOf], None]:
        """The document once, in parts: whole, what a state vector lacks, as JSON, as it was.

        Raises:
            NotFound: CONTEXT_NOT_FOUND, VERSION_NOT_FOUND, SEQ_NOT_FOUND, TIME_NOT_FOUND.
            Unavailable: BEHIND, WORKER_DOWN, CONTEXT_DAMAGED.
        """
        record = await self.find(request.context, caller.timeout_s)
        await self._reach(record, request.after, caller.timeout_s)
        async with contextlib.aclosing(self._pulled(record, request)) as parts:
            async for part in parts:
                yield record, part

    def _pulled(self, record: ContextRecord, request: context_pb2.PullRequest) -> AsyncGenerator[PartOf, None]:
        document = ContextId(record.guid, record.epoch)
        at = request.at if request.HasField("at") and request.at.WhichOneof("at") else None
        if at is not None and at.WhichOneof("at") == "version":
            cursor, content = self.version_content(record, at.version)
            if request.as_json:
                return self._questions.as_json(document, content=content)
            return _each(cut(content, cursor))
        if request.as_json:
            return self._questions.as_json(document, at=at)
        return self._questions.diff(document, request.state_vector, at=at)

    async def whole(self, document: ContextId, state_vector: bytes = b"") -> tuple[bytes, context_pb2.Cursor]:
        """What a state vector lacks of a document as one update, and what it holds. Raises as `Port.ask`."""
        pieces: list[bytes] = []
        cursor = context_pb2.Cursor()
        async with contextlib.aclosing(self._questions.diff(document, state_vector)) as parts:
            async for part in parts:
                pieces.append(part.data)
                cursor = part.cursor
        return b"".join(pieces), cursor

    def version_content(self, record: ContextRecord, name: str) -> tuple[context_pb2.Cursor, bytes]:
        """A version: its cursor, and the document as one update.

        Raises:
            NotFound: VERSION_NOT_FOUND.
        """
        version, compressed = self._decided.version(record, name)
        unpacked = zlib.decompressobj()
        try:
            content = unpacked.decompress(compressed, DOCUMENT_BYTES)
        except zlib.error as error:
            raise Corrupt(f"version {name!r} of context {record.name!r} cannot be read: {error}") from error
        if unpacked.unconsumed_tail:
            raise Invalid(f"version {name!r} is larger than {DOCUMENT_BYTES} bytes", reason=Reason.TOO_LARGE)
        return context_pb2.Cursor.FromString(version.cursor), content

    async def history(self, request: context_pb2.HistoryRequest, caller: Caller) -> context_pb2.HistoryResponse:
        """The edits that this node merged, oldest first."""
        record = await self.find(request.context, caller.timeout_s)
        asked = worker_pb2.History(
            id=_id_of(record),
            after_number=request.after_number,
            limit=page_items("limit", request.limit),
            actor=request.actor,
        )
        return (await self._hub.ask(record.guid, worker_pb2.Request(history=asked))).history

    async def blame(self, request: context_pb2.BlameRequest, caller: Caller) -> context_pb2.BlameResponse:
        """Who wrote what is there now."""
        record = await self.find(request.context, caller.timeout_s)
        asked = worker_pb2.Blame(id=_id_of(record), root=request.root, after=request.after)
        return (await self._hub.ask(record.guid, worker_pb2.Request(blame=asked))).blame

    async def overlaps(
        self, request: context_pb2.ListOverlapsRequest, caller: Caller
    ) -> context_pb2.ListOverlapsResponse:
        """Concurrent edits of one key or range."""
        record = await self.find(request.context, caller.timeout_s)
        asked = worker_pb2.Overlaps(
            id=_id_of(record), after_number=request.after_number, limit=page_items("limit", request.limit)
        )
        return (await self._hub.ask(record.guid, worker_pb2.Request(overlaps=asked))).overlaps

    async def restore(
        self, request: context_pb2.RestoreContextRequest, caller: Caller
    ) -> tuple[bool, context_pb2.Cursor]:
        """Makes the content what it was, as a new edit: whether that changed anything, and what the document holds.

        Raises:
            NotFound: nothing is kept of that time.
            Invalid: FOREIGN_WRITER, the writer id is not the caller's.
            Unavailable: CONTEXT_SEALED, WORKER_DOWN, CONTEXT_DAMAGED.
        """
        record = await self.find(request.context, caller.timeout_s)
        check_bytes("cause", request.cause.encode(), core_limits.CAUSE_BYTES)
        await self._check_writer(record, request.writer, caller)
        restore = worker_pb2.Restore(
            id=_id_of(record),
            writer=request.writer,
            schema=record.schema,
            edit=context_pb2.Edit(
                writer=request.writer, actor=caller.actor, cause=request.cause, node_id=self._hub.node_id
            ),
        )
        if request.at.WhichOneof("at") == "version":
            _, restore.content = self.version_content(record, request.at.version)
        else:
            restore.at.CopyFrom(request.at)
        done = await self._hub.restore(ContextId(record.guid, record.epoch), restore)
        return done.changed, (await self.described(record)).cursor

    async def _check_writer(self, record: ContextRecord, writer: int, caller: Caller) -> None:
        owner = await self._decided.owner_of(writer, caller.timeout_s)
        if owner is None or owner.namespace != record.namespace or owner.actor != caller.actor:
            raise Invalid(
                f"writer {writer} is not {caller.actor!r}'s",
                reason=Reason.FOREIGN_WRITER,
                metadata={"writer": str(writer), "actor": caller.actor},
            )

    # Versions: the content is merged, its name decided.

    async def save_version(self, request: context_pb2.SaveVersionRequest, caller: Caller) -> VersionRecord:
        """Names what the document is now, for ever.

        Raises:
            Refused: AlreadyExists, NotFound, Conflict (EPOCH_CONFLICT), Invalid (TOO_LARGE).
            Unavailable: BEHIND, WORKER_DOWN, CONTEXT_DAMAGED; nobody decides.
            Undecided: ask again.
        """
        record = await self.find(request.context, caller.timeout_s)
        check_name("name", request.name)
        await self._reach(record, request.after, caller.timeout_s)
        content, cursor = await self.whole(ContextId(record.guid, record.epoch))
        compressed = await asyncio.to_thread(zlib.compress, content)
        ref = request.agent
        target = Target(ref.namespace, ref.agent, ref.branch or MAIN) if request.HasField("agent") else None
        version = NewVersion(request.name, cursor.SerializeToString(), compressed, target, request.checkpoint)
        return await self._decided.save_version(
            record.guid, record.epoch, version, actor=caller.actor, timeout_s=caller.timeout_s
        )

    # Who is here.

    async def presence(
        self,
        opening: context_pb2.PresenceOpen,
        requests: AsyncIterator[context_pb2.PresenceRequest],
        caller: Caller,
    ) -> AsyncGenerator[list[context_pb2.PresenceState], None]:
        """States of presence that change, at first all there are.

        Raises:
            NotFound: there is no such context, or it was deleted.
            Invalid: FOREIGN_WRITER, or the stream breaks a rule.
            QuotaExceeded: PRESENCE_QUOTA, CONNECTION_QUOTA.
        """
        with self._present.open(caller.peer):
            record = await self.find(opening.context, caller.timeout_s)
            if opening.writer:
                await self._check_writer(record, opening.writer, caller)
            stream = PresenceStream(self._hub.presence, record.guid, opening.writer, caller.actor)
            async with contextlib.aclosing(stream.run(requests)) as changes:
                async for states in changes:
                    yield states


def _id_of(record: ContextRecord) -> peer_pb2.ContextId:
    return ContextId(record.guid, record.epoch).to_proto()


def _check_opening(opening: context_pb2.SyncOpen, caller: Caller) -> None:
    if len(opening.incarnation) != _INCARNATION_BYTES:
        raise Invalid(f"an incarnation has {_INCARNATION_BYTES} bytes", metadata={"field": "incarnation"})
    check_bytes("actor", caller.actor.encode(), core_limits.ACTOR_BYTES)


async def _each(parts: list[PartOf]) -> AsyncGenerator[PartOf, None]:
    for part in parts:
        yield part
