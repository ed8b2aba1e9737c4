"""Faults 9 and 10 of pysyncobj: no pickle is loaded, written or sent, and the log has a format of its own."""

from __future__ import annotations

import pickle
import pickletools
import re
from pathlib import Path

import pysyncobj.pickle as engine_pickle
import pytest

from tallystick.log.v1.log_pb2 import Entry
from tallystick.peer.v1.peer_pb2 import AppendEntries, LogEntry, RaftMessage
from tallystick_node.consensus.entries import UnreadableEntryError
from tests.unit.consensus_kit import Group, Member, append, data

_PICKLE = re.compile(rb"\x80[\x02-\x05]")


class Bomb:
    """Loading its pickle makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.mkdir, (self.folder,)


def _pickles(found: bytes) -> list[bytes]:
    """Where a whole pickle begins. It is read as opcodes, never loaded."""
    return [found[at.start() :] for at in _PICKLE.finditer(found) if _is_pickle(found[at.start() :])]


def _is_pickle(found: bytes) -> bool:
    try:
        return any(opcode.name == "STOP" for opcode, _, _ in pickletools.genops(found))
    except (ValueError, IndexError, UnicodeError):
        return False


def _entry(payload: bytes) -> RaftMessage:
    entries = [LogEntry(index=2, term=1, data=payload)]
    return RaftMessage(term=1, append_entries=AppendEntries(prev_index=1, commit_index=2, entries=entries))


@pytest.mark.parametrize("name", ["load", "loads", "dump", "dumps"])
def test_pysyncobjs_pickle_refuses(name: str) -> None:
    with pytest.raises(RuntimeError, match="never used"):
        getattr(engine_pickle, name)(b"")


def test_the_search_finds_a_pickle() -> None:
    for protocol in range(2, 6):
        assert _pickles(b"before" + pickle.dumps({"type": "append_entries"}, protocol) + b"behind")


def test_a_run_writes_and_sends_no_pickle() -> None:
    group = Group()
    group.elect()
    for number in range(20):
        for name, member in group.members.items():
            member.replica.propose(number.to_bytes(15, "big") + name.encode(), b"command %d" % number)
        group.wait(0.02)
    group.cut = {"a"}
    group.wait(3.0)
    group.cut = set()
    group.wait(3.0)
    written = [
        member.files.read(Path("/journal") / name)
        for member in group.members.values()
        for name in member.files.list_names(Path("/journal"))
    ]
    assert sum(map(len, group.sent)) > 10_000
    assert sum(map(len, written)) > 3_000
    assert [found for found in (*group.sent, *written) if _pickles(found)] == []


def test_a_pickle_as_a_command_is_bytes(tmp_path: Path) -> None:
    bomb = pickle.dumps(Bomb(tmp_path / "gone off"))
    member = Member()
    member.receive("b", _entry(data(bomb)))
    member.settle()
    member.wait(0.1)
    assert member.machine.commands == [bomb]
    assert not (tmp_path / "gone off").exists()
    pickle.loads(bomb)  # the control: it would have gone off  # noqa: S301
    assert (tmp_path / "gone off").exists()


def _own_command(kind: int, bomb: Path) -> Member:
    member = Member()
    member.receive("b", _entry(bytes([kind]) + pickle.dumps(Bomb(bomb))))
    member.settle()
    member.wait(0.1)
    return member


def test_pysyncobjs_no_op_does_nothing(tmp_path: Path) -> None:
    """What follows the first byte is never looked at."""
    member = _own_command(1, tmp_path / "gone off")
    assert [(entry.index, entry.commands) for entry in member.machine.entries] == [(2, ())]
    assert not (tmp_path / "gone off").exists()


@pytest.mark.parametrize("kind", [2, 3, 255])
def test_pysyncobjs_other_commands_stop_the_node(tmp_path: Path, kind: int) -> None:
    """Membership, version: we never write them, so whoever did is of another kind, and must not be guessed at."""
    with pytest.raises(UnreadableEntryError):
        _own_command(kind, tmp_path / "gone off")
    assert not (tmp_path / "gone off").exists()


def test_an_entry_is_of_our_format() -> None:
    group = Group()
    leader = group.elect()
    leader.replica.propose(b"p" * 16, b"x")
    group.wait(0.1)
    entry = leader.journal.entry(leader.journal.last_index)
    assert entry.data[0] == 0
    decoded = Entry.FromString(entry.data[1:])
    assert decoded.format == 1
    assert [(proposal.id, proposal.command) for proposal in decoded.proposals] == [(b"p" * 16, b"x")]


@pytest.mark.parametrize("body", [Entry(format=2).SerializeToString(), Entry().SerializeToString(), b"\xff\xff\xff"])
def test_an_entry_that_cannot_be_read_stops_the_node(body: bytes) -> None:
    """Skipping it would make replicas differ. Taken out by the check in `decode_entry`."""
    member = Member()
    member.receive("b", _entry(b"\x00" + body))
    member.settle()
    member.clock.now_s += 1.0
    with pytest.raises(UnreadableEntryError):
        member.settle()
    assert member.machine.entries == []


def test_a_message_of_no_entries_is_not_an_entry() -> None:
    member = Member()
    member.receive("b", append(1, (1, 0), commit_index=1))
    member.settle()
    assert member.log() == [(1, 0)]
