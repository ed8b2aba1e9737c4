"""The documents that are loaded, and how they are.

Rules of this file:
- A document is loaded from its newest stored state and the updates behind it. What cannot be read so is
  `CONTEXT_DAMAGED` until it is forgotten.
- What a batch touched is saved before the batch is committed. If it is not committed, what it touched is dropped.
- The cache is bounded by bytes and documents. Of an idle document nothing is kept in memory.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from typing import Final

from tallystick.errors import Conflict, Reason, Unavailable
from tallystick_node.contexts import limits
from tallystick_node.contexts.desk import limits as own
from tallystick_node.contexts.desk.crdt import Crdt, CrdtFailed
from tallystick_node.contexts.desk.digests import Sums
from tallystick_node.contexts.desk.rows import LAST_NUMBER, DocumentRow, RowDamaged, Rows
from tallystick_node.contexts.ids import ContextId
from tallystick_node.contexts.updates import digest as digests
from tallystick_node.contexts.updates.places import Places

_UNBORN: Final = 0
_OVERHEAD_BYTES: Final = 4096
"""What a loaded document costs at least."""


class Loaded:
    """A document in memory.

    Attributes:
        row: its row; of a life 0 as long as nothing of it is stored.
        vector: its state vector.
        state_number: of the newest stored state.
        state_bytes: its size.
        tail_updates, tail_bytes: what lies behind it.
        is_changed: the row is to be saved.
        places: where its ids stand, once a client has edited it; see `standing`.
        is_unplaced: that cannot be said.
    """

    __slots__ = (
        "_deletes_digest", "_deletes_number", "crdt", "is_changed", "is_unplaced", "places", "row", "state_bytes",
        "state_number", "tail_bytes", "tail_updates", "vector",
    )  # fmt: skip

    def __init__(self, row: DocumentRow, crdt: Crdt, vector: dict[int, int]) -> None:
        self.row = row
        self.crdt = crdt
        self.vector = vector
        self.state_number = row.base_number
        self.state_bytes = 0
        self.tail_updates = 0
        self.tail_bytes = 0
        self.is_changed = False
        self.places: Places | None = None
        self.is_unplaced = False
        self._deletes_number = -1
        self._deletes_digest = b""

    @property
    def id(self) -> ContextId:
        """Which it is."""
        return self.row.id

    @property
    def size_bytes(self) -> int:
        """Encoded; an estimate, rather too large."""
        return self.state_bytes + self.tail_bytes

    def deletes_digest(self) -> bytes:
        """16 bytes over what is deleted in it. Raises CrdtFailed."""
        if self._deletes_number != self.row.number:
            self._deletes_digest = digests.deletes_digest(self.crdt.deletes())
            self._deletes_number = self.row.number
        return self._deletes_digest

    def quick_deletes_digest(self) -> bytes:
        """The same where it costs little, else empty. Raises CrdtFailed."""
        return self.deletes_digest() if self.crdt.has_few_deletes else b""

    def take_digest(self) -> bytes:
        """Its digest, kept with its row. Raises CrdtFailed."""
        if self.row.digest is None:
            self.row.digest = digests.digest(self.id.guid, self.id.epoch, self.vector, self.crdt.deletes())
            self.is_changed = True
        return self.row.digest

    @property
    def wants_state(self) -> bool:
        """Whether loading it would take too long."""
        if self.tail_updates >= own.STATE_UPDATES and self.tail_bytes * own.STATE_PART >= self.state_bytes:
            return True
        if self.tail_bytes >= max(own.STATE_BYTES_AT_MOST, self.state_bytes):
            return True
        return self.tail_updates >= own.STATE_UPDATES_AT_MOST


class Library:
    """The documents of a database.

    Args:
        rows: the database.
        sums: hears which documents change.
        loaded_bytes, loaded_documents: what is kept loaded.
    """

    def __init__(
        self,
        rows: Rows,
        sums: Sums,
        *,
        loaded_bytes: int = limits.LOADED_BYTES,
        loaded_documents: int = limits.LOADED_DOCUMENTS,
    ) -> None:
        self._rows = rows
        self._sums = sums
        self._loaded_bytes = loaded_bytes
        self._loaded_documents = loaded_documents
        self._loaded: OrderedDict[bytes, Loaded] = OrderedDict()
        self._touched: dict[bytes, None] = {}

    def __len__(self) -> int:
        return len(self._loaded)

    def open(self, document: ContextId) -> Loaded:
        """The document, loaded; an empty one of life 0 where nothing of it is stored.

        Raises:
            Conflict: EPOCH_CONFLICT, it is in another epoch here.
            Unavailable: CONTEXT_DAMAGED.
        """
        loaded = self.find(document.guid)
        if loaded is None:
            row = DocumentRow(_UNBORN, document, 0, 0, 0, 0, None)
            return Loaded(row, Crdt(), {})
        if loaded.id.epoch != document.epoch:
            raise Conflict(
                f"the context is in epoch {loaded.id.epoch} here, not {document.epoch}",
                reason=Reason.EPOCH_CONFLICT,
                metadata={"epoch": str(loaded.id.epoch)},
            )
        return loaded

    def find(self, guid: bytes) -> Loaded | None:
        """The document, whatever its epoch. Raises Unavailable: CONTEXT_DAMAGED."""
        loaded = self._loaded.get(guid)
        if loaded is not None:
            self._loaded.move_to_end(guid)
            return loaded
        try:
            row = self._rows.document(guid)
            if row is None:
                return None
            loaded = self._load(row)
        except (RowDamaged, CrdtFailed) as error:
            raise damaged(guid) from error
        self._loaded[guid] = loaded
        return loaded

    def peek(self, guid: bytes) -> Loaded | None:
        """The document, if it is loaded."""
        return self._loaded.get(guid)

    def begin(self, document: ContextId, number: int) -> Loaded:
        """Begins a life; nothing must be stored of the document."""
        loaded = Loaded(self._rows.begin(document, number), Crdt(), {})
        self._loaded[document.guid] = loaded
        self.touch(loaded)
        return loaded

    def bear(self, loaded: Loaded) -> None:
        """Stores that there is this document, if that is not so yet."""
        if loaded.row.life == _UNBORN:
            loaded.row = self._rows.begin(loaded.id, self._rows.floor())
            loaded.state_number = loaded.row.base_number
            self._loaded[loaded.id.guid] = loaded
        self.touch(loaded)

    def touch(self, loaded: Loaded) -> None:
        """It changes in this batch."""
        self._sums.changed(loaded.id.guid, loaded.row.digest)
        loaded.row.digest = None
        loaded.is_changed = True
        self._touched[loaded.id.guid] = None

    def drop(self, guid: bytes) -> None:
        """Lets go of it; it is loaded again from what is stored, this batch's rows included."""
        loaded = self._loaded.pop(guid, None)
        if loaded is None:
            return
        loaded.crdt.close()
        if loaded.is_changed:
            self._sums.changed(guid, loaded.row.digest)
            loaded.row.digest = None
            self._rows.save(loaded.row)

    def forget(self, guid: bytes) -> bool:
        """Removes all that is stored of it; whether there was anything. Numbers are not given again."""
        loaded = self._loaded.pop(guid, None)
        if loaded is not None:
            loaded.crdt.close()
        remains = self._rows.remains(guid)
        if remains is None:
            return False
        life, digest = remains
        self._sums.changed(guid, loaded.row.digest if loaded is not None else digest)
        self._rows.raise_floor(max(loaded.row.number if loaded is not None else 0, self._rows.last_number(guid)))
        self._rows.end(life)
        self._touched[guid] = None
        return True

    # The end of a batch.

    def touched(self) -> list[Loaded]:
        """What was touched and is loaded."""
        return [loaded for guid in self._touched if (loaded := self._loaded.get(guid)) is not None]

    def save(self) -> None:
        """Saves the rows of what was touched. Raises DiskFull."""
        for loaded in self.touched():
            self._rows.save(loaded.row)
            loaded.is_changed = False

    def shrink(self) -> dict[bytes, bytes | None]:
        """Lets go of what was not used for longest, beyond the bounds; what it counts with now, if that is new."""
        gone: dict[bytes, bytes | None] = {}
        total = sum(loaded.size_bytes + _OVERHEAD_BYTES for loaded in self._loaded.values())
        while len(self._loaded) > self._loaded_documents or (total > self._loaded_bytes and len(self._loaded) > 1):
            guid, loaded = self._loaded.popitem(last=False)
            total -= loaded.size_bytes + _OVERHEAD_BYTES
            with contextlib.suppress(CrdtFailed):  # it stays stale, and is found damaged when it is loaded for that
                self._sums.settle(guid, loaded.take_digest())
            if loaded.is_changed:
                gone[guid] = loaded.row.digest
                self._rows.save(loaded.row)
            loaded.crdt.close()
        return gone

    def settle(self) -> None:
        """Takes the digests of all that is stale, but for what is damaged."""
        for guid in self._sums.stale:
            try:
                loaded = self.find(guid)
                if loaded is None:
                    self._sums.drop(guid)
                else:
                    self._sums.settle(guid, loaded.take_digest())
            except (Unavailable, CrdtFailed):
                continue

    def committed(self) -> None:
        """The batch is on disk."""
        self._touched.clear()

    def rolled_back(self) -> None:
        """Nothing of the batch was stored: all that it touched is dropped."""
        for guid in self._touched:
            loaded = self._loaded.pop(guid, None)
            if loaded is not None:
                loaded.crdt.close()
        self._touched.clear()

    # Loading.

    def at(self, row: DocumentRow, number: int) -> Crdt:
        """A copy of the document as it was at a number that is kept. Raises RowDamaged, CrdtFailed."""
        crdt = Crdt()
        after = row.base_number
        if (found := self._rows.state(row.life, number)) is not None:
            after = found[0]
            crdt.apply_all((found[1],))
        crdt.apply_all(entry.data for entry in self._rows.entries(row.life, after, number) if entry.data is not None)
        return crdt

    def _load(self, row: DocumentRow) -> Loaded:
        crdt = Crdt()
        loaded = Loaded(row, crdt, {})
        found = self._rows.state(row.life, LAST_NUMBER)
        if found is not None:
            loaded.state_number, loaded.state_bytes = found[0], len(found[1])
            crdt.apply_all((found[1],))
        expected = loaded.state_number
        for entry in self._rows.entries(row.life, loaded.state_number, LAST_NUMBER):
            expected += 1
            if entry.number != expected:
                raise RowDamaged
            if entry.data is not None:
                crdt.apply_all((entry.data,))
                loaded.tail_updates += 1
                loaded.tail_bytes += len(entry.data)
        if expected < row.number:
            raise RowDamaged
        row.number = expected
        loaded.vector = crdt.vector()
        return loaded


def damaged(guid: bytes) -> Unavailable:
    """What is answered for a document that cannot be read here."""
    return Unavailable(f"what is stored of context {guid.hex()} is damaged", reason=Reason.CONTEXT_DAMAGED)
