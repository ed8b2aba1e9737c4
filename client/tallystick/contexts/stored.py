"""A context as the nodes hold it, for who wants no replica of it: to look, to keep it well, to operate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from tallystick._calls import Calls
from tallystick._contexts import Contexts
from tallystick._json import JSON
from tallystick._methods import (
    blame_method,
    compact_context_method,
    history_method,
    list_overlaps_method,
    list_versions_method,
    restore_context_method,
    save_version_method,
)
from tallystick._reading import PAGE
from tallystick._values import Consistency
from tallystick.contexts.cursor import Cursor
from tallystick.contexts.past import At, Past, at_message
from tallystick.contexts.presence import Presence
from tallystick.contexts.records import (
    BlameLine,
    Compaction,
    ContextMeasure,
    Edit,
    Overlap,
    Version,
    blame_line,
    compaction,
    edit,
    overlap,
    version,
)
from tallystick.contexts.writers import Writers
from tallystick.errors import Unavailable
from tallystick.v1 import common_pb2, context_pb2

FOLLOW_S: Final = 0.3
"""How often a node is asked for more edits by who follows them."""


class StoredContext:
    """A shared document where it is stored. Made by `Client.stored_context`; nothing is sent until a method is called.

    What one node answers for itself (sizes, numbers, history, overlaps) is that node's: other nodes have other numbers.
    Calls stay with one node as long as it answers.

    Raises, from each method:
        NotFound: there is no such context.
        Unavailable: no node answers.
    """

    def __init__(
        self, calls: Calls, contexts: Contexts, writers: Writers, ref: context_pb2.ContextRef, *, actor: str
    ) -> None:
        self._calls, self._contexts, self._writers = calls, contexts, writers
        self._ref, self._actor = ref, actor
        self._past = Past(calls, ref)

    @property
    def name(self) -> str:
        """The context's name."""
        return self._ref.name

    async def measure(self, *, timeout_s: float | None = None) -> ContextMeasure:
        """How large it is, who edits, and what the node that answers holds."""
        await self._contexts.describe(self.name, timeout_s=timeout_s)  # the session has its revision now
        return await self._contexts.measure(self.name, timeout_s=timeout_s)

    async def show(self, at: At | None = None, *, after: Cursor | None = None, timeout_s: float | None = None) -> JSON:
        """The content as JSON: now, or as it was at a number, a time, or a version.

        Args:
            after: what the node must hold before it answers.

        Raises:
            NotFound: nothing is kept of then.
        """
        return await self._past.show(at, after, timeout_s)

    async def history(
        self, *, after_number: int = 0, actor: str = "", follow: bool = False, timeout_s: float | None = None
    ) -> AsyncGenerator[Edit, None]:
        """The edits after a number, oldest first; of this actor alone, if it is named.

        Args:
            follow: then go on with what is edited, without end.

        Raises:
            Unavailable: the node that answered is gone, and its numbers with it.
        """
        request = context_pb2.HistoryRequest(context=self._ref, after_number=after_number, limit=PAGE, actor=actor)
        node_id = ""
        while True:
            page = await self._calls.read(history_method, request, consistency=Consistency.LOCAL, timeout_s=timeout_s)
            if node_id and page.header.node_id != node_id:
                raise Unavailable(f"{node_id} does not answer any more, and these are its numbers")
            node_id = page.header.node_id
            for message in page.edits:
                yield edit(message)
                request.after_number = message.number
            if page.more and page.edits:
                continue
            if not follow:
                return
            await asyncio.sleep(FOLLOW_S)

    async def blame(self, root: str = "", *, timeout_s: float | None = None) -> Sequence[BlameLine]:
        """Who wrote what is there now; of this root alone, if it is named.

        What is edited while pages are read may be told twice, or not.

        Raises:
            Unavailable: another node answers than at first; its numbers are others.
        """
        request = context_pb2.BlameRequest(context=self._ref, root=root)
        lines: list[BlameLine] = []
        node_id = ""
        while True:
            page = await self._calls.read(blame_method, request, consistency=Consistency.LOCAL, timeout_s=timeout_s)
            if node_id and page.header.node_id != node_id:
                raise Unavailable(f"{node_id} does not answer any more, and these are its numbers")
            node_id = page.header.node_id
            lines += [blame_line(message) for message in page.lines]
            if not (page.more and page.next and page.lines):
                return lines
            request.after = page.next

    async def overlaps(self, *, after_number: int = 0, timeout_s: float | None = None) -> AsyncGenerator[Overlap, None]:
        """Concurrent edits of one key or range, as the node found them, oldest first."""
        request = context_pb2.ListOverlapsRequest(context=self._ref, after_number=after_number, limit=PAGE)
        while True:
            page = await self._calls.read(
                list_overlaps_method, request, consistency=Consistency.LOCAL, timeout_s=timeout_s
            )
            for message in page.overlaps:
                yield overlap(message)
            if not (page.more and page.overlaps):
                return
            request.after_number = page.overlaps[-1].number

    async def versions(
        self, *, consistency: Consistency = Consistency.LINEARIZABLE, timeout_s: float | None = None
    ) -> AsyncGenerator[Version, None]:
        """The named versions, by name."""
        request = context_pb2.ListVersionsRequest(context=self._ref, limit=PAGE)
        while True:
            request.options.CopyFrom(self._calls.session.read_options(consistency))
            page = await self._calls.read(list_versions_method, request, consistency=consistency, timeout_s=timeout_s)
            for message in page.versions:
                yield version(message)
            if not (page.more and page.versions):
                return
            request.after = page.versions[-1].name

    async def save_version(
        self,
        name: str,
        *,
        agent: str = "",
        checkpoint: str = "",
        branch: str = "",
        after: Cursor | None = None,
        timeout_s: float | None = None,
    ) -> Version:
        """Names what the document is now at the node that answers, for ever; decided.

        Raises:
            AlreadyExists: the name is taken by another state.
        """
        request = context_pb2.SaveVersionRequest(context=self._ref, name=name, actor=self._actor, checkpoint=checkpoint)
        if agent:
            request.agent.CopyFrom(common_pb2.AgentRef(namespace=self._ref.namespace, agent=agent, branch=branch))
        if after is not None:
            request.after.CopyFrom(after.message())
        answer = await self._calls.write(save_version_method, request, key="", timeout_s=timeout_s)
        self._calls.session.saw(answer.version.revision)
        return version(answer.version)

    async def restore(self, at: At, *, cause: str = "", timeout_s: float | None = None) -> tuple[bool, Cursor]:
        """Makes the content what it was, by a new edit. Whether that changed anything, and what the node holds then.

        Raises:
            NotFound: nothing is kept of then.
        """
        request = context_pb2.RestoreContextRequest(
            context=self._ref,
            at=at_message(at),
            writer=await self._writers.take(timeout_s=timeout_s),
            actor=self._actor,
            cause=cause or "restore",
        )
        answer = await self._calls.write(restore_context_method, request, key="", timeout_s=timeout_s)
        return answer.changed, Cursor.of(answer.cursor)

    async def compact(self, *, timeout_s: float | None = None) -> Compaction:
        """Rebuilds the document without its past, in a new epoch; decided. Edits wait for as long as it takes.

        Raises:
            QuotaExceeded: its content is too large for the log.
            Unavailable: not all that the voters hold is equal yet, or none decides.
        """
        request = context_pb2.CompactContextRequest(context=self._ref, actor=self._actor)
        answer = await self._calls.write(compact_context_method, request, key="", timeout_s=timeout_s)
        self._calls.session.saw(answer.info.revision)
        return compaction(answer)

    def presence(self) -> Presence:
        """Who is here, to look at. Close it after use."""
        return Presence(self._calls, self._ref, actor=self._actor, writer=lambda: None)
