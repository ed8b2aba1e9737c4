"""A simulated node: the real replica and journal, driven by the virtual clock."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path

from tallystick.peer.v1.peer_pb2 import RaftMessage
from tallystick_node.consensus.machine import CommittedEntry
from tallystick_node.consensus.members import Member, Members
from tallystick_node.consensus.replica import Replica
from tallystick_node.consensus.settings import Tuning
from tallystick_node.storage.journal import Flush, Journal
from tests.sim.disk import SimFiles
from tests.sim.history import CommittedEntryLost, History, Stuck
from tests.sim.world import Network, World

TUNING = Tuning(
    heartbeat_s=0.05, election_min_s=0.2, election_max_s=0.4, append_batch_bytes=150, journal_tail_entries=10
)
"""Small messages: a resend is cut short often, which is where pysyncobj loses entries."""


class SimMachine:
    """A state machine that remembers what it applied, and how much of it is on disk."""

    def __init__(self, on_apply: Callable[[CommittedEntry], None]) -> None:
        self.entries: list[CommittedEntry] = []
        self.durable_count = 0
        self._on_apply = on_apply

    @property
    def applied_index(self) -> int:
        return self.entries[-1].index if self.entries else 0

    @property
    def durable_index(self) -> int:
        return self.entries[self.durable_count - 1].index if self.durable_count else 0

    def apply(self, entries: Sequence[CommittedEntry]) -> list[list[int]]:
        for entry in entries:
            assert entry.index > self.applied_index, "applied twice, or out of order"
            self.entries.append(entry)
            self._on_apply(entry)
        return [[entry.index] * len(entry.commands) for entry in entries]

    @property
    def members(self) -> bytes | None:
        return None

    def digest_at(self, index: int) -> bytes | None:
        return None

    def checkpoint(self) -> None:
        """What was applied is on disk."""
        self.durable_count = len(self.entries)

    def crash(self) -> None:
        """What was not on disk is gone."""
        del self.entries[self.durable_count :]


class SimNode:
    """One node. `start`, `crash` and `propose` are what a schedule does to it."""

    replica_class: type[Replica[int]] = Replica
    tuning = TUNING

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
        self._network = network
        self._history = history
        self._disk = SimFiles(random.Random(world.rng.random()))
        self.machine = SimMachine(lambda entry: history.applied(name, entry))
        self._run = 0
        self.is_up = False
        self.sync_s = (0.0001, 0.001)
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

    def start(self) -> None:
        """Power on."""
        self._run += 1
        self.is_up, self._busy, self._woken = True, False, False
        self._timer_s = math.inf
        self._journal = Journal.open(self._disk, Path("/journal"), segment_bytes=1024, cache_bytes=1024)
        if self._journal.last_index < self.machine.applied_index:
            raise CommittedEntryLost(f"{self.name} has applied entries that its journal lacks")
        self._replica = self.replica_class(
            self.name,
            self._members,
            self._journal,
            self.machine,
            tuning=self.tuning,
            clock=self._world.clock,
            rng=random.Random(self._world.rng.random()),
        )
        self._network.attach(self.name, self._receive, self._link)
        self._wake()

    def crash(self) -> None:
        """Power off: what was not synced is gone."""
        self._run += 1
        self.is_up = False
        if self._in_flight is not None and self._world.rng.random() < 0.5:
            self._disk.can_sync = False  # the power goes while the flush is written
            self.journal.write_flush(self._in_flight)
        self._in_flight = None
        self._replica = self._journal = None
        self._network.detach(self.name)
        self._disk.crash()
        self.machine.crash()

    def propose(self, proposal_id: bytes) -> None:
        """A client asks this node."""
        if self.is_up:
            self.replica.propose(proposal_id, self._history.commands[proposal_id])
            self._wake()

    def give_up(self, proposal_id: bytes) -> None:
        """A client does not wait any longer."""
        only_queued = self._world.rng.random() < 0.5
        if self.is_up and self.replica.give_up(proposal_id, only_queued=only_queued):
            self._history.did_nothing(proposal_id)

    def _receive(self, peer: str, message: RaftMessage) -> None:
        self.replica.receive(peer, message)
        self._wake()

    def _link(self, peer: str, is_up: bool) -> None:
        if is_up:
            self.replica.peer_connected(peer)
        else:
            self.replica.peer_disconnected(peer)

    def _wake(self) -> None:
        if not self._woken and not self._busy:
            self._woken = True
            self._world.after(0.00005, self._in_this_run(self._step))

    def _in_this_run(self, event: Callable[[], None]) -> Callable[[], None]:
        run = self._run

        def guarded() -> None:
            if self._run == run:
                event()

        return guarded

    def _step(self) -> None:
        if self._busy:
            return
        self._woken = False
        ready = self.replica.step()
        self._send(ready.send_now)
        flush = ready.flush
        if flush is None:
            self._finish()
        else:
            self._busy = True
            self._in_flight = flush
            sync_s = self._world.rng.uniform(*self.sync_s)
            self._world.after(sync_s, self._in_this_run(lambda: self._synced(flush)))

    def _synced(self, flush: Flush) -> None:
        self.journal.write_flush(flush)
        self.journal.finish_flush(flush)
        assert not self.journal.has_pending, "a simulated step is smaller than a flush"
        self._in_flight = None
        self._busy = False
        self._finish()

    def _finish(self) -> None:
        self.replica.apply()
        self._send(self.replica.take_held())
        for proposal_id, verdict in self.replica.take_verdicts():
            self._history.told(self.name, proposal_id, verdict)
        if self._world.rng.random() < 0.05:
            self.machine.checkpoint()
            self.replica.compact()
        if self.replica.has_work:
            self._wake()
        else:
            self._set_timer()

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
            if message.append_entries.needs_snapshot:
                raise Stuck(f"{self.name} has let go of entries that {peer} needs")
            self._network.send(self.name, peer, message)
