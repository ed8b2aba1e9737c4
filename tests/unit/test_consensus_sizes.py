"""fault 7 of pysyncobj: every admitted entry replicates whole; a larger one never gets near the log."""

from __future__ import annotations

import pytest

from tallystick_node.consensus.entries import encode_commands
from tallystick_node.consensus.proposals import Proposal, Proposals
from tallystick_node.consensus.settings import (
    APPEND_BATCH_BYTES,
    MAX_COMMAND_BYTES,
    MAX_ENTRY_BYTES,
    MAX_ENTRY_PROPOSALS,
    Tuning,
)
from tests.unit.consensus_kit import Group, Member, accepted

BATCH = 256


def _replicate(group: Group, sizes: list[int], most: int = BATCH // 2) -> list[list[int]]:
    """Proposes commands of these sizes, each alone in its entry; returns the sizes that each member applied."""
    leader = group.elect()
    for count, size_bytes in enumerate(sizes):
        leader.replica.propose(count.to_bytes(16, "big"), b"x" * size_bytes)
        group.wait(0.01)
    group.wait(0.3)
    assert all(len(data) <= most + 1 for member in group.members.values() for data in _entries(member))
    return [[len(command) for command in member.machine.commands] for member in group.members.values()]


def _entries(member: Member) -> list[bytes]:
    journal = member.journal
    return [entry.data for entry in journal.entries(journal.first_index, journal.last_index + 1, 1 << 40)]


def test_every_size_up_to_the_largest_entry_replicates() -> None:
    sizes = list(range(BATCH // 2 - 32 + 1))
    assert _replicate(Group(tuning=Tuning(append_batch_bytes=BATCH)), sizes) == [sizes] * 3


@pytest.mark.parametrize("size_bytes", [MAX_COMMAND_BYTES - 1, MAX_COMMAND_BYTES])
def test_the_largest_command_replicates(size_bytes: int) -> None:
    assert _replicate(Group(), [size_bytes], MAX_ENTRY_BYTES) == [[size_bytes]] * 3


def test_a_larger_command_is_refused_before_it_is_proposed() -> None:
    member = Member()
    member.lead()
    with pytest.raises(ValueError, match="2097153 bytes"):
        member.replica.propose(b"p" * 16, b"x" * (MAX_COMMAND_BYTES + 1))
    assert member.journal.last_index == 2
    assert member.settle() == []


def test_an_entry_of_the_batch_size_is_what_pysyncobj_would_cut() -> None:
    """What the limits are against: it pickles the entry, and that is refused. They keep entries at half the size."""
    member = Member(tuning=Tuning(append_batch_bytes=BATCH))
    member.lead()
    member.receive("b", accepted(1, 2))  # else it is probed, and sent nothing further
    member.settle()
    member.kernel.propose(b"\x00" * BATCH)
    with pytest.raises(RuntimeError, match="pickle is never used"):
        member.kernel.step()
    assert Tuning().max_entry_bytes * 2 <= APPEND_BATCH_BYTES
    assert MAX_COMMAND_BYTES < MAX_ENTRY_BYTES == Tuning().max_entry_bytes


@pytest.mark.parametrize("command_bytes", [0, 1, 100, 127, 128, 16_383, 16_384, MAX_COMMAND_BYTES])
def test_a_batch_never_exceeds_an_entry(command_bytes: int) -> None:
    """Also as encoded: the overhead that is counted is not less than the real one."""
    count = min(MAX_ENTRY_PROPOSALS + 1, 20_000_000 // (command_bytes + 32))
    proposals = Proposals(MAX_ENTRY_BYTES)
    command = b"x" * command_bytes
    admitted = sum(proposals.admit(Proposal(number.to_bytes(16, "big"), command)) for number in range(count))
    taken = 0
    while batch := proposals.take_batch(1):
        assert len(batch) <= MAX_ENTRY_PROPOSALS
        assert len(encode_commands((each.id, each.command) for each in batch)) <= MAX_ENTRY_BYTES
        taken += len(batch)
    assert taken == admitted > 0
