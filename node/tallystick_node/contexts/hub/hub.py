"""The node's side of its documents: every edit passes here, on its way to the worker and from there to who must hear.

    merge -> chores of the document settled -> worker: checked, merged, on disk -> subscribers here, peers, acks

Rules of this file:
- What was merged is told in the order of the update log, whoever asked for it and whether or not it still waits.
- Subscribers here are told of an edit of another node's as soon as it is merged, also before it is on this disk; if
  that comes to nothing, they lag. Peers and acks wait for the disk.
- Where the order is not known (an answer was lost with the worker), the document's subscribers lag: a diff tells them.
- It knows documents by guid and epoch: names, actors and whether a document exists are `context_store`'s.
- No clock, no randomness of its own; no task outlives `close`.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Coroutine
from typing import Final, NamedTuple, TypeAlias

from tallystick.errors import NotFound, Reason, TallystickError, Unavailable
from tallystick.v1 import context_pb2
from tallystick.worker.v1 import worker_pb2
from tallystick_node.contexts.hub.acks import Acks
from tallystick_node.contexts.hub.audience import Audience
from tallystick_node.contexts.hub.chores import Chores
from tallystick_node.contexts.hub.coverage import Coverage, NoCoverage
from tallystick_node.contexts.hub.presence import Presence
from tallystick_node.contexts.hub.subscriptions import Pushed, Subscription
from tallystick_node.contexts.ids import ContextId
from tallystick_node.contexts.port import OnEarly, Port

COUNT_EVERY_S: Final = 5
"""How often the documents are counted."""

SETTLE_S: Final = 30.0
"""How long a question waits for the worker to hear of what was decided before."""

LOCAL_ORIGINS = frozenset({worker_pb2.ORIGIN_CLIENT, worker_pb2.ORIGIN_WEB})
"""What is pushed to other nodes by this one: edits that were made here."""


class LocalEdit(NamedTuple):
    """An edit that this node took, on its disk: for the other nodes. An empty update: only the number is told, and who
    lacks something asks for a diff."""

    document: ContextId
    number: int
    update: bytes
    edit: context_pb2.Edit
    log: bytes = b""
    """The name of the log that the number is of."""


LocalListener: TypeAlias = Callable[[LocalEdit], None]
Admit: TypeAlias = Callable[[ContextId, worker_pb2.Origin.ValueType], None]


class Census(NamedTuple):
    """How many documents have content here, and how many are in memory."""

    documents: int
    loaded: int


class Hub:
    """See the module.

    Args:
        port: the documents.
        node_id: this node.
        clock: seconds that never go back.
        unix_ms: Unix time in milliseconds: a stamp.
        voters: the node ids of the voters of this moment.

    Attributes:
        audience: who has documents open here.
        acks: how far other nodes have this node's logs.
        presence: who is here.
        chores: what the worker has yet to hear.
        coverage: what this node has of others' logs; `peers` puts its own in.
        census: how many documents there are, as of some seconds ago.
        admit: raises what speaks against a merge at this moment, as far as it was decided; `context_store` puts it in.
    """

    def __init__(
        self,
        port: Port,
        *,
        node_id: str,
        clock: Callable[[], float],
        unix_ms: Callable[[], int],
        voters: Callable[[], frozenset[str]],
    ) -> None:
        self._port = port
        self.node_id = node_id
        self._unix_ms = unix_ms
        self._under_way: set[asyncio.Task[worker_pb2.Merged]] = set()
        self._on_local: list[LocalListener] = []
        self.audience = Audience()
        self.acks = Acks(node_id, voters)
        self.presence = Presence(clock)
        self.chores = Chores()
        self.coverage: Coverage = NoCoverage()
        self.admit: Admit = _admit_all
        self.census = Census(0, 0)

    @property
    def is_up(self) -> bool:
        """Whether the worker answers at the moment."""
        return self._port.is_up

    async def count(self) -> None:
        """Asks the worker how many documents it has: `census`. Raises as `Port.ask`."""
        asked = worker_pb2.Request(list_documents=worker_pb2.ListDocuments(limit=1))
        listed = (await self._port.ask(asked)).documents
        self.census = Census(listed.documents, listed.loaded)

    def on_local(self, listener: LocalListener) -> None:
        """From now on this hears of each edit that this node takes, in order. It must not block."""
        self._on_local.append(listener)

    # Asking the worker.

    async def ask(self, guid: bytes, request: worker_pb2.Request) -> worker_pb2.Response:
        """A question about a document, once the worker knows what was decided of it. Raises as `Port.ask`."""
        await self._settled(guid)
        return await self._port.ask(request)

    async def merge(
        self, document: ContextId, merge: worker_pb2.Merge, sender: Subscription | None = None
    ) -> worker_pb2.Merged:
        """Checks, merges and stores an update; then those who must hear of it have been told.

        Calls are handed to the worker in the order in which they are made. A caller that is cancelled changes nothing:
        what the worker was asked is told all the same.

        Args:
            merge: the update, and whose it is; id and time are filled in.
            sender: the subscription that is not told, because its owner has the update.

        Raises:
            Refused: the update is not to be believed, or too much; the context was deleted, or is in another epoch.
            Unavailable: WORKER_DOWN, it is not known whether it was merged; CONTEXT_SEALED, BEHIND, CONTEXT_DAMAGED;
                OVERLOADED.
        """
        return await asyncio.shield(self.start_merge(document, merge, sender))

    def start_merge(
        self, document: ContextId, merge: worker_pb2.Merge, sender: Subscription | None = None
    ) -> asyncio.Task[worker_pb2.Merged]:
        """`merge`, begun: it goes on whatever becomes of its caller."""
        merge.id.CopyFrom(document.to_proto())
        merge.now_unix_ms = self._unix_ms()
        return self._start(self._merge(document, merge, sender))

    async def restore(self, document: ContextId, restore: worker_pb2.Restore) -> worker_pb2.Done:
        """Makes the content what it was: an edit of this node's. Raises as `merge`."""
        restore.now_unix_ms = restore.edit.time_unix_ms = self._unix_ms()
        done: list[worker_pb2.Done] = []

        async def ask() -> worker_pb2.Merged:
            response = await self._asked(document, worker_pb2.Request(restore=restore), worker_pb2.ORIGIN_CLIENT)
            done.append(response.done)
            self._tell(document, response.done.merged, response.done.merged.update, None, is_local=True)
            return response.done.merged

        await asyncio.shield(self._start(ask()))
        return done[0]

    # Ack levels.

    def note_ack(self, peer_id: str, document: ContextId, number: int, whole: int) -> None:
        """A peer has on disk what this node pushed of a document up to `number`, and all of its log up to `whole`."""
        self.acks.note(peer_id, document, number, whole)

    async def reached_quorum(self, document: ContextId, number: int, log: bytes = b"") -> None:
        """Returns once a majority has this node's log up to `number`. Raises NotFound: the document was deleted."""
        if number == 0:
            return
        if not self.acks.knows(document):
            self._tell_peers(LocalEdit(document, number, b"", context_pb2.Edit(), log))
        await self.acks.reached(document, number)

    # What is decided.

    def deleted(self, guid: bytes) -> None:
        """The document is gone: subscribers hear it, the worker forgets it."""
        self.presence.forget(guid)
        self.acks.forget(guid)
        self.audience.end(guid, NotFound("the context was deleted", reason=Reason.CONTEXT_NOT_FOUND))
        self._forget(guid)

    async def forget(self, guid: bytes) -> None:
        """A document is damaged here: drops it, so that it can be fetched from another node."""
        self._forget(guid)
        await self.chores.settled(guid)
        self.audience.lag(guid)

    def created(self, document: ContextId, seed: bytes) -> None:
        """A document begins with this content, if there is any."""
        if not seed:
            return

        async def begin() -> None:
            merge = worker_pb2.Merge(
                id=document.to_proto(), origin=worker_pb2.ORIGIN_SEED, update=seed, now_unix_ms=self._unix_ms()
            )
            await self._port.ask(worker_pb2.Request(merge=merge))

        self.chores.add(document.guid, begin)

    def epoch_started(
        self,
        document: ContextId,
        base: bytes,
        fresh_writer: Callable[[], Coroutine[None, None, int]],
        schema: bytes = b"",
    ) -> None:
        """The document goes on in a new epoch; what this node had beyond its base is carried over.

        Args:
            fresh_writer: gives a writer id that nobody had.
            schema: of the context.
        """

        async def start() -> None:
            request = worker_pb2.StartEpoch(
                id=document.to_proto(),
                base=base,
                now_unix_ms=self._unix_ms(),
                writer=await fresh_writer(),
                schema=schema,
            )
            response = await self._port.ask(worker_pb2.Request(start_epoch=request))
            merged = response.done.merged
            number = merged.number if merged.is_novel else 0
            self.acks.moved(document, number)
            self.audience.move(document, number, merged.log)
            if merged.is_novel:
                self._tell(document, merged, merged.update, None, is_local=True)

        self.chores.add(document.guid, start)

    async def run(self) -> None:
        """Lets presence pass and counts documents, until it is cancelled."""
        for second in itertools.count():
            await asyncio.sleep(1.0)
            self.presence.expire()
            self.acks.settle()
            if second % COUNT_EVERY_S == 0 and self.is_up:
                with contextlib.suppress(TallystickError):  # it is counted the next time
                    await self.count()

    async def close(self) -> None:
        """Ends all subscriptions and what is under way."""
        self.audience.stop()
        await self.chores.close()
        under_way = list(self._under_way)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    # Inside.

    def _forget(self, guid: bytes) -> None:
        async def forget() -> None:
            await self._port.ask(worker_pb2.Request(forget=worker_pb2.Forget(guid=guid)))

        self.chores.add(guid, forget, instead=True)

    def _start(self, merging: Coroutine[None, None, worker_pb2.Merged]) -> asyncio.Task[worker_pb2.Merged]:
        task = asyncio.get_running_loop().create_task(merging, name="merge")
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[worker_pb2.Merged]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # its caller may have gone: then nobody else looks at it

    async def _merge(
        self, document: ContextId, merge: worker_pb2.Merge, sender: Subscription | None
    ) -> worker_pb2.Merged:
        told_early = False

        def tell_early(response: worker_pb2.Response) -> None:
            nonlocal told_early
            told_early = True
            self._tell(document, response.merged, response.merged.update or merge.update, sender, is_local=False)

        try:
            response = await self._asked(document, worker_pb2.Request(merge=merge), merge.origin, tell_early)
        except TallystickError:
            if told_early:
                self.audience.lag(document.guid)  # in vain: its number may become another's
            raise
        merged = response.merged
        if not told_early:
            self._tell(document, merged, merged.update or merge.update, sender, is_local=merge.origin in LOCAL_ORIGINS)
        return merged

    async def _settled(self, guid: bytes) -> None:
        if self.chores.is_settled(guid):
            return
        try:
            async with asyncio.timeout(SETTLE_S):
                await self.chores.settled(guid)
        except TimeoutError:
            message = "the node's worker has not heard yet of what was decided of the context"
            raise Unavailable(message, reason=Reason.WORKER_DOWN) from None

    async def _asked(
        self,
        document: ContextId,
        request: worker_pb2.Request,
        origin: worker_pb2.Origin.ValueType,
        on_early: OnEarly | None = None,
    ) -> worker_pb2.Response:
        await self._settled(document.guid)
        self.admit(document, origin)  # nothing may come between this and the question: a seal would be passed
        try:
            return await self._port.ask(request, on_early)
        except TallystickError as error:
            if error.reason is Reason.WORKER_DOWN:
                self.audience.lag(document.guid)  # it may have been merged, and its number told to nobody
            raise

    def _tell(
        self,
        document: ContextId,
        merged: worker_pb2.Merged,
        update: bytes,
        sender: Subscription | None,
        *,
        is_local: bool,
    ) -> None:
        if merged.lacks_state_vector:
            return
        if merged.is_novel and not update:
            self.audience.lag(document.guid)  # it came in parts, and is not at hand
        elif merged.is_novel:
            pushed = Pushed(merged.number, update, merged.edit, merged.state_vector, merged.log)
            self.audience.push(document, pushed, sender)
        if is_local:
            self.acks.merged(document, merged.number, is_novel=merged.is_novel)
            told = update if merged.is_novel else b""
            self._tell_peers(LocalEdit(document, merged.number, told, merged.edit, merged.log))

    def _tell_peers(self, edit: LocalEdit) -> None:
        for listener in self._on_local:
            listener(edit)


def _admit_all(document: ContextId, origin: worker_pb2.Origin.ValueType) -> None:
    """`Hub.admit` of a hub that was not told what is decided."""
    del document, origin
