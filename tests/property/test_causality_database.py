"""What happened before what: against a model of sets of what each mutation knew, against tables in memory, and batched.

The model keeps for each mutation all that was known to who wrote it: what its log had, what was read, and what was
known there. That is the transitive closure that vector clocks stand for, written out.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
from tallystick_node.storage.causality_reads import CausalityReads, Found, Point
from tallystick_node.storage.database import Database
from tallystick_node.wire.commands import decode_commands, encode_command
from tallystick_node.wire.mutations import admit_mutations
from tests.unit.core_tables import MemoryTables
from tests.unit.database_support import START_MS, apply_each, rows_digest, target

AGENTS = ("a", "b", "c")
PLACES = (*(target(agent) for agent in AGENTS), target("a", "side"), target("a", "twig"), target("b", "side"))
SETTINGS = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


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


READ = st.builds(
    Read,
    st.sampled_from(PLACES),
    st.sampled_from([0.3, 0.7, 1.0, 1.0, 1.0, 1.5]),
    st.sampled_from(["right", "right", "none", "wrong"]),
)
WRITTEN = st.builds(
    Written,
    st.sampled_from(PLACES),
    st.lists(READ, max_size=3, unique_by=lambda read: read.place).map(tuple),
)
FORK = st.builds(
    Fork,
    st.just(START_MS),
    st.sampled_from(PLACES),
    st.sampled_from(["side", "twig"]),
    st.sampled_from([None, None, 0, 1, 2]),
)
DELETIONS: st.SearchStrategy[Command] = st.one_of(
    st.builds(DeleteAgent, st.just(START_MS), st.builds(target, st.sampled_from(AGENTS))),
    st.builds(DeleteBranch, st.just(START_MS), st.sampled_from(PLACES[3:])),
)
WRITES = st.lists(WRITTEN, min_size=1, max_size=3, unique_by=lambda written: written.place)


@dataclass
class Model:
    """All that was known, by position of mutations.

    Attributes:
        logs: the mutations of each log that lives, those that it shares too.
        knew: what was known to who wrote a mutation, itself included.
        said: what it said that was read, where that can be.
        hashes: of each mutation.
    """

    logs: dict[Target, list[int]] = field(default_factory=dict)
    knew: dict[int, frozenset[int]] = field(default_factory=dict)
    said: dict[int, set[int]] = field(default_factory=dict)
    hashes: dict[int, bytes] = field(default_factory=dict)
    reads: dict[bytes, tuple[Read, ...]] = field(default_factory=dict)
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
                case AgentDeleted() | BranchDeleted():
                    self.ended = True
                    is_agent = event.target.branch == MAIN
                    gone = [each for each in self.logs if each.agent == event.target.agent] if is_agent else []
                    for each in gone or [event.target]:
                        del self.logs[each]

    def _written(self, event: MutationDecided, seqs: dict[Target, int]) -> None:
        log = self.logs.setdefault(event.target, [])
        self.hashes[event.position] = event.hash
        knew = {event.position} | (self.knew[log[-1]] if log else frozenset())
        said = set()
        for read in self.reads[state_pb2.Mutation.FromString(event.raw).id]:
            seq, other = round(read.part * seqs.get(read.place, 0)), self.logs.get(read.place, [])
            if 0 < seq <= len(other) and read.hash != "wrong":
                said.add(other[seq - 1])
                knew |= self.knew[other[seq - 1]]
        log.append(event.position)
        self.knew[event.position], self.said[event.position] = frozenset(knew), said


def commands_of(model: Model, drawn: Command | list[Written], number: int) -> list[Command]:
    if not isinstance(drawn, list):
        return [drawn]
    parts = [
        Part(each.place, admit_mutations([model.message(each, 10 * number + at)])) for at, each in enumerate(drawn)
    ]
    parts = [part for part in parts if part.target.branch == MAIN or part.target in model.logs]
    if not parts:
        return []
    if len(parts) == 1:
        return [Append(START_MS, parts[0].target, parts[0].mutations)]
    return [Transact(START_MS, tuple(parts))]


def found(reads: CausalityReads, a: Point, b: Point) -> Found:
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
    points = [reads.point(place, seq + 1) for place, log in model.logs.items() for seq in range(len(log))]
    for a in points:
        for b in points:
            if a.place.position >= b.place.position:
                assert (a.place == b.place) is (a.place.position == b.place.position)
                continue
            is_known = a.place.position in model.knew[b.place.position]
            answer = found(reads, a, b)
            assert answer.is_before <= is_known
            assert answer.is_before == is_known or (answer.has_gaps and model.ended)
            assert not (answer.is_before and answer.has_gaps)
            if answer.is_before:
                check_path(model, a, b, answer)


def check_path(model: Model, a: Point, b: Point, answer: Found) -> None:
    """Each edge was said by a mutation that the one before it knew, up to the one that was looked for."""
    at = b.place.position
    for edge in answer.path:
        saying = model.logs[edge.target][edge.seq - 1]
        read = model.logs[edge.other][edge.other_seq - 1]
        assert saying in model.knew[at]
        assert read in model.said[saying]
        at = read
    assert a.place.position in model.knew[at]


@given(st.lists(st.one_of(WRITES, WRITES, WRITES, FORK), min_size=4, max_size=16))
@SETTINGS
def test_before_is_what_was_known(history: list[Command | list[Written]]) -> None:
    check_history(history)


@given(st.lists(st.one_of(WRITES, WRITES, WRITES, FORK, DELETIONS), min_size=6, max_size=20))
@SETTINGS
def test_what_is_gone_leaves_gaps_and_no_wrong_answers(history: list[Command | list[Written]]) -> None:
    check_history(history)


def check_history(history: Sequence[Command | list[Written]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.db"
        database, tables, model = Database.open(path), MemoryTables(), Model()
        entries: list[Command] = []
        for number, drawn in enumerate(history):
            for sent in commands_of(model, drawn, number):
                (command,) = decode_commands(encode_command(sent))
                entries.append(command)
                (applied,) = apply_each(database, command)
                assert applied == apply(tables, command)
                model.decided(applied.events)
        check_all(database.reads.causality, model)
        numbers = {log.number for log in tables.logs.values()}
        kept = [each for each in tables.observations.rows if each.log in numbers]
        newest = database._tables.observations.newest  # what core would see
        assert all(newest(log, other) == tables.observations.newest(log, other) for log, other, *_ in kept)
        database.close()
        Database.open(path).close()  # looks at all of it
        check_batched(Path(folder) / "batched.db", path, entries)


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
