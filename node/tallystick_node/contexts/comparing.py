"""Finds the documents in which two nodes differ: sums of ranges from the root down, then lists.

Rules of this file:
- Equal nodes cost one question of some hundred bytes each way, however many documents they have.
- What is found is bounded; where there is more, ranges are looked into in a random order, so that the next time finds
  others too.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from tallystick.peer.v1 import peer_pb2
from tallystick_node.contexts.ids import ContextId

Compare: TypeAlias = Callable[[peer_pb2.CompareContextsRequest], Awaitable[peer_pb2.CompareContextsReply]]
"""Asks a node."""

PREFIX_NIBBLES: Final = 3
"""Ranges go so deep."""
RANGES_AT_ONCE: Final = 256
"""Prefixes in one question of sums."""
LISTS_AT_ONCE: Final = 16
"""Prefixes in one question of documents."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A document that two nodes do not hold alike; an empty digest: not there."""

    document: ContextId
    ours: bytes
    theirs: bytes


async def root_of(compare: Compare) -> tuple[bytes, int]:
    """The digest of all documents of a node, and how many they are."""
    digest, documents = 0, 0
    for part in (await compare(_sums([b""]))).ranges:
        digest ^= int.from_bytes(part.digest, "big")
        documents += part.documents
    return digest.to_bytes(16, "big"), documents


async def find_differences(ours: Compare, theirs: Compare, limit: int, rng: random.Random) -> list[Difference]:
    """The documents in which two nodes differ, at most `limit` of them. What the two raise comes out."""
    prefixes = [b""]
    for _ in range(PREFIX_NIBBLES):
        prefixes = [
            prefix for some in _chunks(prefixes, RANGES_AT_ONCE) for prefix in await _differ(ours, theirs, some)
        ]
        if not prefixes:
            return []
    rng.shuffle(prefixes)
    found: list[Difference] = []
    for some in _chunks(prefixes, LISTS_AT_ONCE):
        here, there = await list_documents(ours, some), await list_documents(theirs, some)
        found += [
            Difference(document, here.get(document, b""), there.get(document, b""))
            for document in sorted({*here, *there})
            if here.get(document) != there.get(document)
        ]
        if len(found) >= limit:
            break
    return found[:limit]


async def list_documents(compare: Compare, prefixes: Sequence[bytes]) -> dict[ContextId, bytes]:
    """The digests of the documents in some ranges."""
    found: dict[ContextId, bytes] = {}
    after_guid = b""
    while True:
        reply = await compare(peer_pb2.CompareContextsRequest(prefixes=prefixes, list=True, after_guid=after_guid))
        found.update((ContextId.of(document.id), document.digest) for document in reply.documents)
        if not reply.more or not reply.documents or reply.documents[-1].id.guid <= after_guid:
            return found
        after_guid = reply.documents[-1].id.guid


async def _differ(ours: Compare, theirs: Compare, prefixes: Sequence[bytes]) -> list[bytes]:
    """The parts of these ranges in which the two differ."""
    here, there = _by_prefix(await ours(_sums(prefixes))), _by_prefix(await theirs(_sums(prefixes)))
    return sorted(prefix for prefix in {*here, *there} if here.get(prefix) != there.get(prefix))


def _by_prefix(reply: peer_pb2.CompareContextsReply) -> Mapping[bytes, tuple[bytes, int]]:
    return {part.prefix: (part.digest, part.documents) for part in reply.ranges}


def _sums(prefixes: Sequence[bytes]) -> peer_pb2.CompareContextsRequest:
    return peer_pb2.CompareContextsRequest(prefixes=prefixes)


def _chunks(prefixes: Sequence[bytes], size: int) -> Iterator[Sequence[bytes]]:
    for begin in range(0, len(prefixes), size):
        yield prefixes[begin : begin + size]
