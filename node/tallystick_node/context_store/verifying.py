"""Whether the voters hold equal documents: by the digests that they keep, or by the content of each.

Rules of this file:
- Nothing is changed, and nothing waits for edits that are on their way: while agents edit, nodes differ for moments.
- A voter that does not answer is not equal.
- What a node still has of a document that was deleted is no difference: it is about to forget it.
- Who asks for a namespace is told of that alone: of documents elsewhere neither digests nor how many there are. This
  node's digests of it are listed; another's are those, but for the documents in which the two differ.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from tallystick.errors import TallystickError
from tallystick.peer.v1 import peer_pb2
from tallystick.v1 import context_pb2
from tallystick_node.context_store.comparison import Comparison
from tallystick_node.context_store.decided import DecidedContexts
from tallystick_node.contexts.comparing import Compare, Difference, find_differences, list_documents, root_of
from tallystick_node.core.outcomes import ContextRecord

DIFFERENT_TOLD: Final = 100
"""Differing contexts that an answer names."""
DIFFERENT_FOUND: Final = 1000
"""Differing documents that are looked for between two nodes."""
LOOKED_AT_ONCE: Final = 8
"""Documents that are compared by content at one time."""
LISTED_AT_ONCE: Final = 500
"""Documents that are looked up before others get their turn."""
NOTHING: Final = bytes(16)
"""The digest of what holds nothing."""

_Differing: TypeAlias = tuple[ContextRecord, Difference]


@dataclass
class Verified:
    """What was found. `different`: at most `DIFFERENT_TOLD` of them."""

    nodes: list[context_pb2.NodeDigest] = field(default_factory=list)
    equal: bool = False
    different: list[ContextRecord] = field(default_factory=list)


class Verifying:
    """See the module.

    Args:
        node_id: this node.
        voters: those of this moment.
    """

    def __init__(
        self, decided: DecidedContexts, compare: Comparison, *, node_id: str, voters: Callable[[], frozenset[str]]
    ) -> None:
        self._decided = decided
        self._compare = compare
        self._node_id = node_id
        self._voters = voters

    async def one(self, record: ContextRecord) -> Verified:
        """One document, by its digest and by its content."""
        found = Verified()
        replies = await self._of_all(record)
        for node_id, reply in replies:
            node = context_pb2.NodeDigest(node_id=node_id)
            if isinstance(reply, peer_pb2.DocumentDigest):
                node.digest, node.documents = reply.digest, int(reply.digest != NOTHING)
            else:
                node.error = str(reply)
            found.nodes.append(node)
        found.equal = _are_equal(replies)
        found.different = [] if found.equal else [record]
        return found

    async def all(self, namespace: str, *, deep: bool) -> Verified:
        """All documents, or those of a namespace; `deep`: by content too."""
        found = Verified()
        answering: dict[str, Compare] = {}
        for node_id in self._in_order():
            node = context_pb2.NodeDigest(node_id=node_id)
            compare = self._asking(node_id)
            try:
                node.digest, node.documents = await root_of(compare)
                answering[node_id] = compare
            except TallystickError as error:
                node.error = str(error)
            found.nodes.append(node)
        is_whole = len(answering) == len(found.nodes)
        differing = await self._differing(answering, found.nodes, namespace)
        different: dict[bytes, ContextRecord] = {}
        if is_whole:
            different = {record.guid: record for some in differing.values() for record, _ in some}
        if namespace:
            await self._restrict(found.nodes, answering, differing, namespace)
        if is_whole and deep:
            async for record in self._differing_by_content(namespace):
                different[record.guid] = record
        found.equal = is_whole and not different
        found.different = list(different.values())[:DIFFERENT_TOLD]
        return found

    async def _differing(
        self, answering: Mapping[str, Compare], nodes: Sequence[context_pb2.NodeDigest], namespace: str
    ) -> dict[str, list[_Differing]]:
        """Between the first node that answers and each one; theirs are the digests of that one."""
        found: dict[str, list[_Differing]] = {node_id: [] for node_id in answering}
        said = {node.node_id: (node.digest, node.documents) for node in nodes}
        first_id = next(iter(answering), "")
        for node_id, compare in answering.items():
            if said[node_id] == said[first_id]:
                continue
            for each in await find_differences(answering[first_id], compare, DIFFERENT_FOUND, random.Random(0)):
                record = self._decided.info_by_guid(each.document.guid)
                if record is not None and namespace in ("", record.namespace):
                    found[node_id].append((record, each))
        return found

    async def _restrict(
        self,
        nodes: Sequence[context_pb2.NodeDigest],
        answering: Mapping[str, Compare],
        differing: Mapping[str, Sequence[_Differing]],
        namespace: str,
    ) -> None:
        """Makes what nodes say that of a namespace."""
        if not answering:
            return
        whole, documents = await self._held_in(namespace, next(iter(answering.values())))
        for node in nodes:
            if node.node_id not in answering:
                continue
            digest, count = whole, documents
            for _, each in differing[node.node_id]:
                digest ^= int.from_bytes(each.ours, "big") ^ int.from_bytes(each.theirs, "big")
                count += bool(each.theirs) - bool(each.ours)
            node.digest, node.documents = digest.to_bytes(16, "big"), count

    async def _held_in(self, namespace: str, compare: Compare) -> tuple[int, int]:
        """The digest of what a node holds of a namespace, and how many documents that are."""
        digest = documents = 0
        for part in range(16):
            for number, (document, each) in enumerate((await list_documents(compare, [bytes([part])])).items()):
                record = self._decided.info_by_guid(document.guid)
                if record is not None and record.namespace == namespace:
                    digest ^= int.from_bytes(each, "big")
                    documents += 1
                if not number % LISTED_AT_ONCE:
                    await asyncio.sleep(0)
        return digest, documents

    async def _differing_by_content(self, namespace: str) -> AsyncIterator[ContextRecord]:
        after_guid = b""
        while True:
            page = self._decided.all_documents(after_guid)
            records = [record for record in page.items if namespace in ("", record.namespace)]
            for begin in range(0, len(records), LOOKED_AT_ONCE):
                some = records[begin : begin + LOOKED_AT_ONCE]
                replies = await asyncio.gather(*(self._of_all(record) for record in some))
                for record, of_record in zip(some, replies, strict=True):
                    if not _are_equal(of_record):
                        yield record
            if not page.more:
                return
            after_guid = page.items[-1].guid

    async def _of_all(self, record: ContextRecord) -> list[tuple[str, peer_pb2.DocumentDigest | TallystickError]]:
        """What each voter holds of a document."""
        asked = self._in_order()
        replies = await asyncio.gather(*(document_of(self._asking(node_id), record.guid) for node_id in asked))
        return list(zip(asked, replies, strict=True))

    def _in_order(self) -> list[str]:
        """This node first."""
        return sorted(self._voters(), key=lambda node_id: (node_id != self._node_id, node_id))

    def _asking(self, node_id: str) -> Compare:
        return lambda request: self._compare(node_id, request)


async def document_of(compare: Compare, guid: bytes) -> peer_pb2.DocumentDigest | TallystickError:
    """What a node holds of one document; why it does not say."""
    try:
        reply = await compare(peer_pb2.CompareContextsRequest(guid=guid))
    except TallystickError as error:
        return error
    return reply.documents[0] if reply.documents else peer_pb2.DocumentDigest(digest=NOTHING)


def _are_equal(replies: Iterable[tuple[str, peer_pb2.DocumentDigest | TallystickError]]) -> bool:
    found = {
        (reply.id.epoch, reply.digest, reply.content_digest) if isinstance(reply, peer_pb2.DocumentDigest) else None
        for _, reply in replies
    }
    return len(found) == 1 and None not in found
