"""What happened before what, and what changed of what was read: the use cases, no gRPC. What `store.py` is for one log.

Rules of this file:
- Nothing here writes. What was read is told by who asks; what mutations say of it was decided with them.
- A search goes on between others' turns, for a limited number of observations.
- Contexts are asked of a port (`ContextsRead`), for they are merged and not decided.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from tallystick.errors import Invalid
from tallystick.v1 import causality_pb2, common_pb2
from tallystick_node.access import Access, Consistency, ReadFrom
from tallystick_node.causality.waking import Waking
from tallystick_node.core import limits
from tallystick_node.core.commands import Target
from tallystick_node.core.observation_records import SeenLog
from tallystick_node.feed.feed import Feed
from tallystick_node.storage.causality_reads import Asked, CausalityReads, Found
from tallystick_node.wire.fields import check_name, check_target
from tallystick_node.wire.observations import admit_observed

CHANGED_PAUSE_S: Final = 0.05
"""Between two looks of one watch, at least: many edits in a moment are one change."""


class ContextsRead(Protocol):
    """What the merged half is asked."""

    async def changed(
        self, namespace: str, seen: common_pb2.ObservedContext, timeout_s: float
    ) -> causality_pb2.ChangedContext | None:
        """What changed of a context since it was read; None: nothing.

        Raises:
            Unavailable: this node cannot tell.
        """
        ...

    def listen(
        self, namespace: str, seen: Sequence[common_pb2.ObservedContext], wake: Callable[[], None]
    ) -> AbstractContextManager[None]:
        """Has `wake` called whenever something is merged into one of them here."""
        ...


@dataclass(frozen=True, slots=True)
class Compared:
    """Two mutations, how the first stands to the second, and by what evidence."""

    a: Asked
    b: Asked
    relation: causality_pb2.CausalRelation.ValueType
    found: Found


@dataclass(frozen=True, slots=True)
class Changes:
    """What is no longer as it was read."""

    logs: list[causality_pb2.ChangedLog]
    contexts: list[causality_pb2.ChangedContext]


class CausalityStore:
    """See the module."""

    def __init__(self, access: Access, reads: CausalityReads, feed: Feed, contexts: ContextsRead) -> None:
        self._access = access
        self._reads = reads
        self._feed = feed
        self._contexts = contexts

    async def compare(self, a: tuple[Target, int], b: tuple[Target, int], read_from: ReadFrom) -> Compared:
        """Whether one of two mutations happened before the other. Seq 0 is where the log ends.

        Raises:
            NotFound: there is no such log, or no such mutation.
            Compacted: one of them is not kept any more.
            Invalid: they are of two namespaces.
            Unavailable, Undecided: this node cannot answer with the consistency asked for.
        """
        check_target(a[0])
        check_target(b[0])
        if a[0].namespace != b[0].namespace:
            raise Invalid("two namespaces know nothing of each other", metadata={"field": "namespace"})
        await self._access.ready(read_from)
        first = self._access.looked_up(lambda: self._reads.point(*a))
        second = self._access.looked_up(lambda: self._reads.point(*b))
        if first.place[:2] == second.place[:2]:
            return Compared(first, second, causality_pb2.CAUSAL_RELATION_SAME, Found(is_before=False))
        if first.place.position < second.place.position:
            found = await self._search(first, second)
            relation = causality_pb2.CAUSAL_RELATION_BEFORE
        else:
            found = await self._search(second, first)
            relation = causality_pb2.CAUSAL_RELATION_AFTER
        if not found.is_before:
            relation = causality_pb2.CAUSAL_RELATION_CONCURRENT
        return Compared(first, second, relation, found)

    async def _search(self, earlier: Asked, later: Asked) -> Found:
        if earlier.place.log != later.place.log:
            self._access.looked_up(lambda: self._reads.check_kept(later))
        search = self._reads.search(earlier.place, later.place, limits.COMPARED_OBSERVATIONS)
        with contextlib.closing(search):
            while True:
                try:
                    self._access.looked_up(lambda: next(search))
                except StopIteration as ended:
                    found: Found = ended.value
                    return found
                await asyncio.sleep(0)

    async def changed(self, namespace: str, observed: common_pb2.Observed, read_from: ReadFrom) -> Changes:
        """What of these is no longer as it was read.

        Raises:
            Invalid: a name or a length breaks a rule.
            Unavailable, Undecided: as `compare`.
        """
        check_name("namespace", namespace)
        seen = admit_observed(observed)
        await self._access.ready(read_from)
        return await self._changes(namespace, seen, observed.contexts, read_from)

    async def watch_changed(
        self, namespace: str, observed: common_pb2.Observed, read_from: ReadFrom
    ) -> AsyncGenerator[Changes, None]:
        """The same at once, and again whenever one of them has changed further. Raises as `changed`, and:

        Raises:
            Overloaded: there are too many watches.
            Unavailable: this node is stopping.
        """
        check_name("namespace", namespace)
        seen = admit_observed(observed)
        agents = {each.agent for each in seen}
        told: dict[str, bytes] = {}
        await self._access.ready(read_from)
        waking = Waking(self._feed, namespace, agents, {each.name for each in observed.contexts})
        with self._contexts.listen(namespace, observed.contexts, waking.wake):
            async with waking:
                first = True
                while True:
                    waking.clear()
                    changes = await self._changes(namespace, seen, observed.contexts, read_from)
                    news = _news(changes, told)
                    if first or news.logs or news.contexts:
                        yield news
                    first = False
                    await waking.wait()
                    await asyncio.sleep(CHANGED_PAUSE_S)

    async def _changes(
        self,
        namespace: str,
        seen: Sequence[SeenLog],
        contexts: Sequence[common_pb2.ObservedContext],
        read_from: ReadFrom,
    ) -> Changes:
        may_lag = read_from.consistency is Consistency.LOCAL
        logs = self._access.looked_up(lambda: [self._log(namespace, each, may_lag) for each in seen])
        asked = [await self._contexts.changed(namespace, each, read_from.timeout_s) for each in contexts]
        return Changes([each for each in logs if each is not None], [each for each in asked if each is not None])

    def _log(self, namespace: str, seen: SeenLog, may_lag: bool) -> causality_pb2.ChangedLog | None:
        log = self._reads.log(Target(namespace, seen.agent, seen.branch))
        changed = causality_pb2.ChangedLog(agent=seen.agent, branch=seen.branch, seen_seq=seen.seq)
        if log is None:
            changed.change = causality_pb2.CHANGE_KIND_GONE
            return changed if seen.seq else None
        changed.head_seq, changed.hash = log.seq, log.hash
        changed.change = causality_pb2.CHANGE_KIND_MORE
        if log.seq < seen.seq:
            changed.change = causality_pb2.CHANGE_KIND_ANOTHER
            return None if may_lag else changed
        if seen.seq and seen.hash:
            place = self._reads.place(log, seen.seq)
            if place is not None and place.hash != seen.hash:
                changed.change = causality_pb2.CHANGE_KIND_ANOTHER
                return changed
        return changed if log.seq > seen.seq else None


def _news(changes: Changes, told: dict[str, bytes]) -> Changes:
    """What was not told like this before; from now on it was. `told` holds no more than was asked for."""

    def is_new(name: str, message: causality_pb2.ChangedLog | causality_pb2.ChangedContext) -> bool:
        said = message.SerializeToString(deterministic=True)
        before = told.get(name)
        told[name] = said
        return before != said

    logs = [each for each in changes.logs if is_new(f"log {each.agent} {each.branch}", each)]
    contexts = [each for each in changes.contexts if is_new(f"context {each.name}", each)]
    return Changes(logs, contexts)
