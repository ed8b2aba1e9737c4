"""The use cases of leases: become the one who writes a log, stay it, cease to be it, and see who is.

Rules of this file:
- What does not depend on the tables is refused before anything is proposed.
- No time is counted here: see `keeper.py`.
"""

from __future__ import annotations

from collections.abc import Callable

from tallystick_node.access import Access, ReadFrom, page_items
from tallystick_node.core.commands import AcquireLease, LeaseCommand, ReleaseLease, RenewLease, Target
from tallystick_node.core.outcomes import LeaseChanged, LeaseRecord
from tallystick_node.storage.lease_reads import LeaseReads
from tallystick_node.storage.pages import Page
from tallystick_node.wire.commands import encode_command
from tallystick_node.wire.fields import check_name, check_target


class LeaseStore:
    """See the module.

    Args:
        clock_ms: Unix time in milliseconds; only stamps, nothing is decided by it.
    """

    def __init__(self, access: Access, reads: LeaseReads, clock_ms: Callable[[], int]) -> None:
        self._access = access
        self._reads = reads
        self._clock_ms = clock_ms

    async def acquire(self, target: Target, holder: str, ttl_ms: int, *, actor: str, timeout_s: float) -> LeaseChanged:
        """Makes the holder the one who writes the log; asked again while it is, it is the same request, and renews.

        Raises:
            Refused: Conflict (`LEASE_HELD`: by another), QuotaExceeded, Invalid.
            Unavailable, Undecided: as `Store.append`; asking again as the same holder is safe.
        """
        return await self._decide(AcquireLease(self._clock_ms(), target, holder, ttl_ms, actor), timeout_s)

    async def renew(self, target: Target, epoch: int, *, timeout_s: float) -> LeaseChanged:
        """The holder is alive: its time begins anew.

        Raises:
            Refused: StaleOwner (this epoch has ended), Invalid.
            Unavailable, Undecided: as `Store.append`; asking again is safe.
        """
        return await self._decide(RenewLease(self._clock_ms(), target, epoch), timeout_s)

    async def release(self, target: Target, epoch: int, *, actor: str, timeout_s: float) -> LeaseChanged:
        """Ends the lease, by its holder or by who takes it from a holder that is lost.

        Raises:
            Refused: StaleOwner (it expired, or another epoch is held), Invalid.
            Unavailable, Undecided: as `Store.append`; asking again is safe.
        """
        return await self._decide(ReleaseLease(self._clock_ms(), target, epoch, actor), timeout_s)

    async def lease(self, target: Target, read_from: ReadFrom) -> LeaseRecord | None:
        """The lease of a log; None: it was never acquired.

        Raises:
            Invalid: a bad name.
            Unavailable, Undecided: this node cannot answer with the consistency asked for.
        """
        check_target(target)
        await self._access.ready(read_from)
        return self.known(target)

    async def leases(
        self, namespace: str, prefix: str, after: Target | None, limit: int, read_from: ReadFrom
    ) -> Page[LeaseRecord]:
        """A page of the leases of a namespace, by agent and branch. Raises as `lease`."""
        check_name("namespace", namespace)
        if prefix:
            check_name("prefix", prefix)
        await self._access.ready(read_from)
        items = page_items("limit", limit)
        return self._access.looked_up(lambda: self._reads.leases(namespace, prefix, after, items))

    def known(self, target: Target) -> LeaseRecord | None:
        """The lease of a log, as this node has applied it; None: it was never acquired."""
        return self._access.looked_up(lambda: self._reads.lease(target))

    async def _decide(self, command: LeaseCommand, timeout_s: float) -> LeaseChanged:
        return await self._access.decide(encode_command(command), timeout_s, LeaseChanged)
