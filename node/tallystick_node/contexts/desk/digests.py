"""Sums of the digests of documents by range, so that nodes find out what differs.

Rules of this file:
- A range is a bucket of guids: three nibbles of their hash. Its sum is the exclusive or of its documents' digests.
- A document that has changed, or is gone, is *stale*: it counts as it did before, until its digest is taken again.
  Whoever asks for sums settles all that is stale first. So what is stale without need, after a batch that was not
  committed, does no harm.
- Memory: the buckets, and the stale documents, which are loaded ones but after a crash.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tallystick_node.contexts.desk.rows import bucket_of

BUCKETS: Final = 4096
NIBBLES: Final = 3
_NIBBLE_BITS: Final = 4
_DIGEST_BYTES: Final = 16


class Sums:
    """The sums of all buckets.

    Args:
        documents: guid, bucket and digest of each; a digest of None is stale.
    """

    def __init__(self, documents: Iterable[tuple[bytes, int, bytes | None]]) -> None:
        self._sums = [0] * BUCKETS
        self._counts = [0] * BUCKETS
        self._stale: dict[bytes, bytes | None] = {}
        for guid, bucket, digest in documents:
            if digest is None:
                self._stale[guid] = None
            else:
                self._add(bucket, digest, 1)

    @property
    def stale(self) -> list[bytes]:
        """Documents whose digest is to be taken again."""
        return list(self._stale)

    @property
    def documents(self) -> int:
        """How many there are, stale ones that are new among them."""
        return sum(self._counts) + sum(digest is None for digest in self._stale.values())

    def changed(self, guid: bytes, digest: bytes | None) -> None:
        """A document is stale. It counts with this digest; None: it is stale already, or new."""
        self._stale.setdefault(guid, digest)

    def settle(self, guid: bytes, digest: bytes) -> None:
        """A document's digest is this now."""
        if guid not in self._stale:
            return
        counted = self._stale.pop(guid)
        bucket = bucket_of(guid)
        if counted is not None:
            self._add(bucket, counted, -1)
        self._add(bucket, digest, 1)

    def drop(self, guid: bytes) -> None:
        """A stale document is no more."""
        counted = self._stale.pop(guid, None)
        if counted is not None:
            self._add(bucket_of(guid), counted, -1)

    def below(self, prefix: bytes) -> list[tuple[bytes, bytes, int]]:
        """The 16 parts of a range that are not empty: prefix, sum and number of documents of each."""
        parts = []
        for nibble in range(16):
            part = prefix + bytes((nibble,))
            first, last = span(part)
            documents = sum(self._counts[first : last + 1])
            if documents:
                total = 0
                for value in self._sums[first : last + 1]:
                    total ^= value
                parts.append((part, total.to_bytes(_DIGEST_BYTES, "big"), documents))
        return parts

    def _add(self, bucket: int, digest: bytes, documents: int) -> None:
        self._sums[bucket] ^= int.from_bytes(digest, "big")
        self._counts[bucket] += documents


def span(prefix: bytes) -> tuple[int, int]:
    """The first and the last bucket of a range of at most three nibbles."""
    first = 0
    for nibble in prefix:
        first = first << _NIBBLE_BITS | nibble
    shift = _NIBBLE_BITS * (NIBBLES - len(prefix))
    return first << shift, (first + 1 << shift) - 1
