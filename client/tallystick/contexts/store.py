"""Where a replica keeps what it holds: in memory here, in a file in `local_store`.

Rules of this file:
- A store holds one document: its base, the rows since, and the edits on their way. Rows are kept in order up to a
  bound; beyond it they become the base.
- `add` never waits; `synced` waits until what was added is as safe as the store can make it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tallystick.contexts.limits import LOG_BYTES, LOG_UPDATES
from tallystick.contexts.rows import Kept, Level, Row


class Store(Protocol):
    """See the module. Every method belongs to the event loop's thread."""

    @property
    def is_durable(self) -> bool:
        """What it holds outlives the process."""
        ...

    @property
    def is_long(self) -> bool:
        """The rows have passed their bound: `squash` is due."""
        ...

    @property
    def is_behind(self) -> bool:
        """So much waits for it that nothing should be added."""
        ...

    async def open(self) -> Kept:
        """What it holds.

        Raises:
            Conflict: another has it open.
            Corrupt: it is damaged.
        """
        ...

    async def history(self) -> Kept:
        """What it holds now, for those who look back."""
        ...

    async def take_spare(self) -> int | None:
        """A writer id that was put here; it is given once, and never again even after a crash."""
        ...

    async def put_spares(self, writers: Sequence[int]) -> None:
        """Writer ids for later starts."""
        ...

    async def spares(self) -> int:
        """How many there are."""
        ...

    async def drop_spares(self) -> None:
        """None of them is to be given."""
        ...

    def begin_sending(self, writer: int) -> None:
        """From now on edits made under this id are sent."""
        ...

    def begin(self, guid: bytes, epoch: int, schema: bytes, base: bytes, pending: Sequence[Row]) -> None:
        """Another content in place of all: the pending edits are in the base."""
        ...

    def add(self, row: Row) -> None:
        """One more update."""
        ...

    def reached(self, local_id: int, quorum_id: int) -> None:
        """Local edits up to these have come so far."""
        ...

    def squash(self, base: bytes) -> None:
        """The present content as the base; the rows go."""
        ...

    async def synced(self) -> None:
        """Waits until everything so far is kept.

        Raises:
            Unavailable: the disk is full or fails; it is tried again with the next.
        """
        ...

    async def close(self) -> None:
        """Keeps what is still to be kept, and ends."""
        ...


class MemoryStore:
    """`Store` of a replica that lives as long as its process."""

    is_durable = False

    def __init__(self) -> None:
        self._kept = Kept()
        self._size_bytes = 0
        self._spares: list[int] = []

    @property
    def is_long(self) -> bool:
        """See `Store`."""
        return self._size_bytes > max(LOG_BYTES, len(self._kept.base)) or len(self._kept.rows) > LOG_UPDATES

    @property
    def is_behind(self) -> bool:
        """See `Store`."""
        return False

    async def open(self) -> Kept:
        """See `Store`."""
        return self._kept

    async def history(self) -> Kept:
        """See `Store`."""
        return self._kept

    async def take_spare(self) -> int | None:
        """See `Store`."""
        return self._spares.pop(0) if self._spares else None

    async def put_spares(self, writers: Sequence[int]) -> None:
        """See `Store`."""
        self._spares.extend(writers)

    async def spares(self) -> int:
        """See `Store`."""
        return len(self._spares)

    async def drop_spares(self) -> None:
        """See `Store`."""
        self._spares.clear()

    def begin_sending(self, writer: int) -> None:
        """See `Store`."""
        self._kept.sent.add(writer)

    def begin(self, guid: bytes, epoch: int, schema: bytes, base: bytes, pending: Sequence[Row]) -> None:
        """See `Store`."""
        self._kept = Kept(guid, epoch, schema, base, pending=list(pending), sent=self._kept.sent)
        self._size_bytes = 0

    def add(self, row: Row) -> None:
        """See `Store`."""
        self._kept.rows.append(row)
        self._size_bytes += len(row.update)
        if row.is_local:
            self._kept.pending.append(row)

    def reached(self, local_id: int, quorum_id: int) -> None:
        """See `Store`."""
        pending = self._kept.pending
        done = 0
        while done < len(pending) and pending[done].id <= quorum_id:
            done += 1
        del pending[:done]
        for row in pending:
            if row.id > local_id or row.level >= Level.LOCAL:
                break
            row.level = Level.LOCAL

    def squash(self, base: bytes) -> None:
        """See `Store`."""
        self._kept.base = base
        self._kept.rows = []
        self._size_bytes = 0

    async def synced(self) -> None:
        """See `Store`."""

    async def close(self) -> None:
        """See `Store`."""
