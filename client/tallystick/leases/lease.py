"""A lease, as the program that holds it sees it: acquired in its turn, renewed meanwhile, released at the end.

Rules of this file:
- The holder's name is one `Lease` object's, so two of one program do not share a lease.
- Its time counts, by this machine's steady clock, from before the request was sent that was answered: so the node,
  which counts from when it was decided, never gives up earlier than this program does.
- Its properties may be read from any thread; everything else belongs to the loop's.
- What is lost stays lost: there is no way back but a new lease, after which the state is to be read anew.
- Who waits for its turn is woken by a watch, it does not poll.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from types import TracebackType
from typing import Final, Self

from tallystick import _convert
from tallystick._calls import Calls
from tallystick._events import LeaseEvent
from tallystick._infos import LeaseChange, LeaseInfo
from tallystick._methods import (
    acquire_lease_method,
    describe_lease_method,
    release_lease_method,
    renew_lease_method,
)
from tallystick._values import Consistency, Revision
from tallystick._watch import watch
from tallystick.errors import Compacted, Conflict, Invalid, Reason, Refused, StaleOwner, TallystickError
from tallystick.leases.fence import Fence
from tallystick.v1 import common_pb2, lease_pb2, state_pb2

DEFAULT_TTL_S: Final = 10.0
DEFAULT_WAIT_S: Final = 30.0

RENEWALS: Final = 3
"""Into so many parts the time of a lease is cut: it is renewed after each."""

RELEASE_TIMEOUT_S: Final = 5.0
"""How long leaving the block tries to release; after that the lease ends by time."""

_PAUSE_S: Final = 0.05
"""Between a renewal that failed and the next."""

_MAIN: Final = "main"


class Lease:
    """The exclusive right to write an agent's log: `async with agent.lease(ttl_s=10) as lease: ...`. Used once.

    Inside the block the writes of this `Agent` object carry the lease's epoch. When the lease is lost they raise
    `StaleOwner`; `is_lost` and `wait_lost` tell of it earlier.
    """

    def __init__(
        self,
        calls: Calls,
        ref: common_pb2.AgentRef,
        fence: Fence,
        *,
        actor: str,
        holder: str,
        ttl_s: float,
        wait_s: float,
    ) -> None:
        if not ttl_s > 0 or not wait_s >= 0:
            raise Invalid("ttl_s is above 0, wait_s at least 0", metadata={"field": "ttl_s"})
        self._calls, self._ref, self._fence = calls, ref, fence
        self._actor = actor
        self._holder = holder
        self._ttl_s = ttl_s
        self._wait_s = wait_s
        self._info: LeaseInfo | None = None
        self._confirmed_s = 0.0
        self._is_lost = False
        self._over = asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._info is not None:
            raise RuntimeError("a lease is used once")
        self._fence.check_free()
        await self._acquire()
        self._keeping = asyncio.create_task(self._keep())
        self._keeping.add_done_callback(self._kept)
        try:
            self._fence.take(self)
        except Invalid:  # another block of the same object came first
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(TallystickError):  # it ends by time
            await self.release(timeout_s=min(self._calls.timeout_s, RELEASE_TIMEOUT_S))

    def __repr__(self) -> str:
        return f"Lease({self._ref.agent!r}, epoch={self._info.epoch if self._info else 0}, is_held={self.is_held})"

    @property
    def holder(self) -> str:
        """Who holds it: a name that no other lease has."""
        return self._holder

    @property
    def epoch(self) -> int:
        """Higher than that of every earlier lease of this agent: a fencing token also for what is not in the store."""
        return self._acquired.epoch

    @property
    def ttl_s(self) -> float:
        """How long it lives without a renewal, in seconds."""
        return self._ttl_s

    @property
    def revision(self) -> Revision:
        """Of its acquisition."""
        return self._acquired.revision

    @property
    def remaining_s(self) -> float:
        """How long it is still held if it is not renewed again, in seconds, by this machine's steady clock."""
        if self._info is None or self._over.is_set():
            return 0.0
        return max(0.0, self._confirmed_s + self._ttl_s - self._calls.outside.clock())

    @property
    def is_held(self) -> bool:
        """Whether it is held, as far as this program knows: acquired, not released, and renewed in time."""
        return self.remaining_s > 0

    @property
    def is_lost(self) -> bool:
        """Whether it ended without being released here: another took over, or no renewal was decided in time."""
        is_over = self._over.is_set()
        return self._is_lost if is_over else self._info is not None and not self.is_held

    async def wait_lost(self) -> bool:
        """Waits until it is held no more; True: it was lost, False: it was released."""
        await self._over.wait()
        return self._is_lost

    async def renew(self, *, timeout_s: float | None = None) -> None:
        """Renews it now; the lease does so by itself, this is for who wants to be sure before something long.

        Raises:
            StaleOwner: it was lost.
            Unavailable, Undecided: no majority answered; it is held until its time is over.
        """
        if not self.is_held:
            self.lose()
            raise self._lost()
        request = lease_pb2.RenewLeaseRequest(agent=self._ref, epoch=self.epoch)
        sent_s = self._calls.outside.clock()
        try:
            await self._calls.write(renew_lease_method, request, key="", timeout_s=timeout_s)
        except Refused:
            self.lose()
            raise
        if not self.remaining_s:  # the answer came too late: what is lost stays lost
            self.lose()
            raise self._lost()
        self._confirmed_s = max(self._confirmed_s, sent_s)

    async def release(self, *, timeout_s: float | None = None) -> None:
        """Gives it up, so that others need not wait for its end; leaving the block does so.

        From the call on writes go without a lease, whatever the answer.

        Raises:
            Unavailable, Undecided: no majority answered; it ends by time.
        """
        if self._info is None:
            return
        self._over.set()
        self._fence.leave(self)
        if self._keeping is None:
            return
        self._keeping.cancel()
        await asyncio.wait((self._keeping,))
        self._keeping = None
        request = lease_pb2.ReleaseLeaseRequest(agent=self._ref, epoch=self.epoch, actor=self._actor)
        with suppress(StaleOwner):  # it has ended, which is what was wanted
            answer = await self._calls.write(release_lease_method, request, key="", timeout_s=timeout_s)
            self._calls.session.saw(answer.lease.revision)

    def lose(self) -> None:
        """It is held no more: a node said so, or its time is over."""
        if not self._over.is_set():
            self._is_lost = True
            self._over.set()

    def _lost(self) -> StaleOwner:
        return StaleOwner(f"the lease of epoch {self.epoch} is held no more", metadata={"asked": str(self.epoch)})

    @property
    def _acquired(self) -> LeaseInfo:
        if self._info is None:
            raise RuntimeError("a lease is used as `async with`")
        return self._info

    async def _acquire(self) -> None:
        clock = self._calls.outside.clock
        deadline_s = clock() + self._wait_s
        request = lease_pb2.AcquireLeaseRequest(
            agent=self._ref, holder=self._holder, ttl_ms=round(self._ttl_s * 1000), actor=self._actor
        )
        while True:
            sent_s = clock()
            try:
                answer = await self._calls.write(acquire_lease_method, request, key=self._holder, timeout_s=None)
            except asyncio.CancelledError:
                await self._give_back(request)
                raise
            except Conflict as held:
                left_s = deadline_s - clock()
                if held.reason is not Reason.LEASE_HELD or not await self._ends_within(left_s):
                    raise
                continue
            self._calls.session.saw(answer.lease.revision)
            info = _convert.lease_info(answer.lease)
            ends_s = sent_s + info.ttl_ms / 1000
            if ends_s > clock() or clock() >= deadline_s:  # else the answer came too late to count on: ask again
                self._info, self._ttl_s, self._confirmed_s = info, info.ttl_ms / 1000, sent_s
                return

    async def _give_back(self, request: lease_pb2.AcquireLeaseRequest) -> None:
        """Nobody waits for it any more, and it may be held: asked again it tells its epoch, and is released."""
        timeout_s = min(self._calls.timeout_s, RELEASE_TIMEOUT_S)
        with suppress(TallystickError):  # another has it, or it ends by time
            answer = await self._calls.write(acquire_lease_method, request, key=self._holder, timeout_s=timeout_s)
            release = lease_pb2.ReleaseLeaseRequest(agent=self._ref, epoch=answer.lease.epoch, actor=self._actor)
            await self._calls.write(release_lease_method, release, key="", timeout_s=timeout_s)

    async def _ends_within(self, seconds: float) -> bool:
        """Waits until the lease that another holds has ended; False: it has not in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._ends()
                return True
        return False

    async def _ends(self) -> None:
        read = lease_pb2.DescribeLeaseRequest(
            agent=self._ref, options=self._calls.session.read_options(Consistency.LINEARIZABLE)
        )
        found = await self._calls.read(
            describe_lease_method, read, consistency=Consistency.LINEARIZABLE, timeout_s=None
        )
        if not _convert.lease_info(found.lease).is_held:
            return
        request = state_pb2.WatchRequest(namespace=self._ref.namespace, agent=self._ref.agent)
        after = _convert.revision(found.header.revision)
        with suppress(Compacted):  # then look again
            async with aclosing(watch(self._calls, request, after, None)) as events:
                async for event in events:
                    if isinstance(event, LeaseEvent) and self._is_end(event):
                        return

    def _is_end(self, event: LeaseEvent) -> bool:
        return event.branch == (self._ref.branch or _MAIN) and event.change is not LeaseChange.ACQUIRED

    def _kept(self, keeping: asyncio.Task[None]) -> None:
        """Nobody renews it any more, whatever the reason."""
        if not keeping.cancelled():
            self.lose()

    async def _keep(self) -> None:
        """Renews until it is lost."""
        while True:
            due_s = self._confirmed_s + self._ttl_s / RENEWALS
            await asyncio.sleep(max(0.0, due_s - self._calls.outside.clock()))
            try:
                await self.renew(timeout_s=self.remaining_s or None)
            except Refused:
                return
            except TallystickError:  # no majority for now: again, as long as there is time
                await asyncio.sleep(min(_PAUSE_S, self.remaining_s))
