"""What a watch asks for and gets: filters and batches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from tallystick.errors import Invalid
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
from tallystick_node.storage.events import event_bytes

BATCH_EVENTS: Final = 500
"""Events of one batch."""

BATCH_BYTES: Final = 1024 * 1024
"""Content of one batch; a batch holds at least one event, however large."""

SCAN_EVENTS: Final = 2000
"""Events looked at in one go, before others get their turn."""

_EVENT_OVERHEAD_BYTES: Final = 256  # names, hashes and numbers, roughly: no event is free


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events: of one namespace, and in it of one agent, of agents whose names begin so, or of everything.

    Raises:
        Invalid: agent and prefix are both given.
    """

    namespace: str
    agent: str | None = None
    prefix: str | None = None

    def __post_init__(self) -> None:
        if self.agent is not None and self.prefix is not None:
            raise Invalid("give an agent or a prefix, not both", metadata={"field": "prefix"})

    def matches(self, event: Event) -> bool:
        """Whether this event is wanted. Those of contexts, of whole teams and of the namespace are, by who named no
        agents; writer ids and payloads are for nobody."""
        if isinstance(
            event, (ContextDecided, TeamCheckpointTaken, TeamCheckpointDeleted, RetentionSet, SchemaRegistered)
        ):
            return event.namespace == self.namespace and self.agent is None and self.prefix is None
        if isinstance(event, (WritersAllocated, PayloadDecided, PayloadsCollected)):
            return False
        target = event.target
        if target.namespace != self.namespace:
            return False
        if self.agent is not None:
            return target.agent == self.agent
        return self.prefix is None or target.agent.startswith(self.prefix)


class Batch(NamedTuple):
    """Events in order, and the position after which to resume. Without events it only moves the cursor."""

    events: tuple[Event, ...]
    cursor: int


def counted_bytes(event: Event) -> int:
    """What an event counts against the bounds in bytes."""
    return event_bytes(event) + _EVENT_OVERHEAD_BYTES


def collect(events: Iterable[Event], wanted: Filter, cursor: int) -> Batch:
    """The wanted ones among the first of these events; the cursor stands behind the last one looked at."""
    taken: list[Event] = []
    room_bytes = BATCH_BYTES
    for looked_at, event in enumerate(events):
        if looked_at >= SCAN_EVENTS:
            break
        if wanted.matches(event):
            room_bytes -= counted_bytes(event)
            if taken and (room_bytes < 0 or len(taken) >= BATCH_EVENTS):
                break
            taken.append(event)
        cursor = event.position
    return Batch(tuple(taken), cursor)
