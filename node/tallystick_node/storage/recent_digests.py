"""The running digests after the newest entries: replicas compare theirs at an index that both have reached."""

from __future__ import annotations

from typing import Final

DIGESTS_KEPT: Final = 4096
"""As many entries back a replica can be compared."""


class RecentDigests:
    """Digest by index, of the newest `DIGESTS_KEPT` entries applied by this process."""

    def __init__(self) -> None:
        self._digests: dict[int, bytes] = {}  # ascending

    def put(self, index: int, digest: bytes) -> None:
        """The digest after a newer entry."""
        self._digests[index] = digest
        if len(self._digests) > DIGESTS_KEPT:
            del self._digests[next(iter(self._digests))]

    def at(self, index: int) -> bytes | None:
        """The digest after the entry at `index`; None where it is not kept."""
        return self._digests.get(index)

    def begin_with(self, index: int, digest: bytes) -> None:
        """Forget all but this one."""
        self._digests = {index: digest}
