"""Who has documents open here, and what is told to each of them.

Rules of this file:
- What was merged is told in the order of its numbers. Where a number was skipped, all who have the document open lag.
- A document that nobody has open is not held.
"""

from __future__ import annotations

from collections.abc import Callable

from tallystick.errors import Reason, TallystickError, Unavailable
from tallystick_node.contexts.hub.subscriptions import Pushed, Subscription
from tallystick_node.contexts.ids import ContextId


class _Open:
    """A document that somebody here has open."""

    __slots__ = ("number", "subscribers")

    def __init__(self) -> None:
        self.subscribers: dict[Subscription, None] = {}
        self.number = 0
        """Of the newest update that was pushed; 0: not known."""


class Audience:
    """See the module. Its length is the number of subscriptions."""

    def __init__(self) -> None:
        self._open: dict[bytes, _Open] = {}

    def __len__(self) -> int:
        return sum(len(opened.subscribers) for opened in self._open.values())

    def documents(self) -> list[bytes]:
        """The guids of the documents that somebody has open here."""
        return list(self._open)

    def of(self, guid: bytes) -> int:
        """How many have a document open here."""
        opened = self._open.get(guid)
        return len(opened.subscribers) if opened else 0

    def subscribe(self, document: ContextId, on_item: Callable[[], None] | None = None) -> Subscription:
        """What is merged into a document from now on. Close it."""
        opened = self._open.setdefault(document.guid, _Open())
        subscription = Subscription(document, self._unsubscribe, on_item)
        opened.subscribers[subscription] = None
        return subscription

    def push(self, document: ContextId, pushed: Pushed, sender: Subscription | None) -> None:
        """Tells what was merged to all but its sender."""
        opened = self._open.get(document.guid)
        if opened is None:
            return
        leads_on = opened.number in (0, pushed.number - 1)
        opened.number = max(opened.number, pushed.number)
        for subscription in opened.subscribers:
            if not leads_on:
                subscription.lag()
            elif subscription is not sender and subscription.document == document:
                subscription.push(pushed)

    def lag(self, guid: bytes) -> None:
        """Something cannot be told to those who have a document open."""
        opened = self._open.get(guid)
        if opened is not None:
            opened.number = 0
            for subscription in opened.subscribers:
                subscription.lag()

    def move(self, document: ContextId, number: int, log: bytes = b"") -> None:
        """A document is in a new epoch. `number`: up to which this node's update log there, `log`, is carried over."""
        opened = self._open.get(document.guid)
        if opened is not None:
            opened.number = 0
            for subscription in opened.subscribers:
                if subscription.document.epoch < document.epoch:
                    subscription.move(document, number, log)

    def end(self, guid: bytes, error: TallystickError) -> None:
        """A document is gone."""
        opened = self._open.pop(guid, None)
        for subscription in list(opened.subscribers) if opened else ():
            subscription.end(error)

    def stop(self) -> None:
        """The node stops."""
        for opened in self._open.values():
            for subscription in list(opened.subscribers):
                subscription.end(Unavailable("this node is stopping", reason=Reason.STOPPING))

    def _unsubscribe(self, subscription: Subscription) -> None:
        opened = self._open.get(subscription.document.guid)
        if opened is None:
            return
        opened.subscribers.pop(subscription, None)
        if not opened.subscribers:
            del self._open[subscription.document.guid]
