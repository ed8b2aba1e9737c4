"""What a peer's stream still owes this node: documents of which it brought something that could not be merged.

    whole ──push fails──▶ owed, to be asked for ──asked──▶ awaited ──diff──▶ whole, or owed again

Rules of this file:
- While a document is owed, nothing of it is acknowledged: an ack says that all up to its number is here. The diff that
  reaches the highest number that failed makes it whole again.
- Who does not answer is asked again, later each time.
- No I/O; the time is an argument.
"""

from __future__ import annotations

from dataclasses import dataclass

from tallystick_node.contexts.ids import ContextId
from tallystick_node.peers.contexts.limits import (
    ASK_AGAIN_MAX_S,
    ASK_AGAIN_MIN_S,
    OWED_DOCUMENTS,
    TRY_AGAIN_MIN_S,
)


class TooMuchOwedError(Exception):
    """The table is full."""


@dataclass(slots=True)
class _Debt:
    failed: int
    """The highest number that could not be merged; 0: a diff is wanted for another reason."""
    due_s: float
    """When to ask, or to ask again."""
    merged: int = 0
    """The highest number that was merged meanwhile."""
    asked: int = 0
    """How often."""
    waits: int = 0
    """How often it could not be asked for since."""


class Owed:
    """See the module; of one incoming stream."""

    def __init__(self, max_documents: int = OWED_DOCUMENTS) -> None:
        self._max_documents = max_documents
        self._debts: dict[ContextId, _Debt] = {}

    def __len__(self) -> int:
        return len(self._debts)

    def __contains__(self, document: object) -> bool:
        return document in self._debts

    def merged(self, document: ContextId, number: int) -> int:
        """An edit was merged; what may be acknowledged now, 0: nothing."""
        debt = self._debts.get(document)
        if debt is None or not debt.failed:
            return number
        debt.merged = number
        return 0

    def failed(self, document: ContextId, number: int, now_s: float) -> None:
        """An edit could not be merged, or was only offered; 0: something else says that a diff is wanted.

        Raises:
            TooMuchOwedError: the stream is to be ended.
        """
        debt = self._debts.get(document)
        if debt is None:
            if len(self._debts) >= self._max_documents:
                raise TooMuchOwedError(f"more than {self._max_documents} documents cannot be merged")
            self._debts[document] = _Debt(number, now_s)
        elif number:
            debt.failed = number

    def answered(self, document: ContextId, number: int, now_s: float) -> int:
        """A diff up to `number` was merged; what may be acknowledged now, 0: nothing."""
        debt = self._debts.get(document)
        if debt is None:
            return number
        if number < debt.failed:
            debt.due_s, debt.asked = now_s, 0  # what failed came after the diff was made
            return 0
        del self._debts[document]
        return max(number, debt.merged)

    def postpone(self, document: ContextId, now_s: float) -> None:
        """The answer is coming: it is not to be asked again now."""
        debt = self._debts.get(document)
        if debt is not None:
            debt.due_s = max(debt.due_s, now_s + ASK_AGAIN_MIN_S)

    def given_up(self, document: ContextId, now_s: float) -> None:
        """The peer is there and cannot answer now: it is no slower for that, and is asked again before long."""
        debt = self._debts.get(document)
        if debt is not None:
            debt.due_s, debt.asked = now_s + ASK_AGAIN_MIN_S, 0

    def again(self, document: ContextId, now_s: float) -> None:
        """It could not be asked for: that is tried again, soon at first."""
        debt = self._debts.get(document)
        if debt is not None:
            debt.due_s = now_s + min(ASK_AGAIN_MAX_S, TRY_AGAIN_MIN_S * 2**debt.waits)
            debt.waits = min(debt.waits + 1, 16)
            debt.asked = max(0, debt.asked - 1)

    def soon(self, document: ContextId, now_s: float) -> None:
        """What it waited for has happened: it may be asked for now."""
        debt = self._debts.get(document)
        if debt is not None and debt.waits:
            debt.due_s, debt.waits = now_s, 0

    def drop(self, document: ContextId) -> None:
        """Nothing of it is wanted any more."""
        self._debts.pop(document, None)

    def take_due(self, now_s: float, limit: int) -> list[ContextId]:
        """Documents to be asked for now; they count as asked, and come again if nothing comes of it."""
        due = []
        for document, debt in self._debts.items():
            if debt.due_s <= now_s:
                debt.due_s = now_s + min(ASK_AGAIN_MAX_S, ASK_AGAIN_MIN_S * 2**debt.asked)
                debt.asked = min(debt.asked + 1, 16)
                due.append(document)
                if len(due) >= limit:
                    break
        return due
