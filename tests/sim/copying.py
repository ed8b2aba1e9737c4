"""How a simulated node takes a peer's copy of the state machine: `snapshots.catch_up` and `storage.install` in small.

    wanted -> fetched from the leader, or else from another peer -> staged -> journal and state exchanged

Rules of this file: what is staged outlives a crash, and the next start installs it; a crash may come between the
journal's step and the state's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tallystick_node.consensus.machine import CommittedEntry
from tallystick_node.storage.journal import Journal
from tests.sim.machine import SimMachine
from tests.sim.network import Network

FETCH_S: Final = (0.005, 0.3)
"""How long a copy is on its way."""
RETRY_S: Final = 0.1

Copy = tuple[CommittedEntry, ...]


def fetch(
    name: str, leader: str | None, machines: Iterable[tuple[str, SimMachine]], network: Network, reach_index: int
) -> Copy | None:
    """A copy that reaches so far, of a peer that can be reached."""
    in_reach = [
        (peer != leader, peer, machine)
        for peer, machine in machines
        if network.is_joined(name, peer) and network.is_joined(peer, name)
    ]
    for _, _, machine in sorted(in_reach, key=lambda item: item[:2]):
        if machine.applied_index >= reach_index:
            return machine.copy()
    return None


def prepare_journal(journal: Journal, copy: Copy) -> bool:
    """Lets the journal begin behind the copy unless it holds its last entry; False if the copy is of no use."""
    last = copy[-1]
    if last.index < journal.base_index:
        return False
    _flush(journal)
    if last.index > journal.last_index or journal.term_at(last.index) != last.term:
        if journal.hard_state.term < last.term:
            journal.set_hard_state(last.term, None)
        journal.restart_at(last.index, last.term)
        _flush(journal)
    return True


def _flush(journal: Journal) -> None:
    while (flush := journal.take_flush()) is not None:
        journal.write_flush(flush)
        journal.finish_flush(flush)
