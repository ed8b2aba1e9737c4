"""Every limit of the client's side of contexts, each with what it bounds. They may change from release to release."""

from __future__ import annotations

from typing import Final

UPDATE_BYTES: Final = 1024 * 1024
"""One update, as the nodes take it; a transaction that makes a larger one is undone and refused."""

OUTBOX_BYTES: Final = 64 * 1024 * 1024
"""Edits that no majority has acknowledged yet; an edit beyond is refused as `OVERLOADED`, before it is made."""

OUTBOX_UPDATES: Final = 500_000
"""The same, in updates."""

GROUP_UPDATES: Final = 500
"""Updates of one cause that are sent as one when they wait together."""

GROUP_BYTES: Final = 128 * 1024
"""The same, in bytes."""

GROUP_SPAN_MS: Final = 1000
"""How far apart in time such updates may have been made."""

UNANSWERED: Final = 256
"""Updates on one stream that the node has not acknowledged; more wait in the outbox."""

WRITERS_ASKED: Final = 8
"""Writer ids asked for at once, spares for offline starts included."""

BACKLOG_BYTES: Final = 16 * 1024 * 1024
"""What waits for a store on disk: beyond it nothing is read from the node, and no edit is taken."""

SPARES: Final = 4
"""Writer ids that a store on disk keeps for starts without a node."""

PRESENCE_BYTES: Final = 8 * 1024
"""What one says of itself."""

CHANGES_QUEUED: Final = 10_000
"""Changes that wait for one observer; one that lags further is told so, and misses what is dropped."""

LOG_BYTES: Final = 8 * 1024 * 1024
"""Updates that a replica keeps behind its base; older ones are squashed into it."""

LOG_UPDATES: Final = 100_000
"""The same, in updates."""

UNDO_STEPS: Final = 200
"""What can be undone; older steps are forgotten."""

DOCUMENT_BYTES: Final = 80 * 1024 * 1024
"""What a node may send as one document before the replica takes it for damage."""
