"""A context as the nodes hold it, for who wants no replica of it: to look, to keep it well, to operate."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from tallystick._calls import Calls
from tallystick._contexts import Contexts
from tallystick._json import JSON
from tallystick._methods import compact_context_method
from tallystick._values import Consistency
from tallystick.contexts.cursor import Cursor
from tallystick.contexts.past import At, Past
from tallystick.contexts.presence import Presence
from tallystick.contexts.records import BlameLine, Compaction, ContextMeasure, Edit, Overlap, Version, compaction
from tallystick.contexts.writers import Writers
from tallystick.v1 import context_pb2


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
        self._calls, self._contexts, self._ref, self._actor = calls, contexts, ref, actor
        self._past = Past(calls, writers, ref, actor=actor)

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

    def history(
        self, *, after_number: int = 0, actor: str = "", follow: bool = False, timeout_s: float | None = None
    ) -> AsyncGenerator[Edit, None]:
        """The edits after a number, oldest first; of this actor alone, if it is named.

        Args:
            follow: then go on with what is edited, without end.

        Raises:
            Unavailable: the node that answered is gone, and its numbers with it.
        """
        return self._past.history(after_number, actor, timeout_s, follow=follow)

    async def blame(self, root: str = "", *, timeout_s: float | None = None) -> Sequence[BlameLine]:
        """Who wrote what is there now; of this root alone, if it is named."""
        return await self._past.blame(root, timeout_s)

    def overlaps(self, *, after_number: int = 0, timeout_s: float | None = None) -> AsyncGenerator[Overlap, None]:
        """Concurrent edits of one key or range, as the node found them, oldest first."""
        return self._past.overlaps(after_number, timeout_s)

    def versions(
        self, *, consistency: Consistency = Consistency.LINEARIZABLE, timeout_s: float | None = None
    ) -> AsyncGenerator[Version, None]:
        """The named versions, by name."""
        return self._past.versions(consistency, timeout_s)

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
        return await self._past.save_version(
            name, after=after, agent=agent, checkpoint=checkpoint, branch=branch, timeout_s=timeout_s
        )

    async def restore(self, at: At, *, cause: str = "", timeout_s: float | None = None) -> tuple[bool, Cursor]:
        """Makes the content what it was, by a new edit. Whether that changed anything, and what the node holds then.

        Raises:
            NotFound: nothing is kept of then.
        """
        return await self._past.restore(at, cause or "restore", timeout_s)

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
