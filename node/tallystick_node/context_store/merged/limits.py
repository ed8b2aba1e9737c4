"""Bounds of one open document; those of the merged half as a whole are in `contexts.limits`."""

from __future__ import annotations

from typing import Final

WINDOW_UPDATES: Final = 256
"""Updates of one stream that wait here; further ones wait in the client's flow control."""

WINDOW_BYTES: Final = 4 * 1024 * 1024
"""The same, in bytes; one update may exceed it."""

WAITING_ACKS: Final = 1000
"""Updates of one stream whose quorum is awaited one by one; beyond that several are acknowledged together."""

STREAM_WRITERS: Final = 64
"""Writer ids that one stream advances in its life."""

RECORDS_CACHED: Final = 10_000
"""What was decided of documents, by guid."""

RETRY_S: Final = 20.0
"""How long an update waits for the worker to be back, or for what it builds on to come, before its stream ends."""

RETRY_EVERY_S: Final = 0.1
"""How often it is tried."""

SEALED_S: Final = 40.0
"""How long edits wait for a context that is between two epochs. A seal that came to nothing is undone sooner."""

LOOK_PAGE: Final = 500
"""Documents that are compared at once with what was decided."""
