"""What a replica is made of: its base, and the updates since, in the order in which they were applied here."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


class Level(enum.IntEnum):
    """How far a local edit has come; each level includes those before it."""

    MADE = 0
    LOCAL = 1  # synced to the disk of the node that took it
    QUORUM = 2  # to those of a majority of the voters; of what came from others, it is what counts as done


@dataclass(slots=True)
class Row:
    """One update.

    Attributes:
        id: 1, 2, ... in the order in which they were applied to this replica.
        update: in Yjs's format v1.
        is_local: made here, by this incarnation or an earlier one.
        writer: whose ids it advances; 0: several, or not known.
        epoch: of the replica that it was applied to.
        actor: who made it; "": not known.
        node_id: the node that took it.
        goes_alone: it was refused as part of a group: it is sent by itself.
        first_id: of the oldest edit in it, where several were merged into one; 0: it is only one.
    """

    id: int
    update: bytes
    is_local: bool
    writer: int
    epoch: int
    time_unix_ms: int
    actor: str = ""
    cause: str = ""
    node_id: str = ""
    level: Level = Level.MADE
    goes_alone: bool = False
    first_id: int = 0


@dataclass(slots=True)
class Kept:
    """What a store holds of one document.

    Attributes:
        guid: of the document; empty: nothing is held.
        schema: JSON text; empty: none.
        base: the content that the rows build on.
        rows: what was applied since.
        pending: local edits that no majority has; some may be in the base.
        sent: writers of which something was sent.
    """

    guid: bytes = b""
    epoch: int = 0
    schema: bytes = b""
    base: bytes = b""
    rows: list[Row] = field(default_factory=list)
    pending: list[Row] = field(default_factory=list)
    sent: set[int] = field(default_factory=set)

    @property
    def is_pending_in_base(self) -> bool:
        """The content without the pending edits is not known."""
        known = {row.id for row in self.rows}
        return any(row.id not in known for row in self.pending)
