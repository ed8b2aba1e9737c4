"""A replica on a real node: the control loop of replica.py on the event loop, with a thread for syncs.

While a sync runs, the event loop serves everything else; what arrives meanwhile is the next step's batch, so one sync
serves all of it (group commit).

Rules of this file:
- The replica is stepped by the loop task alone; others only queue.
- What is unexpected ends `run` with its exception: the node stops, loudly.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from tallystick.errors import NoLeader, NotFound, Overloaded, Reason, TallystickError, Unavailable
from tallystick.peer.v1.peer_pb2 import MemberChange, RaftMessage
from tallystick_node.consensus.members import Member, Members
from tallystick_node.consensus.replica import Replica
from tallystick_node.consensus.syncer import Syncer, Syncing
from tallystick_node.consensus.transport import Transport
from tallystick_node.consensus.waiters import LEADER_WAIT_S, SWEEP_EVERY_S, Waiters
from tallystick_node.storage.errors import DiskFull
from tallystick_node.storage.journal import Flush, Journal

log = logging.getLogger(__name__)

Result = TypeVar("Result")

_MAX_WAIT_S: Final = 0.05
"""The loop looks at the clock at least this often."""
_DISK_RETRY_S: Final = 0.25
"""A full disk is tried again after this long."""
_COMPACT_EVERY_S: Final = 5.0


class Runner(Generic[Result]):
    """Runs a replica; callers propose and wait.

    Args:
        id_prefix: begins the ids of this run's proposals; no other run has the same.
        open_syncer: makes what runs the journal's syncs.

    Attributes:
        full_disk: what could not be written for want of room ("journal", "state"), or None. Meanwhile nothing is
            decided here; what is applied can be read.
    """

    def __init__(
        self,
        replica: Replica[Result],
        journal: Journal,
        clock: Callable[[], float],
        *,
        id_prefix: bytes | None = None,
        open_syncer: Callable[[], Syncing] = Syncer,
    ) -> None:
        self._replica = replica
        self._journal = journal
        self._transport: Transport | None = None
        self._clock = clock
        self._wake = asyncio.Event()
        self._waiters: Waiters[Result] = Waiters(clock, replica.give_up)
        self._id_prefix = id_prefix or secrets.token_bytes(8)
        self._open_syncer = open_syncer
        self._id_counter = 0
        self._link_events: list[tuple[bool, str]] = []
        self._stopping = False
        self._next_compact_s = 0.0
        self._leader_id: str | None = None
        self._members: Members | None = None
        self._reader: asyncio.Future[None] | None = None
        self._reader_number = 0
        self._exchange: tuple[Callable[[], bool], asyncio.Future[bool]] | None = None
        self._leader_changed = asyncio.Event()
        self._snapshot_wanted = asyncio.Event()
        self.full_disk: str | None = None

    # What the transport calls (consensus.transport.Receiver).

    def peer_connected(self, peer_id: str) -> None:
        """The link to this peer is up."""
        self._link_events.append((True, peer_id))
        self._wake.set()

    def peer_disconnected(self, peer_id: str) -> None:
        """The link to this peer is down."""
        self._link_events.append((False, peer_id))
        self._wake.set()

    def receive(self, peer_id: str, message: RaftMessage) -> None:
        """A message arrived."""
        self._replica.receive(peer_id, message)
        self._wake.set()

    # What callers ask.

    async def propose(self, command: bytes, timeout_s: float) -> Result:
        """Replicates a command and returns its result, applied on this node.

        Raises:
            NoLeader: no leader was found in time; nothing happened.
            Overloaded: no room, or the disk is full; nothing happened.
            Undecided: it may or may not happen.
        """
        return await self._decide(lambda proposal_id: self._replica.propose(proposal_id, command), timeout_s)

    @property
    def members(self) -> Members:
        """Who is of the cluster, by this node's log."""
        return self._replica.members

    @property
    def may_be_read(self) -> bool:
        """Whether what is applied here may be answered with: it was not put aside, and is not known to be wrong."""
        return self._replica.may_be_read

    async def change_members(self, kind: MemberChange.Kind.ValueType, member: Member, timeout_s: float) -> Members:
        """Changes who is of the cluster, by one node; the members as this node then knows them.

        Raises:
            AlreadyExists: a member to be added is one; one to be promoted is a voter.
            NotFound: there is no such member.
            Invalid: too many members, or the last voter is to be removed.
            Unavailable: another change is not decided yet, or the learner lacks too much of the log; nothing happened.
            NoLeader, Overloaded, Undecided: as `propose`. NoLeader too while a leader that is to be removed hands over.
        """
        change = MemberChange(kind=kind, member=member.to_proto())
        await self._decide(lambda proposal_id: self._replica.propose_change(proposal_id, change), timeout_s)
        return self._replica.members

    async def _decide(self, propose: Callable[[bytes], None], timeout_s: float) -> Result:
        if self._stopping or self.full_disk is not None:
            raise self._not_now()
        self._id_counter += 1
        proposal_id = self._id_prefix + self._id_counter.to_bytes(8, "big")
        future = self._waiters.add(proposal_id, timeout_s)
        propose(proposal_id)
        self._wake.set()
        try:
            return await future
        finally:
            self._waiters.remove(proposal_id)

    async def confirm_read(self, timeout_s: float) -> None:
        """Returns once this node has applied all that was acknowledged anywhere before the call. One at a time.

        Raises:
            NoLeader: no leader confirmed in time that it leads; the next node may be luckier.
            Unavailable: this node is stopping.
        """
        if self._stopping:
            raise self._not_now()
        self._reader = asyncio.get_running_loop().create_future()
        self._reader_number = self._replica.begin_read()
        self._wake.set()
        deadline_s = self._clock() + timeout_s
        try:
            while not self._reader.done():
                left_s = min(deadline_s - self._clock(), LEADER_WAIT_S)
                if left_s <= 0:
                    raise NoLeader("no leader confirmed this read in time")
                await asyncio.wait((self._reader,), timeout=left_s)
                if not self._reader.done() and not self._replica.has_leader:
                    raise NoLeader("no leader in reach: no majority, or an election is under way")
            self._reader.result()
        finally:
            self._replica.end_read()

    async def hand_over(self, to_node_id: str | None, timeout_s: float) -> str:
        """Lets another voter lead, this one or the one that has most of the log; the next leader's id.

        Raises:
            NoLeader: this node does not lead, or no voter took over in time; it goes on leading.
            NotFound: `MEMBER_NOT_FOUND`, that is no other voter.
        """
        if not self._replica.kernel.is_leader:
            raise NoLeader("this node does not lead")
        others = self._replica.members.without(self._replica.node_id)
        if to_node_id is not None and not others.is_voter(to_node_id):  # nothing is proposed while one is waited for
            raise NotFound(
                f"{to_node_id} is no other voter", reason=Reason.MEMBER_NOT_FOUND, metadata={"node_id": to_node_id}
            )
        if not self._replica.can_hand_over:
            raise NoLeader("no other voter is in reach")
        self._replica.hand_over(to_node_id)
        self._wake.set()
        try:
            async with asyncio.timeout(timeout_s):
                while self._leader_id in (None, self._replica.node_id):
                    self._leader_changed.clear()
                    await self._leader_changed.wait()
        except TimeoutError:
            raise NoLeader("no voter took over in time") from None
        return self._leader_id or ""

    async def snapshot_is_wanted(self) -> None:
        """Returns when this node cannot go on without a snapshot (`Replica.wanted_index`)."""
        while not self._replica.wanted_index:
            self._snapshot_wanted.clear()
            await self._snapshot_wanted.wait()

    async def exchange_state(self, exchange: Callable[[], bool]) -> bool:
        """Runs `exchange` between two cycles, when nothing else touches journal or state machine, and goes on from
        what it left, if it says that it exchanged anything. What it raises ends `run`."""
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._exchange = (exchange, done)
        self._wake.set()
        return await done

    def _not_now(self) -> TallystickError:
        if self._stopping:
            return Unavailable("this node is stopping", reason=Reason.STOPPING)
        return Overloaded(f"no room on the disk for the {self.full_disk}", reason=Reason.DISK_FULL)

    # The loop.

    def stop(self) -> None:
        """Ends `run` after the step it is in."""
        self._stopping = True
        self._wake.set()

    async def run(self, transport: Transport) -> None:
        """Runs until `stop`; raises whatever the node must not go on with."""
        self._transport = transport
        sweeping = asyncio.create_task(self._sweep())
        try:
            with self._open_syncer() as syncer:
                while not self._stopping:
                    await self._sleep()
                    await self._cycle(syncer)
        finally:
            self._stopping = True
            sweeping.cancel()
            self._waiters.fail_all()
            if self._reader is not None and not self._reader.done():
                self._reader.set_exception(self._not_now())
                self._reader.exception()  # seen: there may be nobody left to raise it

    async def _cycle(self, syncer: Syncing) -> None:
        self._exchange_now()
        self._take_link_events()
        ready = self._replica.step()
        self._send(ready.send_now)
        if ready.send_now:
            await asyncio.sleep(0)  # let it leave before the sync takes the processor: the others' syncs take as long
        flush = ready.flush
        while flush is not None:
            if not await self._sync(syncer, flush):
                return  # what it would send now is not on disk
            flush = self._journal.take_flush()
        self._send(self._replica.take_held())
        await self._apply()
        self._settle_reader()
        self._log_leader()
        self._tell_members()
        if self._replica.wanted_index:
            self._snapshot_wanted.set()
        self._compact_now_and_then()

    async def _sync(self, syncer: Syncing, flush: Flush) -> bool:
        """Has a flush on disk; False if there is no room and the node stops."""
        syncing = syncer.run(lambda: self._journal.write_flush(flush))
        if self._replica.kernel.is_leader:
            # What is on disk already is applied while the disk works. Not on a follower: someone waits for its answer.
            await self._apply()
        while True:
            try:
                await syncing
                break
            except DiskFull:
                await self._wait_for_room("journal")
                if self._stopping:
                    return False
                syncing = syncer.run(lambda: self._journal.write_flush(flush))
        self._journal.finish_flush(flush)
        self._has_room("journal")
        return True

    async def _apply(self) -> None:
        try:
            self._replica.apply()
        except DiskFull:
            await self._wait_for_room("state")
        else:
            self._has_room("state")
        for proposal_id, verdict in self._replica.take_verdicts():
            self._waiters.settle(proposal_id, verdict)

    async def _wait_for_room(self, what: str) -> None:
        if self.full_disk is None:
            log.error("disk full", extra={"event": "disk_full", "what": what})
            self.full_disk = what
            self._replica.accepts_writes = False
        await asyncio.sleep(_DISK_RETRY_S)

    def _has_room(self, what: str) -> None:
        if self.full_disk == what:
            log.warning("disk has room again", extra={"event": "disk_has_room", "what": what})
            self.full_disk = None

    async def _sleep(self) -> None:
        if self._replica.has_work:
            await asyncio.sleep(0)  # others first: a busy replica must not starve the readers
            return
        wait_s = min(max(self._replica.next_deadline_s - self._clock(), 0.001), _MAX_WAIT_S)
        timer = asyncio.get_running_loop().call_later(wait_s, self._wake.set)
        await self._wake.wait()
        timer.cancel()
        self._wake.clear()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            self._waiters.sweep()

    def _send(self, messages: list[tuple[str, RaftMessage]]) -> None:
        if self._transport is not None:
            for peer_id, message in messages:
                self._transport.send(peer_id, message)

    def _take_link_events(self) -> None:
        events, self._link_events = self._link_events, []
        for is_up, peer_id in events:
            if is_up:
                self._replica.peer_connected(peer_id)
            else:
                self._replica.peer_disconnected(peer_id)

    def _exchange_now(self) -> None:
        if self._exchange is None:
            return
        exchange, done = self._exchange
        self._exchange = None
        is_exchanged = exchange()
        if is_exchanged:
            self._replica.restart()
        if not done.done():
            done.set_result(is_exchanged)

    def _settle_reader(self) -> None:
        number = self._replica.take_read()
        if number == self._reader_number and self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _tell_members(self) -> None:
        if self._replica.members is not self._members and self._transport is not None:
            self._members = self._replica.members
            self._transport.update_members(self._members)

    def _log_leader(self) -> None:
        """The lines that tell an outage's story: who led when."""
        kernel = self._replica.kernel
        if kernel.leader_id != self._leader_id:
            self._leader_id = kernel.leader_id
            self._leader_changed.set()
            extra = {"event": "leader_changed", "leader_id": kernel.leader_id, "term": kernel.term}
            log.info("another leader" if kernel.leader_id else "no leader", extra=extra)

    def _compact_now_and_then(self) -> None:
        if self._clock() >= self._next_compact_s:
            self._next_compact_s = self._clock() + _COMPACT_EVERY_S
            self._replica.compact()
