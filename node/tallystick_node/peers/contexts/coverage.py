"""How far other nodes' update logs are here: what a cursor of such a node asks for.

Rules of this file:
- A node's log up to n is here if a diff up to n was merged, or if it was here up to n - 1 and the push of n was merged:
  a node does not push what it had from others, so a number that was skipped ends what is known.
- The numbers of a node's log of a document may begin anew (it had lost it). That shows by the log's name, or by
  something new under a number. A node that has started again may have an older disk, and another worker of this one an
  empty one: nothing is known either.
- Bounded: what was not looked at for longest goes first. Whatever is not known is learnt again by asking for a diff.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

from tallystick_node.contexts.ids import ContextId
from tallystick_node.peers.contexts.limits import COVERED_DOCUMENTS


class _Known(NamedTuple):
    """How far a log of this name is here."""

    log: bytes
    number: int


_NOTHING: Final = _Known(b"", 0)


class Coverage:
    """See the module. It is `contexts.hub.coverage.Coverage`.

    Args:
        ask: asks a node for a diff of a document now; false if it cannot be asked at the moment.
        worker_of: which worker holds the documents of this node, as a number that rises.
    """

    def __init__(
        self,
        ask: Callable[[str, ContextId], bool],
        worker_of: Callable[[], int] = lambda: 0,
        max_documents: int = COVERED_DOCUMENTS,
    ) -> None:
        self._ask = ask
        self._worker_of = worker_of
        self._worker = 0
        self._max_documents = max_documents
        self._numbers: dict[tuple[str, ContextId], _Known] = {}  # those used last are last
        self._waiting: dict[tuple[str, ContextId], list[tuple[_Known, asyncio.Future[None]]]] = {}

    def holds(self, node_id: str, document: ContextId, number: int, log: bytes = b"") -> bool:
        """Whether that node's log of this name is here, on disk, up to `number`, as far as is known."""
        known = self._of(node_id, document)
        return known.log == log and known.number >= number

    async def catch_up(self, node_id: str, document: ContextId, number: int, log: bytes = b"") -> None:
        """Returns once it is; asks that node for it now. The caller bounds it with a timeout."""
        if self.holds(node_id, document, number, log):
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault((node_id, document), [])
        waiting.append((_Known(log, number), future))
        try:
            self._ask(node_id, document)
            await future
        finally:
            waiting.remove((_Known(log, number), future))
            if not waiting and self._waiting.get((node_id, document)) is waiting:
                del self._waiting[node_id, document]

    def wanted_of(self, node_id: str) -> list[ContextId]:
        """Documents that somebody waits for: a node that was not reached is asked once it is."""
        return [document for waited_id, document in self._waiting if waited_id == node_id]

    def pushed(self, node_id: str, document: ContextId, number: int, log: bytes = b"", *, is_novel: bool) -> None:
        """An edit of that node, under its number, is here."""
        known = self._of(node_id, document)
        is_same = known.log == log
        if number == (known.number + 1 if is_same else 1):
            self._set(node_id, document, _Known(log, number))
        elif not is_same or (number <= known.number and is_novel):
            self._numbers.pop((node_id, document), None)

    def diffed(self, node_id: str, document: ContextId, number: int, log: bytes = b"", *, is_novel: bool) -> None:
        """A diff of that node up to this number is here."""
        known = self._of(node_id, document)
        if known.log != log or number > known.number or (number < known.number and is_novel):
            self._set(node_id, document, _Known(log, number))

    def forget_node(self, node_id: str) -> None:
        """It has started again."""
        self._numbers = {key: number for key, number in self._numbers.items() if key[0] != node_id}

    def forget(self, guid: bytes) -> None:
        """The document was lost here."""
        self._numbers = {key: number for key, number in self._numbers.items() if key[1].guid != guid}

    def _of(self, node_id: str, document: ContextId) -> _Known:
        worker = self._worker_of()
        if worker != self._worker:
            self._worker = worker
            self._numbers.clear()
        known = self._numbers.pop((node_id, document), None)
        if known is None:
            return _NOTHING
        self._numbers[node_id, document] = known
        return known

    def _set(self, node_id: str, document: ContextId, known: _Known) -> None:
        self._numbers.pop((node_id, document), None)
        self._numbers[node_id, document] = known
        if len(self._numbers) > self._max_documents:
            del self._numbers[next(iter(self._numbers))]
        for wanted, future in self._waiting.get((node_id, document), ()):
            if wanted.log == known.log and wanted.number <= known.number and not future.done():
                future.set_result(None)
