"""The endpoints of a cluster, and which to ask next.

Rules of this file:
- Writes and linearizable reads go to the leader, if one is known and answers; else to any. Nodes forward, so any
  healthy node will do.
- Other reads and watches stay with one node, chosen by chance, until it fails: clients spread, and each sees time go
  forward.
- Who failed rests for a while; when all rest, the one whose rest ends first is asked.
- A leader named by a node is learned, at most `MAX_ENDPOINTS` in all; the given ones are never forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import Final

from tallystick._channel import Endpoint, parse_address
from tallystick.errors import Invalid

MAX_ENDPOINTS: Final = 32


class Endpoints:
    """Known endpoints, their health, and the leader.

    Args:
        pinned: ask the given ones alone, whoever leads.
    """

    def __init__(
        self, addresses: Iterable[str], make: Callable[[str], Endpoint], rng: Random, *, pinned: bool = False
    ) -> None:
        self._make = make
        self._pinned = pinned
        self._known: dict[str, Endpoint] = {}
        self._leader: Endpoint | None = None
        self._leader_address = ""
        for address in addresses:
            self._known.setdefault(address, make(address))
        if not self._known:
            raise Invalid("at least one endpoint is needed", metadata={"field": "endpoints"})
        if len(self._known) > MAX_ENDPOINTS:
            raise Invalid(f"more than {MAX_ENDPOINTS} endpoints", metadata={"field": "endpoints"})
        self._order = list(self._known.values())
        rng.shuffle(self._order)
        self._turn = 0

    def all(self) -> list[Endpoint]:
        """Every known endpoint, the given ones first."""
        return list(self._known.values())

    def for_leader(self, now_s: float) -> Endpoint:
        """Where a write goes."""
        leader = self._leader
        if leader is not None and leader.rests_until_s <= now_s:
            return leader
        return self.for_any(now_s)

    def for_any(self, now_s: float) -> Endpoint:
        """Where what any node can answer goes."""
        for step in range(len(self._order)):
            endpoint = self._order[(self._turn + step) % len(self._order)]
            if endpoint.rests_until_s <= now_s:
                self._turn = (self._turn + step) % len(self._order)
                return endpoint
        return min(self._order, key=lambda endpoint: endpoint.rests_until_s)

    def get(self, address: str) -> Endpoint | None:
        """This endpoint: known, or learned if there is room."""
        known = self._known.get(address)
        if known is None and len(self._known) < MAX_ENDPOINTS:
            known = self._known[address] = self._make(address)
            self._order.append(known)
        return known

    def learn_leader(self, address: str) -> None:
        """A node says that this is the leader's endpoint; "" says nothing."""
        if not address or address == self._leader_address or self._pinned:
            return
        try:
            leader = self.get(parse_address(address))
        except Invalid:  # a node's configuration is not our caller's fault: do without the hint
            leader = None
        if leader is not None:
            self._leader, self._leader_address = leader, address

    def forget_leader(self, endpoint: Endpoint) -> None:
        """This one failed, or says it does not lead: if it was the leader, none is known now."""
        if self._leader is endpoint:
            self._leader, self._leader_address = None, ""

    async def close(self) -> None:
        """Closes every channel."""
        for endpoint in self.all():
            await endpoint.close()
