"""What an agent holds of one document: the replica, the edits on their way, and where they are kept.

Rules of this file:
- Nothing here waits or talks to a node; `link` does. All state that both ends of a link touch is here.
- What others edited is applied, then kept; what is edited here is put on its way and kept, in this order, in one step.
- When the document must be exchanged (`begin`), the edits that are still on their way go along: those of the same epoch
  as they are, those that cannot are made again (`rebase`), each with its own cause.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from tallystick.contexts.changes import Author, Change
from tallystick.contexts.documents import guarded
from tallystick.contexts.outbox import Outbox
from tallystick.contexts.rebase import Remake, remade
from tallystick.contexts.refusals import Refusals
from tallystick.contexts.replica import Made, Replica
from tallystick.contexts.rows import Kept, Level, Row
from tallystick.contexts.store import Store
from tallystick.contexts.views.roots import settle_all_roots
from tallystick.errors import Invalid, Overloaded, Reason, TallystickError


class Holding:
    """See the module.

    Args:
        actor: who edits here.
        store: opened.
        unix_ms: a clock.
        on_changes: told what changed, if anybody watches.

    Attributes:
        is_remaking: edits are out of the outbox, to be made again.
        remade_id: of the last edit that was.
        sent_before: writer ids that earlier processes sent under.
    """

    def __init__(
        self,
        *,
        actor: str,
        store: Store,
        unix_ms: Callable[[], int],
        on_changes: Callable[[Sequence[Change]], None],
    ) -> None:
        self._actor, self._store, self._unix_ms = actor, store, unix_ms
        self._on_changes = on_changes
        self.outbox = Outbox()
        self.replica = Replica(self._made, self._check, unix_ms)
        self.guid = b""
        self.epoch = 0
        self.schema = b""
        self.error: TallystickError | None = None
        self.refusals = Refusals()
        self.more = asyncio.Event()
        self._progress = asyncio.Event()
        self._last_id = 0
        self.is_remaking = False
        self.remade_id = 0
        self.sent_before: frozenset[int] = frozenset()
        self._time_unix_ms: int | None = None

    # What it is made of.

    def load(self, kept: Kept, writer: int | None) -> None:
        """Goes on from what a store held.

        Raises:
            Corrupt: it cannot be read.
        """
        self.guid, self.epoch, self.schema = kept.guid, kept.epoch, kept.schema
        self.sent_before = frozenset(kept.sent)
        rows = sorted({row.id: row for row in (*kept.rows, *kept.pending)}.values(), key=lambda row: row.id)
        self._last_id = rows[-1].id if rows else 0
        updates = (kept.base, *(row.update for row in kept.rows))
        self.replica.replace(writer, (update for update in updates if update))
        for row in kept.pending:
            self.outbox.add(row)
        self.more.set()

    def begin(self, *, guid: bytes, epoch: int, schema: bytes, content: bytes, writer: int | None) -> None:
        """Takes the document of a node in place of what it has; edits of this epoch that are on their way stay.

        Args:
            content: all of it.
            writer: a fresh id, for what is edited from now on.

        Raises:
            Corrupt: the content cannot be applied.
        """
        kept = self.outbox.rows if epoch == self.epoch else ()
        changes = self.replica.replace(writer, (content, *(row.update for row in kept)))
        self.guid, self.epoch, self.schema = guid, epoch, schema
        self._store.begin(guid, epoch, schema, self.replica.doc.get_update(), self.outbox.rows)
        self._tell(changes)
        self.moved_on()

    def make_again(self, edits: Sequence[Remake]) -> None:
        """Makes these edits again, each as of its own time; one that cannot be made counts as refused."""
        for edit in edits:
            self._time_unix_ms = edit.row.time_unix_ms
            try:
                if not edit.steps:
                    raise Invalid(
                        "it cannot be made again: what it changed is not known", reason=Reason.INVALID_OPERATION
                    )
                with guarded(), self.replica.transaction(edit.row.cause):
                    edit.make(self.replica.doc)
            except TallystickError as error:
                self.refused(edit.row, error)
            finally:
                self._time_unix_ms = None
        self.is_remaking = False
        if edits:
            self.remade_id = self._last_id
        self.moved_on()

    def take_writer(self, writer: int) -> None:
        """An id for a replica that could not be edited so far."""
        self.replica.replace(writer, (self.replica.doc.get_update(),))
        self.moved_on()

    # What comes and goes.

    def came(self, update: bytes, author: Author, writer: int = 0) -> None:
        """What others edited.

        Raises:
            Corrupt: it cannot be applied: the document has to be fetched anew.
        """
        changes = self.replica.apply(update)
        self._last_id += 1
        self._store.add(
            Row(
                id=self._last_id,
                update=update,
                is_local=False,
                writer=writer,
                epoch=self.epoch,
                time_unix_ms=author.time_unix_ms,
                actor=author.actor,
                cause=author.cause,
                node_id=author.node_id,
                level=Level.QUORUM,
            )
        )
        self.squash()
        self._tell([change.by(author) for change in changes])
        self.moved_on()

    def acked(self, number: int, level: Level) -> None:
        """A node acknowledges what was sent."""
        self.outbox.acked(number, level)
        self._store.reached(self.outbox.local_id, self.outbox.quorum_id)
        self.more.set()
        self.moved_on()

    def squash(self) -> None:
        """Makes what is here the base of a store that has become long."""
        if self._store.is_long and not self.replica.is_editing:
            self._store.squash(self.replica.doc.get_update())

    def settled(self, through_id: int) -> None:
        """Edits up to this one are part of what was decided."""
        self.outbox.done(through_id)
        self._store.reached(self.outbox.local_id, self.outbox.quorum_id)
        self.moved_on()

    def refuse(self, row: Row, error: TallystickError) -> list[Row]:
        """This edit was refused for good. It leaves the outbox, and those after it with it, to be made again."""
        _, *rest = self.outbox.cut(row.id)
        self.is_remaking = self.is_remaking or bool(rest)
        self.refused(row, error)
        return rest

    def refused(self, row: Row, error: TallystickError) -> None:
        """Remembers a refusal for who asks, and tells it."""
        self.refusals.add(row, error)
        self.moved_on()

    # Waiting.

    def moved_on(self) -> None:
        """Wakes who waits for something here."""
        self._progress.set()
        self._progress = asyncio.Event()

    async def idle(self) -> None:
        """Waits until no local transaction is open; then none is before the caller waits again.

        It also waits for a store that is behind.

        Raises:
            Unavailable: its disk is full or fails.
        """
        if self._store.is_behind:
            await self._store.synced()
        while self.replica.is_editing:
            await self.replica.ended.wait()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits until it holds.

        Raises:
            TallystickError: the context has ended.
        """
        while not condition():
            if self.error is not None:
                raise self.error
            await self._progress.wait()

    def end(self, error: TallystickError) -> None:
        """Nothing more can be edited or waited for."""
        self.error = self.error or error
        self.moved_on()

    def rest_of(self, before: bytes, rows: Sequence[Row]) -> list[Remake]:
        """Edits to be made again: what they change in the document that they were made on."""
        settle_all_roots(self.replica.doc)
        return remade(before, rows, self.replica.doc.typed)

    # What the replica calls.

    def _check(self) -> None:
        if self.error is not None:
            raise self.error
        if self._store.is_behind:
            raise Overloaded("the local disk is behind: no more edits are taken")
        self.outbox.check_room()

    def _made(self, made: Made) -> None:
        self._last_id += 1
        row = Row(
            id=self._last_id,
            update=made.update,
            is_local=True,
            writer=made.writer,
            epoch=self.epoch,
            time_unix_ms=self._unix_ms() if self._time_unix_ms is None else self._time_unix_ms,
            actor=self._actor,
            cause=made.cause,
        )
        self.outbox.add(row)
        self._store.add(row)
        self.more.set()
        if made.changes:
            author = Author(self._actor, made.cause, row.time_unix_ms, is_local=True)
            self._tell([change.by(author) for change in made.changes])

    def _tell(self, changes: Sequence[Change]) -> None:
        if changes:
            self._on_changes(changes)
