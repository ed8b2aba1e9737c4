"""Who has caught up and waits, by what they wait for: an event wakes those who want it and costs the others nothing.

Rules of this file:
- A waiter has seen all before it began to wait, so as long as it is not woken nothing that it wants has come.
- A waiter is woken with the position to look on from, or with `LOOK_AGAIN`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final, TypeAlias

from tallystick_node.core.outcomes import (
    ContextDecided,
    Event,
    TeamCheckpointDeleted,
    TeamCheckpointTaken,
    WritersAllocated,
)
from tallystick_node.core.payload_records import PayloadDecided, PayloadsCollected
from tallystick_node.core.retention_records import RetentionSet
from tallystick_node.core.schema_records import SchemaRegistered
from tallystick_node.feed.batch import Filter

Waiter: TypeAlias = "asyncio.Future[int]"

LOOK_AGAIN: Final = 0
"""Nothing is known of what came: look from your own cursor on."""


class Waiters:
    """Waiters of one agent lie under its name, those of a prefix or a whole namespace under the namespace."""

    def __init__(self) -> None:
        self._by_agent: dict[tuple[str, str], dict[Waiter, None]] = {}  # dicts: woken in order
        self._by_namespace: dict[str, dict[Waiter, str | None]] = {}

    def add(self, wanted: Filter) -> Waiter:
        """Begin to wait."""
        waiter: Waiter = asyncio.get_running_loop().create_future()
        if wanted.agent is not None:
            self._by_agent.setdefault((wanted.namespace, wanted.agent), {})[waiter] = None
        else:
            self._by_namespace.setdefault(wanted.namespace, {})[waiter] = wanted.prefix
        return waiter

    def remove(self, wanted: Filter, waiter: Waiter) -> None:
        """Wait no longer; nothing if it was woken."""
        if wanted.agent is not None:
            key = (wanted.namespace, wanted.agent)
            waiting = self._by_agent.get(key, {})
            waiting.pop(waiter, None)
            if not waiting:
                self._by_agent.pop(key, None)
        else:
            prefixes = self._by_namespace.get(wanted.namespace, {})
            prefixes.pop(waiter, None)
            if not prefixes:
                self._by_namespace.pop(wanted.namespace, None)

    def wake(self, events: Iterable[Event]) -> None:
        """Wake each who wants one of these, with the position before the first that it wants."""
        if not (self._by_agent or self._by_namespace):
            return
        for event in events:
            if isinstance(
                event, (ContextDecided, TeamCheckpointTaken, TeamCheckpointDeleted, RetentionSet, SchemaRegistered)
            ):
                self._wake_namespace(event.namespace, None, event.position)
            elif not isinstance(event, (WritersAllocated, PayloadDecided, PayloadsCollected)):
                namespace, agent = event.target.namespace, event.target.agent
                _wake(self._by_agent.pop((namespace, agent), {}), event.position - 1)
                self._wake_namespace(namespace, agent, event.position)

    def _wake_namespace(self, namespace: str, agent: str | None, position: int) -> None:
        """Those who wait for all of the namespace, and where it is of an agent, for those with a prefix of its name."""
        prefixes = self._by_namespace.get(namespace)
        if prefixes:
            woken = [waiter for waiter, prefix in prefixes.items() if _wants(prefix, agent)]
            _wake(woken, position - 1)
            for waiter in woken:
                del prefixes[waiter]

    def wake_all(self) -> None:
        """Wake everyone to look again."""
        for waiting in self._by_agent.values():
            _wake(waiting, LOOK_AGAIN)
        for prefixes in self._by_namespace.values():
            _wake(prefixes, LOOK_AGAIN)
        self._by_agent.clear()
        self._by_namespace.clear()


def _wants(prefix: str | None, agent: str | None) -> bool:
    return prefix is None or (agent is not None and agent.startswith(prefix))


def _wake(waiters: Iterable[Waiter], position: int) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(position)
