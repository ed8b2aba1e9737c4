"""Tells how far a payload is."""

from __future__ import annotations

import inspect

from tallystick.payloads.values import OnPayloadProgress, PayloadProgress


class Progress:
    """Counts, and tells whoever wants to know."""

    def __init__(self, on_progress: OnPayloadProgress | None, total_bytes: int | None) -> None:
        self._on_progress = on_progress
        self._total_bytes = total_bytes
        self._done_bytes = 0
        self._moved_bytes = 0

    async def add(self, done_bytes: int, *, has_moved: bool) -> None:
        """So much more is where it goes; it travelled, or was there."""
        self._done_bytes += done_bytes
        self._moved_bytes += done_bytes if has_moved else 0
        if self._on_progress is not None:
            told = self._on_progress(PayloadProgress(self._done_bytes, self._moved_bytes, self._total_bytes))
            if inspect.isawaitable(told):
                await told
