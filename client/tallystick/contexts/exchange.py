"""The document is fetched whole, in place of what is here: which edits are made again on what was fetched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tallystick.contexts.holding import Holding
from tallystick.contexts.rebase import Remake, content_with
from tallystick.contexts.rows import Row
from tallystick.contexts.store import Store
from tallystick.errors import TallystickError


@dataclass(slots=True)
class Exchange:
    """The document is to be fetched whole.

    Attributes:
        before: the document that `rest` was made on; None: the fetched one, with `refused`.
        refused: the edit that was refused.
        rest: edits to be made again.
        again_from: so are those from this one on, which were made on `before`; 0: no others.
    """

    before: bytes | None = None
    refused: Row | None = None
    rest: Sequence[Row] = ()
    again_from: int = 0

    def again(self, holding: Holding, content: bytes, epoch: int) -> list[Remake]:
        """The edits to be made again on the fetched document; they leave the outbox."""
        rest = list(self.rest)
        if self.refused is not None:
            rest += holding.outbox.cut(self.refused.id)
        elif self.again_from:
            rest += holding.outbox.cut(self.again_from)
        elif epoch != holding.epoch:
            rest += holding.outbox.cut(0)
        if not rest:
            return []
        before = self.before
        if before is None:
            refused = [self.refused.update] if self.refused is not None else []
            kept = [row.update for row in holding.outbox.rows]
            before = content_with(content, [*kept, *refused])
        self.rest = rest  # should it fail, they are not lost
        return holding.rest_of(before, rest)


async def of_all_that_waits(holding: Holding, store: Store, error: TallystickError) -> Exchange:
    """No node carries the old edits over any more: they are made again from what the store remembers.

    Args:
        error: what a node said; edits that the store no longer tells apart are refused with it.
    """
    kept = await store.history()
    first, *_ = holding.outbox.rows
    if kept.is_pending_in_base:
        for row in holding.outbox.cut(first.id):
            holding.refused(row, error)
        return Exchange(before=holding.replica.doc.get_update())
    waiting = {row.id for row in holding.outbox.rows}
    return Exchange(before=content_with(kept.base, [row.update for row in kept.rows if row.id not in waiting]))
