"""The dry run: what would go of the logs of a namespace, by the policy that is set or by another; what holds the rest.

Rules of this file:
- Nothing is changed, and any node may answer.
- A page is bounded by the logs that are looked at, and by time: it says where it ended.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tallystick.errors import NotFound
from tallystick_node.access import Access, ReadFrom, page_items
from tallystick_node.core.commands import Target
from tallystick_node.core.retention_records import RetentionPolicy
from tallystick_node.core.tables import LogRecord
from tallystick_node.retention.looking import Looks
from tallystick_node.retention.plan import Plan, is_bounded
from tallystick_node.wire.fields import check_name

PLAN_SHARE: Final = 0.5
"""The part of a caller's time after which a page ends."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What would go of a log, and what that comes to."""

    plan: Plan
    size_bytes: int
    checkpoints: int


@dataclass(frozen=True, slots=True)
class Plans:
    """A page: the logs of which the policy would remove anything, and the last log that was looked at."""

    policy: RetentionPolicy
    logs: list[Planned]
    last: Target | None
    more: bool


class Planner:
    """See the module.

    Args:
        clock: seconds that never go back.
        unix_ms: says how old mutations are.
    """

    def __init__(self, access: Access, looks: Looks, clock: Callable[[], float], unix_ms: Callable[[], int]) -> None:
        self._access = access
        self._looks = looks
        self._clock = clock
        self._unix_ms = unix_ms

    async def plan(
        self,
        namespace: str,
        policy: RetentionPolicy | None,
        prefix: str,
        after: Target | None,
        limit: int,
        read_from: ReadFrom,
    ) -> Plans:
        """A page of plans, by agent and branch, after that log.

        Args:
            policy: in place of the one that is set.
            limit: logs that are looked at; 0: as many as a page has.

        Raises:
            Invalid: a bad name, or too large a limit.
            Unavailable, Undecided: this node cannot answer with the consistency asked for.
        """
        check_name("namespace", namespace)
        if prefix:
            check_name("prefix", prefix)
        items = page_items("limit", limit)
        ends_s = self._clock() + read_from.timeout_s * PLAN_SHARE
        await self._access.ready(read_from)
        chosen = policy if policy is not None else self._looks.policy(namespace)
        if not is_bounded(chosen):
            return Plans(chosen, [], None, more=False)
        page = self._looks.logs(namespace, prefix, after, items)
        found: list[Planned] = []
        for at, log in enumerate(page.items, start=1):
            planned = await self._planned(log, chosen)
            if planned is not None:
                found.append(planned)
            if self._clock() >= ends_s and at < len(page.items):
                return Plans(chosen, found, log.target, more=True)
        return Plans(chosen, found, page.items[-1].target if page.items else None, more=page.more)

    async def _planned(self, log: LogRecord, policy: RetentionPolicy) -> Planned | None:
        try:
            plan = await self._looks.planned(log, policy, self._unix_ms())
        except NotFound:  # it was deleted meanwhile
            return None
        if plan.wanted_seq == plan.anchor_seq:
            return None
        size_bytes = await self._looks.size_bytes(log, plan.anchor_seq, plan.upto_seq)
        return Planned(plan, size_bytes, self._looks.checkpoints(log, plan.upto_seq) if plan.mutations else 0)
