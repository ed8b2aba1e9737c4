"""Answers `CompareContexts`: sums of ranges, documents of ranges, one document.

Rules of this file:
- A document without anything in it is not stored, so it does not count.
- A damaged document is listed with an empty digest: it differs from everyone's.
"""

from __future__ import annotations

import hashlib

from tallystick.errors import Invalid, Reason
from tallystick.peer.v1 import peer_pb2
from tallystick_node.contexts.desk import limits as own
from tallystick_node.contexts.desk.digests import NIBBLES, Sums, span
from tallystick_node.contexts.desk.library import Library
from tallystick_node.contexts.desk.rendering import render
from tallystick_node.contexts.desk.rows import Rows
from tallystick_node.contexts.ids import ContextId

_LAST_NIBBLE = 15


class Comparer:
    """Answers from a library and the sums of its documents."""

    def __init__(self, rows: Rows, library: Library, sums: Sums) -> None:
        self._rows = rows
        self._library = library
        self._sums = sums

    def compare(self, request: peer_pb2.CompareContextsRequest) -> peer_pb2.CompareContextsReply:
        """The answer.

        Raises:
            Invalid: a prefix that is none, or too many.
            Unavailable: CONTEXT_DAMAGED, of the one document that was asked for.
        """
        if request.guid:
            return self._one(request.guid)
        prefixes = list(request.prefixes) or [b""]
        if len(prefixes) > own.PREFIXES or any(
            len(prefix) > NIBBLES or any(nibble > _LAST_NIBBLE for nibble in prefix) for prefix in prefixes
        ):
            raise Invalid(
                f"at most {own.PREFIXES} prefixes of at most {NIBBLES} nibbles", reason=Reason.INVALID_REQUEST
            )
        self._library.settle()
        if request.list:
            return self._listed(prefixes, request.after_guid)
        reply = peer_pb2.CompareContextsReply()
        for prefix in prefixes:
            if len(prefix) < NIBBLES:
                for part, digest, documents in self._sums.below(prefix):
                    reply.ranges.add(prefix=part, digest=digest, documents=documents)
        return reply

    def _one(self, guid: bytes) -> peer_pb2.CompareContextsReply:
        loaded = self._library.find(guid)
        reply = peer_pb2.CompareContextsReply()
        if loaded is not None:
            digest = loaded.take_digest()
            self._sums.settle(guid, digest)
            content = hashlib.sha256(render(loaded.crdt)).digest()
            reply.documents.add(id=loaded.id.to_proto(), digest=digest, content_digest=content)
        return reply

    def _listed(self, prefixes: list[bytes], after_guid: bytes) -> peer_pb2.CompareContextsReply:
        found: dict[ContextId, bytes] = {}
        for prefix in prefixes:
            some = self._rows.in_buckets(*span(prefix), after_guid, own.DOCUMENTS_PAGE + 1)
            found.update((document, self._digest_of(document, stored)) for document, stored in some)
        reply = peer_pb2.CompareContextsReply(more=len(found) > own.DOCUMENTS_PAGE)
        for document in sorted(found)[: own.DOCUMENTS_PAGE]:
            reply.documents.add(id=document.to_proto(), digest=found[document])
        return reply

    def _digest_of(self, document: ContextId, stored: bytes | None) -> bytes:
        loaded = self._library.peek(document.guid)
        return (loaded.row.digest if loaded is not None else stored) or b""
