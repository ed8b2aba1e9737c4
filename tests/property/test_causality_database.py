"""What happened before what: against a model of sets of what each mutation knew, against tables in memory, and batched.

The model keeps for each mutation all that was known to who wrote it: what its log had, what was read, and what was
known there. That is the transitive closure that vector clocks stand for, written out.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest

from tallystick.errors import Compacted
from tallystick.v1 import common_pb2, state_pb2
from tallystick_node.core.commands import (
    MAIN,
    Append,
    Command,
    DeleteAgent,
    DeleteBranch,
    Fork,
    Part,
    Target,
    Transact,
)
from tallystick_node.core.limits import COMPARED_OBSERVATIONS
from tallystick_node.core.machine import apply
from tallystick_node.core.outcomes import AgentDeleted, Applied, BranchDeleted, BranchForked, Event, MutationDecided
from tallystick_node.core.retention_records import CompactLog, LogCompacted
from tallystick_node.storage.causality_reads import Asked, CausalityReads, Found
from tallystick_node.storage.database import Database
from tallystick_node.wire.commands import decode_commands, encode_command
from tallystick_node.wire.mutations import admit_mutations
from tests.unit.core_tables import MemoryTables
from tests.unit.database_support import START_MS, apply_each, rows_digest, target

AGENTS = ("a", "b", "c")
PLACES = (*(target(agent) for agent in AGENTS), target("a", "side"), target("a", "twig"), target("b", "side"))
COMMANDS = 35


class Read(NamedTuple):
    """Who writes says that it read this: a part of a log, told how."""

    place: Target
    part: float
    """Of the log; above 1: what is not there yet."""
    hash: str
    """`right`, `wrong` or `none`."""


class Written(NamedTuple):
    place: Target
    reads: tuple[Read, ...]


class History:
    """Commands as dice fall."""

    def __init__(self, seed: int, *, with_ends: bool) -> None:
        self._dice = random.Random(seed)
        self._with_ends = with_ends

    def draw(self, number: int, model: Model) -> Command | None:
        """The next command; None: what was drawn cannot be sent."""
        kind = self._dice.random()
        place = self._dice.choice(PLACES)
        if kind < 0.1:
            return Fork(START_MS, place, self._dice.choice(("side", "twig")), self._dice.choice((None, None, 0, 1, 2)))
        if self._with_ends and kind < 0.25:
            return self._end(kind, place, model)
        places = self._dice.sample(PLACES, self._dice.choice((1, 1, 1, 2, 3)))
        written = [Written(each, self._reads()) for each in places if each.branch == MAIN or each in model.logs]
        messages = [(each.place, model.message(each, 10 * number + at)) for at, each in enumerate(written)]
        parts = tuple([Part(target, admit_mutations([message])) for target, message in messages])
        if not parts:
            return None
        return Transact(START_MS, parts) if parts[1:] else Append(START_MS, *parts[0][:2])

    def _end(self, kind: float, place: Target, model: Model) -> Command | None:
        log = model.logs.get(place, [])
        if kind < 0.12:
            return DeleteAgent(START_MS, place._replace(branch=MAIN)) if log else None
        if kind < 0.15:
            return DeleteBranch(START_MS, place) if place.branch != MAIN else None
        below = self._dice.randint(2, len(log)) if len(log) > 1 else 0
        return CompactLog(START_MS, place, below, model.hashes[log[below - 2]]) if below else None

    def _reads(self) -> tuple[Read, ...]:
        places = self._dice.sample(PLACES, self._dice.choice((0, 0, 1, 1, 2, 3)))
        return tuple([self._read(place) for place in places])

    def _read(self, place: Target) -> Read:
        part = self._dice.choice((0.3, 0.7, 1.0, 1.0, 1.0, 1.5))
        return Read(place, part, self._dice.choice(("right", "right", "none", "wrong")))


@dataclass
class Model:
    """All that was known, by position of mutations.

    Attributes:
        logs: the mutations of each log that lives, those that it shares too.
        knew: what was known to who wrote a mutation, itself included.
        said: what it said that was read, where that can be.
        hashes: of each mutation.
        gone: mutations that a compaction removed: reading one does not count from then on.
    """

    logs: dict[Target, list[int]] = field(default_factory=dict)
    knew: dict[int, frozenset[int]] = field(default_factory=dict)
    said: dict[int, set[int]] = field(default_factory=dict)
    hashes: dict[int, bytes] = field(default_factory=dict)
    reads: dict[bytes, tuple[Read, ...]] = field(default_factory=dict)
    forks: dict[Target, int] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)
    ended: bool = False

    def message(self, written: Written, number: int) -> state_pb2.Mutation:
        """The mutation to be; its id tells it again."""
        name = str(number).encode()
        self.reads[name] = written.reads
        observed = common_pb2.Observed()
        for read in written.reads:
            seq = self._seq(read)
            observed.logs.add(agent=read.place.agent, branch=read.place.branch, seq=seq, hash=self._hash(read, seq))
        return state_pb2.Mutation(kind="note", id=name, observed=observed)

    def _seq(self, read: Read) -> int:
        return round(read.part * len(self.logs.get(read.place, [])))

    def _hash(self, read: Read, seq: int) -> bytes:
        log = self.logs.get(read.place, [])
        if read.hash == "right" and 0 < seq <= len(log):
            return self.hashes[log[seq - 1]]
        return b"w" * 32 if read.hash == "wrong" else b""

    def decided(self, events: Sequence[Event]) -> None:
        """What came of a command."""
        seqs = {place: len(log) for place, log in self.logs.items()}  # parts of logs were taken before all of these
        for event in events:
            match event:
                case MutationDecided():
                    self._written(event, seqs)
                case BranchForked():
                    parent = self.logs[event.target._replace(branch=event.parent)]
                    self.logs[event.target] = parent[: event.seq]
                    self.forks[event.target] = event.seq
                case LogCompacted():
                    self.ended = True
                    own = self.logs[event.target][self.forks.get(event.target, 0) : event.seq]
                    self.gone.update(own)
                case AgentDeleted() | BranchDeleted():
                    self.ended = True
                    is_agent = event.target.branch == MAIN
                    gone = [each for each in self.logs if each.agent == event.target.agent] if is_agent else []
                    for each in gone or [event.target]:
                        del self.logs[each]
                        self.forks.pop(each, None)

    def _written(self, event: MutationDecided, seqs: dict[Target, int]) -> None:
        log = self.logs.setdefault(event.target, [])
        self.hashes[event.position] = event.hash
        knew = {event.position} | (self.knew[log[-1]] if log else frozenset())
        said = set()
        for read in self.reads[state_pb2.Mutation.FromString(event.raw).id]:
            seq, other = round(read.part * seqs.get(read.place, 0)), self.logs.get(read.place, [])
            if 0 < seq <= len(other) and read.hash != "wrong" and other[seq - 1] not in self.gone:
                said.add(other[seq - 1])
                knew |= self.knew[other[seq - 1]]
        log.append(event.position)
        self.knew[event.position], self.said[event.position] = frozenset(knew), said


def found(reads: CausalityReads, a: Asked, b: Asked) -> Found:
    search = reads.search(a.place, b.place, COMPARED_OBSERVATIONS)
    while True:
        try:
            next(search)
        except StopIteration as ended:
            result = ended.value
            assert isinstance(result, Found)
            return result


def check_all(reads: CausalityReads, model: Model) -> None:
    """Each pair of mutations that are there."""
    points = [each for place, log in model.logs.items() for seq in range(len(log)) for each in asked(reads, place, seq)]
    for a in points:
        for b in points:
            if a.place.position >= b.place.position:
                assert (a.place == b.place) is (a.place.position == b.place.position)
                continue
            try:
                reads.check_kept(b)
            except Compacted:
                assert model.ended
                continue
            is_known = a.place.position in model.knew[b.place.position]
            answer = found(reads, a, b)
            assert answer.is_before <= is_known
            assert answer.is_before == is_known or (answer.has_gaps and model.ended)
            assert not (answer.is_before and answer.has_gaps)
            if answer.is_before:
                check_path(model, a, b, answer)


def asked(reads: CausalityReads, place: Target, seq: int) -> list[Asked]:
    """The mutation, if it is still kept."""
    try:
        return [reads.point(place, seq + 1)]
    except Compacted:
        return []


def check_path(model: Model, a: Asked, b: Asked, answer: Found) -> None:
    """Each edge was said by a mutation that the one before it knew, up to the one that was looked for."""
    at = b.place.position
    for edge in answer.path:
        saying = model.logs[edge.target][edge.seq - 1]
        read = model.logs[edge.other][edge.other_seq - 1]
        assert saying in model.knew[at]
        assert read in model.said[saying]
        at = read
    assert a.place.position in model.knew[at]


@pytest.mark.parametrize("seed", range(5))
def test_before_is_what_was_known(seed: int) -> None:
    model = check_history(History(seed, with_ends=False))
    assert not model.ended


@pytest.mark.parametrize("seed", [*range(8), 47, 50])
def test_what_is_gone_leaves_gaps_and_no_wrong_answers(seed: int) -> None:
    check_history(History(seed, with_ends=True))


def check_history(history: History) -> Model:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.db"
        database, tables, model = Database.open(path), MemoryTables(), Model()
        commands: list[Command] = []
        for number in range(COMMANDS):
            drawn = history.draw(number, model)
            if drawn is None:
                continue
            (command,) = decode_commands(encode_command(drawn))
            commands.append(command)
            (applied,) = apply_each(database, command)
            assert applied == apply(tables, command)
            model.decided(applied.events)
        check_all(database.reads.causality, model)
        check_rows(database, tables)
        database.close()
        Database.open(path).close()  # looks at all of it
        check_batched(Path(folder) / "batched.db", path, commands)
    return model


def check_rows(database: Database, tables: MemoryTables) -> None:
    """What core would see."""
    numbers = {log.number for log in tables.logs.values()}
    newest = database._tables.observations.newest
    for log, other, *_ in [each for each in tables.observations.rows if each.log in numbers]:
        assert newest(log, other) == tables.observations.newest(log, other)


def check_batched(path: Path, each: Path, commands: list[Command]) -> None:
    """All in one transaction: the same rows."""
    database = Database.open(path)
    entries = [(index + 1, 1, [command], None) for index, command in enumerate(commands)]
    if entries:
        applied: list[list[Applied]] = database.apply(entries)
        assert len(applied) == len(entries)
    database.close()
    rows = ("observations", "events", "checkpoints")
    assert {name: rows_digest(path)[name] for name in rows} == {name: rows_digest(each)[name] for name in rows}
