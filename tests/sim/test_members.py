"""No seed loses anything while members change, and no reader misses anything; a seed replays."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.sim.members.changes import KINDS, draw
from tests.sim.members.simulation import MembersSimulation
from tests.sim.script import parse, show

CHUNK = 5


@pytest.mark.parametrize(
    "first", [0, *(pytest.param(first, marks=pytest.mark.long) for first in range(CHUNK, 40, CHUNK))]
)
def test_members_change_and_promises_are_kept(first: int) -> None:
    for seed in range(first, first + CHUNK):
        MembersSimulation(seed).run()


def test_two_voters_of_whom_one_is_to_go_do_not_stand_still() -> None:
    """This seed did: see `RaftLog.hide_own_removal`."""
    MembersSimulation(137).run()


def test_a_member_alone_and_its_spares() -> None:
    for seed in range(3):
        MembersSimulation(seed, nodes=1).run()


def test_a_seed_replays_exactly() -> None:
    assert MembersSimulation(7).run(4.0) == MembersSimulation(7).run(4.0)


def test_what_is_printed_can_be_read_again() -> None:
    script = draw(random.Random(1), "abcde", KINDS, 60.0, (0.05, 0.4))
    assert {line.kind for line in script} == set(KINDS)
    assert parse(show(script)) == script


def test_all_of_it_happens() -> None:
    """What the seeds above assert is not empty."""
    changed: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    for seed in range(6):
        simulation = MembersSimulation(seed)
        simulation.run()
        history, nodes = simulation.history, simulation.nodes.values()
        seen["reads"] += history.reads_served
        seen["wiped"] += sum(node.wiped_count for node in nodes)
        seen["reports"] += sum(node.is_up and node.replica._digests._reported_index > 0 for node in nodes)
        seen["established"] += simulation.leadership.established_count
        before = history.first_members
        for after in history.decided_members.values():
            grows = len(after.all) - len(before.all)
            changed["added" if grows > 0 else "removed" if grows < 0 else "promoted"] += 1
            before = after
    assert {kind for kind, count in seen.items() if count} == {"reads", "wiped", "reports", "established"}
    assert {kind for kind, count in changed.items() if count} == {"added", "removed", "promoted"}
