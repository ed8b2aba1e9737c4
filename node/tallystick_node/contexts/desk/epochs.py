"""Epochs: a document rebuilt without its past, and what comes late from the epoch before.

Rules of this file:
- The base of an epoch is the content under ids of writer 1, and says in the reserved root what it was made of: the
  state vector of the sealed document.
- The content at the seal is kept, with the base: the two are equal, so a change of the one can be made in the other at
  the same places. Each writer has a pair of its own; so what its updates become is the same on any node, as long as
  they are sent again as they were, and merging it twice does no harm.
- A node that had more than was sealed carries that over itself, under a fresh writer. One that had less keeps no pair:
  it answers BEHIND to whoever comes late, and another node carries it over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from pycrdt import Map

from tallystick.errors import Invalid, QuotaExceeded, Reason, Unavailable
from tallystick.v1 import context_pb2
from tallystick.worker.v1 import worker_pb2
from tallystick_node.contexts.desk.copying import copy_roots
from tallystick_node.contexts.desk.crdt import Crdt, CrdtFailed, guarded
from tallystick_node.contexts.desk.library import Library, Loaded
from tallystick_node.contexts.desk.merging import Merger
from tallystick_node.contexts.desk.rendering import RESERVED_ROOT, check_readable
from tallystick_node.contexts.desk.replaying import replay
from tallystick_node.contexts.desk.rows import DocumentRow, Rows
from tallystick_node.contexts.ids import ContextId
from tallystick_node.contexts.limits import BASE_WRITER
from tallystick_node.contexts.updates import state_vectors
from tallystick_node.contexts.updates.admission import Origin, admit
from tallystick_node.contexts.updates.decode import decode

CARRIED_UPDATES: Final = 10_000
"""Updates of one writer that are carried over into one epoch."""

_SEALED: Final = "sealed"
"""The key in the reserved root: the state vector of what a base was made of."""
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
        guarded(_mark_sealed, made, state_vectors.encode(loaded.vector))
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
        old_state, beyond = self._beyond(before, start.base) if is_next else (b"", [])
        self._library.forget(document.guid)
        loaded = self._library.begin(document, before.row.number)
        self._rows.put_epoch(loaded.row.life, old_state, start.base)
        self._merger.merge(loaded, start.base, Origin.SEED, edit, start.now_unix_ms)
        done = worker_pb2.Done(changed=True)
        if beyond:
            done.merged.CopyFrom(self._carry_own(loaded, start, beyond))
        return done

    def _find_or_forget(self, guid: bytes) -> Loaded | None:
        try:
            return self._library.find(guid)
        except Unavailable:  # damaged: the new epoch is whole without it
            self._library.forget(guid)
            return None

    def _beyond(self, before: Loaded, base: bytes) -> tuple[bytes, list[bytes]]:
        """The sealed content, empty if this node cannot have it; and the updates this node had beyond it, behind what
        they follow."""
        sealed = _sealed_of(base)
        if before.vector == sealed:
            return before.crdt.encode(), []
        within = Crdt()
        later: list[bytes] = []
        row = before.row
        if (found := self._rows.state(row.life, row.base_number)) is not None:
            within.apply_all((found[1],))
        for entry in self._rows.entries(row.life, row.base_number, row.number):
            if entry.data is None:
                continue
            if _is_within(entry.data, sealed):
                within.apply_all((entry.data,))
            else:
                later.append(entry.data)
        state = within.encode()
        if not later:
            return b"", []
        # An update that straddles the seal brings what is sealed too; the rest of it counts as beyond.
        return (state if within.vector() == sealed else b""), [state, *later]

    def _carry_own(self, loaded: Loaded, start: worker_pb2.StartEpoch, beyond: list[bytes]) -> worker_pb2.Merged:
        old, mirror = Crdt(), Crdt(start.writer)
        old.apply_all(beyond[:1])
        mirror.apply_all((start.base,))
        update = replay(old, mirror, beyond[1:])
        edit = context_pb2.Edit(writer=start.writer, cause="carried over", time_unix_ms=start.now_unix_ms)
        merged = self._merger.merge(
            loaded, update, Origin.CLIENT, edit, start.now_unix_ms, schema=start.schema, may_clash=True
        )
        merged.update = update
        return merged

    # What comes late.

    def carry_over(
        self, loaded: Loaded, update: bytes, edit: context_pb2.Edit, now_unix_ms: int, schema: bytes = b""
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
        merged = self._merger.merge(loaded, made, Origin.CLIENT, edit, now_unix_ms, schema=schema)
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


def _mark_sealed(crdt: Crdt, vector: bytes) -> None:
    marks: Map[object] = crdt.doc.get(RESERVED_ROOT, type=Map)
    marks[_SEALED] = vector


def _sealed_of(base: bytes) -> dict[int, int]:
    crdt = Crdt()
    crdt.apply_all((base,))
    marks: Map[object] = crdt.doc.get(RESERVED_ROOT, type=Map)
    vector = marks.get(_SEALED) if _SEALED in marks else None
    return state_vectors.decode(bytes(vector)) if isinstance(vector, (bytes, bytearray)) else {}


def _is_within(update: bytes, vector: Mapping[int, int]) -> bool:
    return all(ranges[-1][1] <= vector.get(writer, 0) for writer, ranges in decode(update).ranges.items() if ranges)
