"""The bounds of what goes between nodes of contexts. Made into a page of the docs: each says what it bounds."""

from __future__ import annotations

from typing import Final

CONTEXT_QUEUE_BYTES: Final = 8 * 1024 * 1024
"""Edits that wait for one peer. Beyond, they are dropped, and their documents are offered: the peer asks for diffs."""

CONTEXT_FRAME_BYTES: Final = 1024 * 1024
"""Edits are joined in a frame up to here; a larger one goes alone."""

CONTEXT_FRAME_ITEMS: Final = 1000
"""Edits, offers, acks or questions in one frame."""

PUSHED_UPDATE_BYTES: Final = 1024 * 1024 + 64 * 1024
"""A larger update is not pushed: its document is offered."""

UNACKED_DOCUMENTS: Final = 100_000
"""Documents of which a peer has not acknowledged all. Those beyond are not offered when it comes back: comparing finds
them."""

DIFFS_AT_ONCE: Final = 8
"""Diffs that are made for one peer at a time."""

DIFFS_WANTED: Final = 100_000
"""Diffs that one peer has asked for and that are not begun. Those beyond are dropped: it asks again."""

DIFF_BYTES: Final = 96 * 1024 * 1024
"""One diff of a peer: a document, and what its encoding may add."""

DIFF_EDITS_BYTES: Final = 2 * 1024 * 1024
"""Who made what is in a diff, the newest edits first; of what is older it is not known."""

PARTS_QUEUED: Final = 4
"""Parts of diffs that wait for the stream to one peer."""

OWED_DOCUMENTS: Final = 100_000
"""Documents of which a peer's stream brought something that could not be merged yet. Beyond, the stream is ended: the
peer dials again, and offers."""

ASKED_AT_ONCE: Final = 64
"""Documents of which this node asks its worker for the state vector at a time, to ask a peer for what follows it."""

ASK_AGAIN_MIN_S: Final = 2.0
"""How long a peer has to begin to answer before it is asked again; twice as long each time."""

ASK_AGAIN_MAX_S: Final = 60.0
"""The longest of these."""

TRY_AGAIN_MIN_S: Final = 0.25
"""When it is tried again to ask for a document of which this node's log has yet to say, or while its worker is down;
twice as long each time."""

MERGE_RETRIES_S: Final = 10.0
"""How long a merge is tried again while the worker is down or has too much to do; then a diff is asked for."""

COMPARE_EVERY_S: Final = 1.0
"""How often this node compares its documents with each peer's, give or take a quarter."""

COMPARE_TIMEOUT_S: Final = 5.0
"""How long a peer may take to answer one question of a comparison."""

COMPARED_PREFIXES: Final = 256
"""Ranges that one question of a comparison names."""

COMPARED_DOCUMENTS: Final = 1000
"""Differing documents that one comparison finds; the next one goes on."""

COMPARES_AT_ONCE: Final = 64
"""Comparisons that a node answers at one time; who asks meanwhile is refused."""

COVERED_DOCUMENTS: Final = 100_000
"""Documents of which it is remembered how far another node's log is here; those not used for longest go first."""

PRESENCES_QUEUED: Final = 10_000
"""Presence states that wait for one peer. Those beyond are dropped: they are repeated."""
