"""Every limit of the merged half, each with what it bounds. All of them may change from release to release."""

from __future__ import annotations

from typing import Final

from tallystick_node.core import limits as core_limits

UPDATE_BYTES: Final = 1024 * 1024
"""One update of a client; a peer's diff may have as much as a document."""

DOCUMENT_BYTES: Final = 64 * 1024 * 1024
"""One document, encoded; an update that leads beyond is refused as `CONTEXT_QUOTA`."""

DOCUMENT_WRITERS: Final = 50_000
"""Writer ids of one document; an update by one more is refused as `WRITERS_QUOTA`."""

UPDATE_DEPTH: Final = 64
"""Nesting of a value inside an update, and of types inside types."""

DOCUMENT_ROOTS: Final = 1000
"""Roots of one document."""

SEED_BYTES: Final = 256 * 1024
"""What a document begins with."""

SCHEMA_BYTES: Final = 64 * 1024
"""The schema of a document."""

BASE_BYTES: Final = 1536 * 1024
"""What an epoch begins with: it goes through the log. A document whose content is larger has no new epochs."""

VERSION_BYTES: Final = 1536 * 1024
"""A named version, compressed: it goes through the log."""

WRITERS_BLOCK: Final = 1024
"""Writer ids handed out at once."""

FIRST_WRITER: Final = core_limits.FIRST_WRITER
"""Writer ids that are handed out begin here; below are those that Yjs clients draw by themselves."""

LAST_WRITER: Final = core_limits.LAST_WRITER
"""JavaScript counts no further."""

LAST_CLOCK: Final = 2**31 - 1
"""Ids of one writer in one document; yrs counts them in 32 bits."""

BASE_WRITER: Final = 1
"""Writes seeds and the bases of epochs."""

PRESENCE_BYTES: Final = 8 * 1024
"""One presence state."""

PRESENCE_STATES: Final = 1000
"""Presence states of one document."""

PRESENCE_TTL_S: Final = 30.0
"""A presence that is not repeated for so long is gone."""

CONNECTION_DOCUMENTS: Final = 1000
"""Documents that one connection has open at once."""

SUBSCRIBER_BYTES: Final = 4 * 1024 * 1024
"""What waits for one subscriber; one that lags further is sent a diff instead."""

PART_BYTES: Final = 256 * 1024
"""One part of what is sent in parts, to clients, between nodes and between a node and its worker."""

LOADED_BYTES: Final = 256 * 1024 * 1024
"""Documents that a worker keeps loaded, by their encoded size; those not used for longest go first."""

LOADED_DOCUMENTS: Final = 2000
"""Documents that a worker keeps loaded, whatever their size."""

HISTORY_UPDATES: Final = 200_000
"""Updates kept for the history of one document; older ones are squashed into its base."""

HISTORY_BYTES: Final = 128 * 1024 * 1024
"""The same, in bytes."""

WORKER_REQUESTS: Final = 2000
"""Requests under way at a worker; more are refused as `OVERLOADED`."""

WORKER_BYTES: Final = 32 * 1024 * 1024
"""What they may hold together."""
