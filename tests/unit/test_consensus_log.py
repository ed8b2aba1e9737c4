"""Faults 1 and 2 of pysyncobj: only a conflict deletes, and nothing but a matching log moves the commit index.

Taken out by: `RaftLog._is_known` returning False and `Kernel._after_entry` without `settle`
(tests/sim/broken/hasty.py).
"""

from __future__ import annotations

import random

import pytest

from tallystick.peer.v1.peer_pb2 import AppendEntries, RaftMessage
from tallystick_node.consensus.raft_log import CommittedEntryLostError, RaftLog
from tallystick_node.consensus.replica import Replica
from tallystick_node.storage.journal import Journal
from tests.sim.broken.hasty import HastyKernel
from tests.sim.disk import SimFiles
from tests.unit.consensus_kit import FOLDER, Member, append, bodies, voters

LONG = append(1, (1, 0), [(2, 1), (3, 1), (4, 1), (5, 1)])
SHORT = append(1, (1, 0), [(2, 1)])
"""A leader that had to rewind sends the beginning again."""


class HastyReplica(Replica[bytes]):
    """Without fix 1."""

    _make_kernel = HastyKernel


def _after_resend(replica_class: type[Replica[bytes]]) -> tuple[int, list[int]]:
    """How long the log is for whoever asks for votes, and what was acknowledged."""
    member = Member(replica_class=replica_class)
    sent = member.settle()
    for message in (LONG, SHORT):
        member.receive("b", message)
        sent += member.settle()
    return member.kernel._raft_log[-1][1], [reply.append_reply.next_index for reply in bodies(sent, "append_reply")]


def test_a_short_resend_erases_nothing() -> None:
    assert _after_resend(Replica) == (5, [6, 3])


def test_without_the_fix_it_erases_what_was_acknowledged() -> None:
    assert _after_resend(HastyReplica) == (2, [6, 3])


def test_a_heartbeat_for_an_older_place_erases_nothing() -> None:
    member = Member()
    member.receive("b", LONG, append(1, (2, 1), commit_index=5))
    member.settle()
    assert member.log() == [(1, 0), (2, 1), (3, 1), (4, 1), (5, 1)]
    assert member.kernel.commit_index == 2  # all that this message has shown to match


def test_a_conflict_replaces_the_tail() -> None:
    member = Member()
    member.receive("b", LONG)
    member.receive("c", append(2, (2, 1), [(3, 2)]))
    member.settle()
    assert member.log() == [(1, 0), (2, 1), (3, 2)]


def test_what_is_decided_cannot_be_replaced() -> None:
    member = Member()
    member.receive("b", append(1, (1, 0), [(2, 1), (3, 1)], commit_index=3))
    member.settle()
    member.receive("c", append(2, (2, 1), [(3, 2)]))
    with pytest.raises(CommittedEntryLostError, match="entry 3"):
        member.settle()


def test_what_is_decided_stays_decided_while_the_tail_is_hidden() -> None:
    """pysyncobj lowers its commit index to the end of the log as it sees it."""
    member = Member()
    member.receive("b", append(1, (1, 0), [(2, 1), (3, 1)], commit_index=3))
    member.settle()
    member.receive("b", append(1, (1, 0), [(2, 1)], commit_index=3))
    member.settle()
    assert member.kernel.commit_index == 3
    member.wait(0.1)
    assert member.machine.commands == [b"2.1", b"3.1"]


def test_a_message_about_a_snapshot_moves_no_commit_index() -> None:
    """Item 2; taken out by the line of `codec` that sets `commit_index` to 0."""
    member = Member()
    member.receive("b", LONG)
    member.settle()
    needs = AppendEntries(commit_index=5, needs_snapshot=True)
    member.receive("b", RaftMessage(term=1, append_entries=needs))
    member.settle()
    assert member.kernel.commit_index == 1


def test_the_log_never_leaves_a_gap() -> None:
    log = RaftLog(Journal.open(SimFiles(random.Random(1)), FOLDER), 0, voters("abc"))
    log.add(b"", 1, 0)
    with pytest.raises(IndexError, match="entry 3 does not follow 1"):
        log.add(b"", 3, 1)
