"""A context as its user holds it: a live local replica of a shared document."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from types import TracebackType
from typing import Final, Literal, Self

from tallystick._agent import Agent
from tallystick._calls import Calls
from tallystick._contexts import Contexts
from tallystick._json import JSON, JSONLike, decode
from tallystick._values import Consistency
from tallystick.contexts.audience import Audience, Told
from tallystick.contexts.changes import Change
from tallystick.contexts.cursor import Cursor
from tallystick.contexts.documents import Document
from tallystick.contexts.ending import end
from tallystick.contexts.holding import Holding
from tallystick.contexts.lib0 import covers, read_state_vector
from tallystick.contexts.link import Link, Origin
from tallystick.contexts.looking_back import changes_between, changes_since
from tallystick.contexts.past import At, Past
from tallystick.contexts.presence import Presence
from tallystick.contexts.records import BlameLine, Edit, Overlap, Version
from tallystick.contexts.refusals import Refusal
from tallystick.contexts.resolving import KeepBoth, Resolver, key_of, resolved
from tallystick.contexts.store import Store
from tallystick.contexts.stored import StoredContext
from tallystick.contexts.transacting import Transaction
from tallystick.contexts.views.board import BoardView
from tallystick.contexts.views.claims import Claims, claims_agent
from tallystick.contexts.views.counter import CounterView
from tallystick.contexts.views.list import ListView
from tallystick.contexts.views.map import MapView
from tallystick.contexts.views.register import RegisterView
from tallystick.contexts.views.roots import settle_all_roots
from tallystick.contexts.views.set import SetView
from tallystick.contexts.views.text import TextView
from tallystick.contexts.views.views import Views
from tallystick.contexts.writers import Writers
from tallystick.errors import Compacted, Invalid, TallystickError, Unavailable

OFFLINE_AFTER_S: Final = 2.0
"""How long opening waits for a node if the store holds the document already."""
CLOSE_S: Final = 2.0
"""How long closing waits until a node has what was edited."""

Ack = Literal["disk", "local", "quorum"]


class Context:
    """A shared document, live. Made by `Client.context`; used as `async with`.

    Edits are made on the local replica, through its views: they are seen here at once, never wait, and go out by
    themselves. `flush` waits until they are safe. All of it belongs to the thread of the event loop.

    Example:
        async with client.context("plan") as plan:
            plan.map("tasks")["t1"] = "claimed by migrator"
            await plan.flush()
    """

    def __init__(
        self, calls: Calls, contexts: Contexts, writers: Writers, origin: Origin, store: Store, *, timeout_s: float
    ) -> None:
        self._calls, self._origin, self._store, self._timeout_s = calls, origin, store, timeout_s
        self._audience = Audience()
        self._holding = Holding(
            actor=origin.actor,
            store=store,
            unix_ms=calls.outside.unix_ms,
            on_changes=self._audience.tell,
        )
        self._link = Link(calls, contexts, writers, origin, self._holding, store)
        self._stored = StoredContext(calls, contexts, writers, origin.ref, actor=origin.actor)
        self._past = Past(calls, origin.ref)
        self._presence = Presence(calls, origin.ref, actor=origin.actor, writer=self._writer_now)
        self._views = Views(self, self._claims_of)
        self._runner: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._runner is not None:
            raise RuntimeError("a context is opened once")
        self._calls.check_open()
        kept = await self._store.open()
        try:
            if kept.guid:
                self._holding.load(kept, await self._store.take_spare())
            self._runner = asyncio.create_task(self._link.run())
            await self._opened(is_held=bool(kept.guid) and self._origin.after is None)
            self._calls.observing.opened(self.name, lambda: self._link.standing.cursor)
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._link.standing.is_online:
            with suppress(TallystickError, TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await self._holding.until(self._is_synced_by_node)
        await self._end()

    # What it is.

    @property
    def name(self) -> str:
        """The context's name."""
        return self._origin.ref.name

    @property
    def actor(self) -> str:
        """Who edits."""
        return self._origin.actor

    @property
    def guid(self) -> bytes:
        """Names the document for ever; 16 bytes."""
        return self._holding.guid

    @property
    def epoch(self) -> int:
        """1, 2, ...: how often the document was rebuilt, and one more."""
        return self._holding.epoch

    @property
    def writer(self) -> int:
        """The id that this incarnation of the replica writes under; nobody else ever does.

        Raises:
            Unavailable: there is none yet, and none can be had offline.
        """
        return self._holding.replica.writer

    @property
    def schema(self) -> JSON:
        """What the context was created with: `{"roots": {name: {"type": ...}}, "strict": ...}`; None: nothing."""
        return decode(self._holding.schema)

    @property
    def doc(self) -> Document:
        """The replica as it is now: a `pycrdt.Doc`. It may become another one: keep nothing of it across an await."""
        return self._holding.replica.doc

    @property
    def is_online(self) -> bool:
        """A node is there, and the replica had all it has."""
        return self._link.standing.is_online

    @property
    def unsent(self) -> int:
        """Edits that no majority has acknowledged yet."""
        return len(self._holding.outbox)

    @property
    def cursor(self) -> Cursor:
        """What the replica holds, as far as a node has acknowledged it: take it after a `flush`, hand it to others.

        Raises:
            Unavailable: no node was reached yet.
        """
        if self._link.standing.cursor is None:
            raise Unavailable("no node has said yet what it holds")
        return self._link.standing.cursor

    def unix_ms(self) -> int:
        """Milliseconds since 1970, by this machine's clock."""
        return self._calls.outside.unix_ms()

    # What is in it.

    def map(self, name: str) -> MapView:
        """A map: the last writer wins, key by key."""
        return self._views.map(name)

    def list(self, name: str) -> ListView:
        """A list."""
        return self._views.list(name)

    def text(self, name: str) -> TextView:
        """A text."""
        return self._views.text(name)

    def counter(self, name: str) -> CounterView:
        """A counter: additions are summed."""
        return self._views.counter(name)

    def set(self, name: str) -> SetView:
        """A set in which adding wins over removing."""
        return self._views.set(name)

    def register(self, name: str) -> RegisterView:
        """A register that keeps all concurrent values."""
        return self._views.register(name)

    def board(self, name: str) -> BoardView:
        """A board of tasks: their fields merge, who works on which is decided by a majority."""
        return self._views.board(name)

    def to_json(self) -> dict[str, JSON]:
        """The content as JSON, each root as its kind is shown."""
        return self._views.to_json()

    # Editing.

    def transaction(self, cause: str = "") -> Transaction:
        """One edit: what happens inside becomes one update. Inside another one it is part of that.

        If the block raises, what it edited is undone. With `async with` the edit is on the local disk afterwards, if
        there is a store.

        Args:
            cause: what led to it, for the record.

        Raises:
            Unavailable: no writer id can be had offline.
            Overloaded: too many edits wait for a majority.
            Invalid: it is larger than 1 MiB; it is taken back.
        """
        return Transaction(self, self._holding.replica.transaction(cause))

    def undo(self) -> bool:
        """Undoes the last transaction of this replica, and nothing of others; False: there is none."""
        return self._holding.replica.undo()

    def redo(self) -> bool:
        """Does again what was undone last; False: nothing was, or something was edited since."""
        return self._holding.replica.redo()

    async def flush(self, *, ack: Ack = "quorum", timeout_s: float | None = None) -> Cursor | None:
        """Waits until all edits made so far are as safe as `ack` says.

        Args:
            ack: "disk": committed by the local store, so that they outlive this process; without a store at once.
                "local": synced to the disk of a node. "quorum": to the disks of a majority.

        Returns:
            What the replica holds then; None with "disk" while no node was reached.

        Raises:
            Unavailable: that is out of reach in this time. The edits are kept, and go on.
            Refused: an edit was refused since the last flush; it is no part of the document.
        """
        if ack not in ("disk", "local", "quorum"):
            raise Invalid(f"no such level: {ack!r}", metadata={"field": "ack"})
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        try:
            async with asyncio.timeout(limit_s):
                await self._reached(ack)
        except TimeoutError:
            raise Unavailable(
                f"{self.unsent} edits of {self.name!r} did not get as far as {ack!r} in {limit_s} s; they are kept",
                metadata={"unsent": str(self.unsent)},
            ) from self._link.standing.failure
        self._holding.refusals.raise_first()
        return self._link.standing.cursor

    def on_refused(self, callback: Callable[[Refusal], None]) -> Callable[[], None]:
        """Calls it with every edit that is refused for good; what is returned ends that."""
        return self._holding.refusals.listen(callback)

    # Watching.

    def observe(self, callback: Callable[[Sequence[Change]], None]) -> Callable[[], None]:
        """Calls it, within each edit, with what that changes, here or elsewhere; it must not edit.

        What is returned ends it. Roots are watched from when their kind is known here.
        """
        self._watch()
        return self._audience.add(callback)

    def changes(self) -> AsyncGenerator[Told, None]:
        """Every change from now on, in order; `Lagged` in place of those that were not taken in time.

        Raises:
            TallystickError: what ended the context.
        """
        self._watch()
        return self._audience.iterate(self._audience.open_queue())

    async def since(self, cursor: Cursor, *, timeout_s: float | None = None) -> Sequence[Change]:
        """What changed since that cursor, in order, with authors as far as they are known.

        Raises:
            Compacted: neither this replica nor the cursor's node remembers so far back; or it is of an older epoch.
            Invalid: the cursor is of another document.
        """
        if cursor.guid != self.guid:
            raise Invalid("the cursor is of another document", metadata={"field": "cursor"})
        if cursor.epoch != self.epoch:
            raise Compacted(f"the cursor is of epoch {cursor.epoch}, the context in {self.epoch}")
        settle_all_roots(self.doc)
        types = self.doc.typed
        changes = changes_since(await self._store.history(), cursor, types, self.actor)
        if changes is not None:
            return changes
        old = await self._past.document_at(cursor, timeout_s)
        blame = await self._stored.blame(timeout_s=timeout_s)
        return changes_between(old, self.doc.get_update(), types, blame)

    @property
    def presence(self) -> Presence:
        """Who is here, and what they do."""
        return self._presence

    # The past, as nodes keep it. Numbers are those of the node that answers.

    def history(
        self, *, after_number: int = 0, actor: str = "", timeout_s: float | None = None
    ) -> AsyncGenerator[Edit, None]:
        """The edits after a number, oldest first; of this actor alone, if it is named."""
        return self._stored.history(after_number=after_number, actor=actor, timeout_s=timeout_s)

    async def blame(self, root: str = "", *, timeout_s: float | None = None) -> Sequence[BlameLine]:
        """Who wrote what is there now; of this root alone, if it is named."""
        return await self._stored.blame(root, timeout_s=timeout_s)

    def overlaps(self, *, after_number: int = 0, timeout_s: float | None = None) -> AsyncGenerator[Overlap, None]:
        """Concurrent edits of one key or range, as the node found them, oldest first."""
        return self._stored.overlaps(after_number=after_number, timeout_s=timeout_s)

    async def resolve(self, resolver: Resolver, *, after_number: int = 0, timeout_s: float | None = None) -> int:
        """Offers each overlap to the resolver, and writes what it rules.

        The resolver returns the value to write at the overlap's path, or `KEEP_BOTH` to leave what was merged; a
        coroutine function may ask somebody. A value is written for a key of a map; for other overlaps it edits by
        itself and returns `KEEP_BOTH`.

        Returns:
            The number of the last overlap that was offered, for `after_number` of the next call at the same node.

        Raises:
            Invalid: it returned a value for an overlap that is not of a key.
        """
        number = after_number
        async with aclosing(self.overlaps(after_number=after_number, timeout_s=timeout_s)) as overlaps:
            async for overlap in overlaps:
                answer = await resolved(resolver, overlap)
                if not isinstance(answer, KeepBoth):
                    self._rule(overlap, answer)
                number = overlap.number
        return number

    def versions(
        self, *, consistency: Consistency = Consistency.LINEARIZABLE, timeout_s: float | None = None
    ) -> AsyncGenerator[Version, None]:
        """The named versions, by name."""
        return self._stored.versions(consistency=consistency, timeout_s=timeout_s)

    async def save_version(
        self,
        name: str,
        *,
        agent: str = "",
        checkpoint: str = "",
        branch: str = "",
        timeout_s: float | None = None,
    ) -> Version:
        """Names what the document is now, for ever, with all that was edited here; decided.

        Args:
            agent: whose checkpoint it belongs to, with `checkpoint`.

        Raises:
            AlreadyExists: the name is taken by another state.
            Unavailable: edits of this replica have not reached a majority in time.
        """
        cursor = await self.flush(timeout_s=timeout_s)
        return await self._stored.save_version(
            name, after=cursor, agent=agent, checkpoint=checkpoint, branch=branch, timeout_s=timeout_s
        )

    async def restore(self, at: At, *, cause: str = "", timeout_s: float | None = None) -> bool:
        """Makes the content what it was: a new edit, which merges like any other. Whether it changed anything.

        It returns once this replica has it.

        Args:
            at: a number of the answering node's update log, an aware time, or the name of a version.

        Raises:
            NotFound: nothing is kept of then.
        """
        await self.flush(timeout_s=timeout_s)
        changed, cursor = await self._stored.restore(at, cause=cause, timeout_s=timeout_s)
        wanted = read_state_vector(cursor.state_vector)
        try:
            async with asyncio.timeout(self._timeout_s if timeout_s is None else timeout_s):
                await self._holding.until(
                    lambda: covers(read_state_vector(self._holding.replica.state_vector()), wanted)
                )
        except TimeoutError:
            raise Unavailable("the content is restored, but this replica has not heard of it yet") from None
        return changed

    async def show(self, at: At, *, timeout_s: float | None = None) -> JSON:
        """The content as JSON, as it was: at a number, a time, or a version.

        Raises:
            NotFound: nothing is kept of then.
        """
        return await self._stored.show(at, timeout_s=timeout_s)

    # Behind it.

    async def _opened(self, *, is_held: bool) -> None:
        limit_s = OFFLINE_AFTER_S if is_held else self._timeout_s
        try:
            async with asyncio.timeout(limit_s):
                await self._holding.until(lambda: self._link.standing.has_caught_up)
        except TimeoutError:
            if not is_held:
                raise Unavailable(
                    f"the context {self.name!r} could not be opened within {limit_s} s"
                ) from self._link.standing.failure

    async def _end(self) -> None:
        """Ends all of it; a failure of one part leaves none of the others open."""
        runner, self._runner = self._runner, None
        self._calls.observing.closed(self.name)
        try:
            await self._presence.close()
        finally:
            try:
                if runner is not None:
                    await end(runner)
            finally:
                ended = Unavailable(f"the context {self.name!r} is closed")
                self._holding.end(ended)
                self._audience.end(ended)
                self._holding.replica.close()
                await self._store.close()

    async def _reached(self, ack: Ack) -> None:
        if ack == "disk":
            await self._store.synced()
            return
        last_id = self._holding.outbox.made_id
        refused = len(self._holding.refusals)

        def is_reached() -> bool:
            holding = self._holding
            if len(holding.refusals) > refused:
                return True
            reached_id = holding.outbox.local_id if ack == "local" else holding.outbox.quorum_id
            return not holding.is_remaking and reached_id >= max(last_id, holding.remade_id)

        await self._holding.until(is_reached)

    def _is_synced_by_node(self) -> bool:
        outbox = self._holding.outbox
        return outbox.local_id >= outbox.made_id or not len(outbox)

    def _claims_of(self, root: str) -> Claims:
        outside, origin = self._calls.outside, self._origin
        log = Agent(
            self._calls,
            namespace=origin.ref.namespace,
            name=claims_agent(self.guid, root),
            actor=origin.actor,
            consistency=Consistency.LINEARIZABLE,
        )
        return Claims(log, outside, actor=origin.actor, holder=outside.new_key())

    def _watch(self) -> None:
        settle_all_roots(self.doc)
        self._holding.replica.watch()

    def _writer_now(self) -> int | None:
        replica = self._holding.replica
        return replica.writer if replica.has_writer else None

    def _rule(self, overlap: Overlap, value: JSONLike) -> None:
        root, key = key_of(overlap)
        with self.transaction(f"resolve:{overlap.number}"):
            self.map(root)[key] = value
