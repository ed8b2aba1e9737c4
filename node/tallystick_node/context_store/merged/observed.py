"""What changed of a context since somebody read it: a cursor against what this node has.

Rules of this file:
- A node that lags behind who asks has nothing new for him, and says nothing.
- Deletions do not show in state vectors: where these are equal, their digest tells, or the number of this node's log. A
  cursor of another node's log without a digest tells nothing of them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Sequence

from google.protobuf.message import DecodeError

from tallystick.errors import Invalid, NotFound, Reason, Unavailable
from tallystick.v1 import causality_pb2, common_pb2, context_pb2
from tallystick_node.context_store.decided import DecidedContexts
from tallystick_node.context_store.merged.contexts import MergedContexts
from tallystick_node.contexts.hub.hub import Hub
from tallystick_node.contexts.hub.subscriptions import Subscription
from tallystick_node.contexts.ids import ContextId
from tallystick_node.contexts.updates import state_vectors


class ObservedContexts:
    """An implementation of `tallystick_node.causality.store.ContextsRead`."""

    def __init__(self, decided: DecidedContexts, merged: MergedContexts, hub: Hub) -> None:
        self._decided = decided
        self._merged = merged
        self._hub = hub

    async def changed(
        self, namespace: str, seen: common_pb2.ObservedContext, timeout_s: float
    ) -> causality_pb2.ChangedContext | None:
        """See `ContextsRead`."""
        cursor = _cursor(seen)
        changed = causality_pb2.ChangedContext(name=seen.name, guid=seen.guid)
        try:
            record = self._decided.info(namespace, seen.name)
        except NotFound:
            changed.change = causality_pb2.CHANGE_KIND_GONE
            return changed
        if seen.guid and record.guid != seen.guid:
            changed.change = causality_pb2.CHANGE_KIND_ANOTHER
            return changed
        try:
            async with asyncio.timeout(timeout_s):
                described = await self._merged.described(record)
        except TimeoutError:
            raise Unavailable("the documents of this node do not answer", reason=Reason.WORKER_DOWN) from None
        if not _has_more(described.cursor, record.epoch, cursor):
            return None
        changed.change = causality_pb2.CHANGE_KIND_MORE
        changed.cursor = described.cursor.SerializeToString(deterministic=True)
        return changed

    @contextlib.contextmanager
    def listen(
        self, namespace: str, seen: Sequence[common_pb2.ObservedContext], wake: Callable[[], None]
    ) -> Iterator[None]:
        """See `ContextsRead`. Of one that is not there, what is decided tells."""
        subscriptions: list[Subscription] = []

        def woken() -> None:
            for each in subscriptions:
                with contextlib.suppress(NotFound, Unavailable):  # what is decided tells of the end
                    each.drain()
            wake()

        try:
            for context in seen:
                with contextlib.suppress(NotFound):
                    record = self._decided.info(namespace, context.name)
                    document = ContextId(record.guid, record.epoch)
                    subscriptions.append(self._hub.audience.subscribe(document, woken))
            yield
        finally:
            for each in subscriptions:
                each.close()


def _cursor(seen: common_pb2.ObservedContext) -> context_pb2.Cursor:
    try:
        return context_pb2.Cursor.FromString(seen.cursor)
    except DecodeError:
        raise Invalid("a cursor cannot be read", metadata={"field": "observed.contexts.cursor"}) from None


def _has_more(present: context_pb2.Cursor, epoch: int, seen: context_pb2.Cursor) -> bool:
    """Whether a document of this node holds something that a cursor does not."""
    if seen.epoch != epoch:
        return seen.epoch < epoch
    here, there = state_vectors.decode(present.state_vector), state_vectors.decode(seen.state_vector)
    if not state_vectors.covers(there, here):
        return True
    if not state_vectors.covers(here, there):
        return False
    if seen.deletes_digest:
        return present.deletes_digest != seen.deletes_digest
    return bool(seen.log) and present.log == seen.log and present.number > seen.number
