"""How a simulated node runs: the control loop of replica.py, on the virtual clock, and the taking of a peer's copy.

Rules of this file: whatever happens to a node passes `_in_this_run`: it is lost with a restart, and late after a pause.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from tallystick.peer.v1.peer_pb2 import RaftMessage
from tallystick_node.consensus.intake import Verdict
from tallystick_node.consensus.members import Member, Members
from tallystick_node.consensus.proposals import Applied
from tallystick_node.consensus.replica import Replica
from tallystick_node.consensus.settings import Tuning
from tallystick_node.storage.errors import DiskFull
from tallystick_node.storage.journal import Flush, Journal
from tests.sim.copying import FETCH_S, RETRY_S, Copy, fetch, prepare_journal
from tests.sim.disk import SimFiles
from tests.sim.history import History
from tests.sim.machine import MachineError, SimMachine
from tests.sim.network import Network
from tests.sim.world import World

TUNING = Tuning(
    heartbeat_s=0.05,
    election_min_s=0.2,
    election_max_s=0.4,
    append_batch_bytes=150,
    journal_tail_entries=10,
    journal_kept_bytes=8192,
)
"""Small messages: a resend is cut short often, which is where pysyncobj loses entries. Small journals: who was away
needs a copy of the state."""
QUICK_SYNC_S: Final = (0.0001, 0.001)
DISK_RETRY_S: Final = 0.1
"""A full disk is tried again after this long."""
FOLDER: Final = Path("/journal")


class RunningNode(ABC):
    """A node that runs, or is down; `SimNode` is what happens to it."""

    replica_class: type[Replica[int]] = Replica
    tuning = TUNING
    segment_bytes = 1024

    def __init__(
        self,
        name: str,
        names: Sequence[str],
        world: World,
        network: Network,
        history: History,
    ) -> None:
        self.name = name
        self._members = Members.of(Member(each) for each in names)
        self._world = world
        self._rng = world.rng_for("node", name)
        self._network = network
        self._history = history
        self.disk = SimFiles(world.rng_for("disk", name))
        self.machine = SimMachine(lambda entry: history.applied(name, entry))
        self._run = 0
        self.is_up = False
        self.may_be_damaged = False
        self.is_damaged = False
        self.caller_raises = False
        self.ill_s = 0.0
        self.known_term = 0
        self._sync_s = QUICK_SYNC_S
        self._is_stuck = False
        self._staged: Copy | None = None
        self._is_fetching = False
        self.crashes_in_install = False
        self.installed_count = 0
        self.peers: Mapping[str, RunningNode] = {}
        self._late: list[Callable[[], None]] | None = None
        self._busy = False
        self._woken = False
        self._timer_s = math.inf
        self._in_flight: Flush | None = None
        self._replica: Replica[int] | None = None
        self._journal: Journal | None = None

    @property
    def replica(self) -> Replica[int]:
        assert self._replica is not None
        return self._replica

    @property
    def journal(self) -> Journal:
        assert self._journal is not None
        return self._journal

    @abstractmethod
    def start(self) -> None:
        """Power on."""

    @abstractmethod
    def crash(self, *, loses_power: bool = True) -> None:
        """It is down."""

    def _open_journal(self) -> Journal:
        return Journal.open(self.disk, FOLDER, segment_bytes=self.segment_bytes, cache_bytes=1024)

    def _make_replica(self, journal: Journal) -> Replica[int]:
        return self.replica_class(
            self.name,
            self._members,
            journal,
            self.machine,
            tuning=self.tuning,
            clock=self._world.clock,
            rng=self._world.rng_for("kernel", self.name, str(self._run)),
        )

    # Its loop.

    def _receive(self, peer: str, message: RaftMessage) -> None:
        self._in_this_run(lambda: self._take_message(peer, message))()

    def _take_message(self, peer: str, message: RaftMessage) -> None:
        self.replica.receive(peer, message)
        self._wake()

    def _link(self, peer: str, is_up: bool) -> None:
        change = self.replica.peer_connected if is_up else self.replica.peer_disconnected
        self._in_this_run(lambda: change(peer))()

    def _wake(self) -> None:
        if not self._woken and not self._busy:
            self._woken = True
            self._world.after(0.00005, self._in_this_run(self._step))

    def _in_this_run(self, event: Callable[[], None]) -> Callable[[], None]:
        """The event if the node was not restarted meanwhile, when it is not paused."""
        run = self._run

        def guarded() -> None:
            if self._run != run:
                return
            if self._late is None:
                event()
            else:
                self._late.append(guarded)

        return guarded

    def _step(self) -> None:
        if self._busy:
            return
        self._woken = False
        if self._staged is not None and not self._install():
            return
        ready = self.replica.step()
        self._send(ready.send_now)
        if ready.flush is None:
            self._finish()
        else:
            self._busy = True
            self._in_flight = ready.flush
            self._sync_after(self._rng.uniform(*self._sync_s))

    def _sync_after(self, delay_s: float) -> None:
        self._world.after(delay_s, self._in_this_run(self._synced))

    def _synced(self) -> None:
        flush = self._in_flight
        if self._is_stuck or flush is None:
            return
        try:
            self.journal.write_flush(flush)
        except DiskFull:
            self.replica.accepts_writes = False
            self._sync_after(DISK_RETRY_S)
            return
        self.replica.accepts_writes = True
        self.journal.finish_flush(flush)
        assert not self.journal.has_pending, "a simulated step is smaller than a flush"
        self._in_flight = None
        self._busy = False
        self._finish()

    def _finish(self) -> None:
        try:
            self.replica.apply()
        except MachineError:  # as a real node: it stops, loudly, and whoever runs it starts it again
            self.crash(loses_power=False)
            self._world.after(0.1, self.start)
            return
        self._send(self.replica.take_held())
        for proposal_id, verdict in self.replica.take_verdicts():
            self._tell(proposal_id, verdict)
        if self._rng.random() < 0.05:
            self.machine.checkpoint()
            self.replica.compact()
        self._fetch_if_wanted()
        if self.replica.has_work:
            self._wake()
        else:
            self._set_timer()

    # How it takes a copy of a peer's state.

    def _fetch_if_wanted(self) -> None:
        if not self.replica.wanted_index or self._is_fetching or self._staged is not None:
            return
        machines = ((name, peer.machine) for name, peer in self.peers.items() if name != self.name)
        leader = self.replica.kernel.leader_id
        copy = fetch(self.name, leader, machines, self._network, self.replica.wanted_index)
        self._is_fetching = True
        delay_s = RETRY_S if copy is None else self._rng.uniform(*FETCH_S)
        self._world.after(delay_s, self._in_this_run(lambda: self._fetched(copy)))

    def _fetched(self, copy: Copy | None) -> None:
        self._is_fetching = False
        self._staged = copy
        self._wake()

    def _install(self) -> bool:
        """Between two cycles; False if the node went down."""
        try:
            self._finish_install(self.journal)
        except DiskFull:
            self.crashes_in_install = True
        if self.crashes_in_install:
            self.crashes_in_install = False
            self.crash()
            self._world.after(0.1, self.start)
            return False
        self.replica.restart()
        return True

    def _finish_install(self, journal: Journal) -> None:
        if self._staged is None:
            return
        is_of_use = prepare_journal(journal, self._staged)
        if is_of_use and not self.crashes_in_install:
            self.machine.install(self._staged)
            self.installed_count += 1
        if not self.crashes_in_install:
            self._staged = None

    def _tell(self, proposal_id: bytes, verdict: Verdict[int]) -> None:
        if self.caller_raises and isinstance(verdict, Applied):
            self.caller_raises = False  # what a caller does with its verdict is nothing to the node
        self._history.told(self.name, proposal_id, verdict)

    def _set_timer(self) -> None:
        """One timer a node: an earlier one looks at the deadline again when it rings."""
        at_s = max(self.replica.next_deadline_s, self._world.now_s + 0.0005)
        if self._timer_s <= at_s:
            return
        self._timer_s = at_s
        self._world.after(at_s - self._world.now_s, self._in_this_run(lambda: self._ring(at_s)))

    def _ring(self, at_s: float) -> None:
        if at_s != self._timer_s:
            return  # an earlier one took its place
        self._timer_s = math.inf
        if self.replica.next_deadline_s <= self._world.now_s:
            self._wake()
        else:
            self._set_timer()

    def _send(self, messages: list[tuple[str, RaftMessage]]) -> None:
        for peer, message in messages:
            self._network.send(self.name, peer, message)
