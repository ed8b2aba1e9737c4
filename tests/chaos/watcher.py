"""A watch over a namespace through all faults, and what it received, by agent.

Rules of this file:
- What was received of an agent is kept until its generation is judged; then only its number of events is, and what
  still comes is counted on.
"""

from __future__ import annotations

from collections import Counter
from contextlib import aclosing

from tallystick import Client, MutationEvent, Revision
from tallystick.testing import Event
from tests.cluster.harness_ledger import number_of

BEGINNING = Revision(1, 0)


class Watcher:
    """See the module.

    Attributes:
        reached: the position of the last event.
        received: how many events came, by agent.
        misordered: events that came at or below the position of one before.
    """

    def __init__(self, client: Client) -> None:
        self.reached = 0
        self.received: Counter[str] = Counter()
        self.misordered = 0
        self._client = client
        self._events: dict[str, list[Event]] = {}
        self._judged: set[str] = set()

    async def run(self) -> None:
        """Receives until it is cancelled."""
        async with aclosing(self._client.watch(after=BEGINNING)) as events:
            async for event in events:
                if not isinstance(event, MutationEvent):
                    raise AssertionError(f"nobody did this: {event}")  # noqa: TRY004 - a finding, not a wrong call
                position = event.revision.position
                self.misordered += position <= self.reached
                self.reached = max(self.reached, position)
                self.received[event.agent] += 1
                if event.agent not in self._judged:
                    seen = Event(position, event.agent, number_of(event.mutation.cause))
                    self._events.setdefault(event.agent, []).append(seen)

    def take(self, agents: tuple[str, ...]) -> list[Event]:
        """What was received of these agents, in order; it is not kept any more."""
        self._judged |= set(agents)
        taken = [event for agent in agents for event in self._events.pop(agent, [])]
        return sorted(taken, key=lambda event: event.revision)
