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

from tallystick.errors import Overloaded, Reason, TallystickError, Unavailable
from tallystick.peer.v1.peer_pb2 import RaftMessage
from tallystick_node.consensus.replica import Replica
from tallystick_node.consensus.syncer import Syncer, Syncing
from tallystick_node.consensus.transport import Transport
from tallystick_node.consensus.waiters import SWEEP_EVERY_S, Waiters
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
        if self._stopping or self.full_disk is not None:
            raise self._not_now()
        self._id_counter += 1
        proposal_id = self._id_prefix + self._id_counter.to_bytes(8, "big")
        future = self._waiters.add(proposal_id, timeout_s)
        self._replica.propose(proposal_id, command)
        self._wake.set()
        try:
            return await future
        finally:
            self._waiters.remove(proposal_id)

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
            sweeping.cancel()
            self._waiters.fail_all()

    async def _cycle(self, syncer: Syncing) -> None:
        self._take_link_events()
        ready = self._replica.step()
        self._send(ready.send_now)
        if ready.send_now:
            await asyncio.sleep(0)  # let it leave before the sync takes the processor: the others' syncs take as long
        flush = ready.flush
        while flush is not None:
            await self._sync(syncer, flush)
            flush = self._journal.take_flush()
        self._send(self._replica.take_held())
        await self._apply()
        self._log_leader()
        self._compact_now_and_then()

    async def _sync(self, syncer: Syncing, flush: Flush) -> None:
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
                syncing = syncer.run(lambda: self._journal.write_flush(flush))
        self._journal.finish_flush(flush)
        self._has_room("journal")

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

    def _log_leader(self) -> None:
        """The lines that tell an outage's story: who led when."""
        kernel = self._replica.kernel
        if kernel.leader_id != self._leader_id:
            self._leader_id = kernel.leader_id
            extra = {"event": "leader_changed", "leader_id": kernel.leader_id, "term": kernel.term}
            log.info("another leader" if kernel.leader_id else "no leader", extra=extra)

    def _compact_now_and_then(self) -> None:
        if self._clock() >= self._next_compact_s:
            self._next_compact_s = self._clock() + _COMPACT_EVERY_S
            self._replica.compact()
