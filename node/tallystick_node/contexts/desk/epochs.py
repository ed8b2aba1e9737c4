"""Epochs: a document rebuilt without its past, and what comes late from the epoch before.

Rules of this file:
- The base of an epoch is the content under ids of writer 1, and says what it was made of (`sealing`).
- The content at the seal is kept, with the base: the two are equal, so a change of the one can be made in the other at
  the same places. Each writer has a pair of its own; so what its updates become is the same on any node, as long as
  they are sent again as they were, and merging it twice does no harm.
- A node that had more than was sealed carries that over itself, as if its authors had sent it now: so it is there once,
  whatever other nodes had it, and whoever sends it again. Only what builds on others' edits beyond the seal, or is of
  several, goes under a fresh writer; if another node had it too, it is there twice.
- A node that had less keeps no pair: it answers BEHIND to whoever comes late, and another node carries it over. All
  that it had beyond the seal goes under a fresh writer.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from tallystick.errors import Invalid, QuotaExceeded, Reason, TallystickError, Unavailable
from tallystick.v1 import context_pb2
from tallystick.worker.v1 import worker_pb2
from tallystick_node.contexts.desk.copying import copy_roots
from tallystick_node.contexts.desk.crdt import Crdt, CrdtFailed, guarded
from tallystick_node.contexts.desk.library import Library, Loaded
from tallystick_node.contexts.desk.merging import Merger
from tallystick_node.contexts.desk.rendering import check_readable
from tallystick_node.contexts.desk.replaying import replay
from tallystick_node.contexts.desk.rows import DocumentRow, Rows
from tallystick_node.contexts.desk.sealing import Beyond, Late, mark, parted
from tallystick_node.contexts.ids import ContextId
from tallystick_node.contexts.limits import BASE_WRITER
from tallystick_node.contexts.updates import state_vectors
from tallystick_node.contexts.updates.admission import Origin, admit

CARRIED_UPDATES: Final = 10_000
"""Updates of one writer that are carried over into one epoch."""

_NO_UPDATE: Final = b"\x00\x00"


class _Pair(NamedTuple):
    """The epoch before and this one, for one writer."""

    life: int
    writer: int
    turns: int
    old: Crdt
    mirror: Crdt


class Epochs:
    """Begins epochs in a library."""

    def __init__(self, rows: Rows, library: Library, merger: Merger) -> None:
        self._rows = rows
        self._library = library
        self._merger = merger
        self._pair: _Pair | None = None

    def rebuild(self, document: ContextId) -> bytes:
        """The content as a fresh update of writer 1. Raises as `Library.open`; Invalid: INVALID_VALUE;
        CrdtFailed."""
        loaded = self._library.open(document)
        made = Crdt(BASE_WRITER)
        check_readable(loaded.crdt)
        guarded(copy_roots, loaded.crdt, made)
        guarded(mark, made, loaded.vector, loaded.crdt.deletes())
        base = made.encode()
        made.close()
        return base

    # A new epoch.

    def start(self, start: worker_pb2.StartEpoch) -> worker_pb2.Done:
        """Begins an epoch with its base; again, or late, it changes nothing.

        Raises:
            Invalid: the base is no update of writer 1 alone.
        """
        document = ContextId.of(start.id)
        edit = context_pb2.Edit(writer=BASE_WRITER)
        before = self._find_or_forget(document.guid)
        if before is not None and before.id.epoch > document.epoch:
            return worker_pb2.Done()
        if before is None or before.id.epoch == document.epoch:
            loaded = before or self._library.open(document)
            if start.base:
                merged = self._merger.merge(loaded, start.base, Origin.SEED, edit, start.now_unix_ms)
                return worker_pb2.Done(changed=merged.is_novel)
            return worker_pb2.Done()
        admit(start.base, {}, origin=Origin.SEED)
        # A base says what was sealed in the epoch right before it: of an older one it is not known what lies beyond.
        is_next = before.id.epoch == document.epoch - 1
        beyond = parted(self._rows, before, start.base) if is_next else Beyond(b"", b"", ())
        self._library.forget(document.guid)
        loaded = self._library.begin(document, before.row.number)
        self._rows.put_epoch(loaded.row.life, beyond.old_state, start.base)
        self._merger.merge(loaded, start.base, Origin.SEED, edit, start.now_unix_ms)
        done = worker_pb2.Done(changed=True)
        if beyond.later:
            done.merged.CopyFrom(self._carry_own(start, beyond))
        return done

    def _find_or_forget(self, guid: bytes) -> Loaded | None:
        try:
            return self._library.find(guid)
        except Unavailable:  # damaged: the new epoch is whole without it
            self._library.forget(guid)
            return None

    def _carry_own(self, start: worker_pb2.StartEpoch, beyond: Beyond) -> worker_pb2.Merged:
        """Carries over what this node had beyond the seal; the last that changed something, with its update if it is
        the only one."""
        found: list[worker_pb2.Merged] = []
        old_updates, made_updates, left = [beyond.state], [start.base], list[bytes]()
        for late in beyond.later:
            carried = self._carry_late(late, start) if beyond.old_state else None
            if carried is None:
                left.append(late.update)
                continue
            old_updates.append(late.update)
            if carried.is_novel:
                made_updates.append(carried.update)
                found.append(carried)
        if left:
            found.append(self._carry_left(start, old_updates, made_updates, left))
        novel = [merged for merged in found if merged.is_novel]
        if len(novel) > 1:
            novel[-1].update = b""
        return novel[-1] if novel else worker_pb2.Merged()

    def _carry_late(self, late: Late, start: worker_pb2.StartEpoch) -> worker_pb2.Merged | None:
        """As if its author sent it now; None: it builds on what is not of that author alone, or cannot be carried."""
        if late.edit is None or not late.edit.writer:
            return None
        loaded = self._library.open(ContextId.of(start.id))
        try:
            carried = self.carry_over(loaded, late.update, late.edit, start.now_unix_ms, start.schema, may_clash=True)
        except TallystickError:
            return None
        return None if carried.lacks_state_vector else carried

    def _carry_left(
        self, start: worker_pb2.StartEpoch, old_updates: list[bytes], made_updates: list[bytes], left: list[bytes]
    ) -> worker_pb2.Merged:
        """What is left, under a fresh writer, where all the rest is there."""
        old, mirror = Crdt(), Crdt(start.writer)
        old.apply_all(old_updates)
        mirror.apply_all(made_updates)
        update = replay(old, mirror, left)
        edit = context_pb2.Edit(writer=start.writer, cause="carried over", time_unix_ms=start.now_unix_ms)
        merged = self._merger.merge(
            self._library.open(ContextId.of(start.id)), update, Origin.CLIENT, edit, start.now_unix_ms,
            schema=start.schema, may_clash=True,
        )  # fmt: skip
        merged.update = update
        return merged

    # What comes late.

    def carry_over(
        self,
        loaded: Loaded,
        update: bytes,
        edit: context_pb2.Edit,
        now_unix_ms: int,
        schema: bytes = b"",
        *,
        may_clash: bool = False,
    ) -> worker_pb2.Merged:
        """Merges what a writer made in the epoch before, as the same change in this one; the schema is minded as for
        any edit of a client.

        Raises:
            Unavailable: BEHIND, this node does not have the content at the seal.
            Conflict: EPOCH_CONFLICT, it changes what cannot be carried over.
            Invalid, QuotaExceeded: as `Merger.merge`.
        """
        pair = self._pair_of(loaded.row, edit.writer)
        self._pair = None
        admitted = admit(
            update, pair.old.vector(), origin=Origin.CLIENT, writer=edit.writer, known_deletes=pair.old.deletes()
        )
        if admitted.lacks:
            lacks = state_vectors.encode(pair.old.vector())
            return worker_pb2.Merged(number=loaded.row.number, lacks_state_vector=lacks)
        if pair.turns >= CARRIED_UPDATES:
            raise QuotaExceeded(
                f"{CARRIED_UPDATES} updates of a writer are carried over, no more", reason=Reason.CONTEXT_QUOTA
            )
        made = _NO_UPDATE
        if admitted.is_novel:
            made = self._replay(pair, update)
        merged = self._merger.merge(loaded, made, Origin.CLIENT, edit, now_unix_ms, schema=schema, may_clash=may_clash)
        if merged.is_novel:
            merged.update = made
        if admitted.is_novel:
            self._library.touch(loaded)
            self._rows.carry(pair.life, pair.writer, pair.turns + 1, update, made)
            self._pair = pair._replace(turns=pair.turns + 1)
        return merged

    def _replay(self, pair: _Pair, update: bytes) -> bytes:
        try:
            return replay(pair.old, pair.mirror, (update,))
        except CrdtFailed as error:
            raise Invalid(f"pycrdt refuses the update: {error}", reason=Reason.MALFORMED_UPDATE) from error

    def _pair_of(self, row: DocumentRow, writer: int) -> _Pair:
        turns = self._rows.turns(row.life, writer)
        if self._pair is not None and self._pair[:3] == (row.life, writer, turns):
            return self._pair
        epoch = self._rows.epoch(row.life)
        if epoch is None or not epoch[0]:
            raise Unavailable("this node does not have what the epoch began from", reason=Reason.BEHIND)
        old, mirror = Crdt(), Crdt(writer)
        old.apply_all((epoch[0],))
        mirror.apply_all((epoch[1],))
        for old_update, new_update in self._rows.carried(row.life, writer):
            old.apply_all((old_update,))
            mirror.apply_all((new_update,))
        return _Pair(row.life, writer, turns, old, mirror)
