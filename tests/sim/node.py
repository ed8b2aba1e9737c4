"""A simulated node, and what can happen to it."""

from __future__ import annotations

import contextlib
import math

from tallystick_node.storage.errors import DiskFull, JournalDamaged, UnknownFormat
from tests.sim.disk import ROOM_BYTES
from tests.sim.history import CommittedEntryLost
from tests.sim.running import DISK_RETRY_S, QUICK_SYNC_S, RunningNode


class SimNode(RunningNode):
    """One node. `start`, `crash`, `propose` and the faults are what a script does to it.

    Attributes:
        machine: its state; what was synced of it outlives a crash.
        is_up: it runs, or is paused.
        is_damaged: its disk refuses to open; it stays down.
        ill_s: when it was last struck.
        known_term: the newest term it had when it went down.
    """

    # Its life.

    def start(self) -> None:
        """Power on; not for a disk that refuses to open."""
        if self.is_up or self.is_damaged:
            return
        self._run += 1
        try:
            self._journal = self._open_journal()
            self._finish_install(self._journal)
        except DiskFull:
            self._world.after(DISK_RETRY_S, self._in_this_run(self.start))
            return
        except (JournalDamaged, UnknownFormat):
            if not self.may_be_damaged:
                raise
            self.is_damaged = True
            self._history.trace.append(f"{self.name} refuses its journal")
            return
        if self._journal.last_index < self.machine.applied_index:
            raise CommittedEntryLost(f"{self.name} has applied entries that its journal lacks")
        self.may_be_damaged = False
        self.is_up, self._busy, self._woken = True, False, False
        self._is_fetching = False
        self._timer_s = math.inf
        self._replica = self._make_replica(self._journal)
        self._network.attach(self.name, self._receive, self._link)
        self._wake()

    def crash(self, *, loses_power: bool = True, tears: bool = False) -> None:
        """Power off: what was not synced is gone. Without the loss of power only the process goes."""
        self._run += 1
        self.is_up = False
        self.strike()
        self.known_term = max(self.known_term, self.replica.kernel.term)
        if self._in_flight is not None and self._rng.random() < 0.5:
            self.disk.can_sync = False  # it goes while the flush is written
            with contextlib.suppress(DiskFull):
                self.journal.write_flush(self._in_flight)
            self.disk.can_sync = True
        self._in_flight = None
        self._replica = self._journal = None
        self._late = None
        self._is_stuck = False
        self._network.detach(self.name)
        if loses_power:
            self.disk.crash(tears=tears)
            self.machine.crash()

    def propose(self, proposal_id: bytes) -> None:
        """A client asks this node."""
        if self.is_up:
            self._in_this_run(lambda: self._take_proposal(proposal_id))()

    def _take_proposal(self, proposal_id: bytes) -> None:
        self.replica.propose(proposal_id, self._history.commands[proposal_id])
        self._wake()

    def give_up(self, proposal_id: bytes) -> None:
        """A client does not wait any longer."""
        only_queued = self._rng.random() < 0.5

        def give_up() -> None:
            if self.replica.give_up(proposal_id, only_queued=only_queued):
                self._history.did_nothing(proposal_id)

        if self.is_up:
            self._in_this_run(give_up)()

    # What goes wrong with it.

    def strike(self) -> None:
        """Something goes wrong here, now."""
        self.ill_s = self._world.now_s

    @property
    def is_ill(self) -> bool:
        """Whether it is not as it should be, this moment."""
        return not self.is_up or self._late is not None or self._is_stuck or self.has_bad_disk

    @property
    def has_bad_disk(self) -> bool:
        """Whether its disk is slow or has no room."""
        return self._sync_s != QUICK_SYNC_S or self.disk.room_bytes < ROOM_BYTES // 2

    def pause(self) -> None:
        """Nothing runs any more; then all is late."""
        if self._late is None:
            self._late = []

    def resume(self) -> None:
        """Ends a pause."""
        late, self._late = self._late or [], None
        self.strike()
        for event in late:
            event()

    def slow_disk(self, longest_s: float) -> None:
        """A sync takes up to so long."""
        self.strike()
        self._sync_s = (QUICK_SYNC_S[0], longest_s)

    def stick(self) -> None:
        """A sync does not return."""
        self._is_stuck = True

    def unstick(self) -> None:
        """It returns."""
        if self._is_stuck:
            self._is_stuck = False
            self.strike()
            if self._in_flight is not None and self.is_up:
                self._in_this_run(self._synced)()

    def fill_disk(self, room_bytes: int) -> None:
        """There is room for so much more."""
        self.strike()
        self.disk.room_bytes = room_bytes

    def recover(self) -> None:
        """All that can be well is, and it runs, if its disk can be read."""
        self.resume()
        self.unstick()
        self.disk.room_bytes = ROOM_BYTES
        self._sync_s = QUICK_SYNC_S
        self.machine.raises = ""
        self.start()
