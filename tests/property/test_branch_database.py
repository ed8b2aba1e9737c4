"""Branches in the database: against a model that copies everything, against tables in memory, batched and crashed.

The model knows only what a branch is: the states up to where it began, and those of its own.
"""

from __future__ import annotations

import copy
import json
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallystick.v1 import state_pb2
from tallystick_node.core.commands import (
    MAIN,
    Append,
    BeginStep,
    BeginTurn,
    Checkpoint,
    Command,
    DeleteAgent,
    DeleteBranch,
    EndStep,
    Fork,
    ForkTeam,
    Idempotency,
    Mutation,
    Operation,
    OperationKind,
    Target,
)
from tallystick_node.core.machine import apply
from tallystick_node.core.outcomes import (
    Appended,
    BranchForked,
    Checkpointed,
    CheckpointTaken,
    Deleted,
    Forked,
    MutationDecided,
    Refusal,
    StepDecided,
    TurnDecided,
)
from tallystick_node.storage.database import Database
from tallystick_node.storage.reads import AtCheckpoint, AtSeq
from tallystick_node.storage.verify import verify
from tallystick_node.wire.commands import decode_commands, encode_command
from tests.property.replicas import check_replicas
from tests.unit.core_tables import MemoryTables
from tests.unit.database_support import START_MS, append, checkpoint, target

AGENT = st.sampled_from(["a", "ab"])
BRANCH = st.sampled_from([MAIN, MAIN, MAIN, "b1", "b1", "b2"])
NEW = st.sampled_from(["b1", "b1", "b2", "b3"])
KEY = st.one_of(st.none(), st.builds(Idempotency, st.sampled_from(["k1", "k2"]), st.just(b"f" * 16)))
TIME = st.integers(START_MS, START_MS + 9)
OPERATIONS = st.lists(
    st.lists(
        st.builds(
            Operation,
            st.sampled_from([OperationKind.SET, OperationKind.INCREMENT]),
            st.sampled_from([("x",), ("y",)]),
            st.sampled_from([b"1", b"2"]),
        ),
        min_size=1,
        max_size=2,
    ),
    min_size=1,
    max_size=3,
)
APPENDS = st.builds(
    lambda mutations, agent, branch, time: append(*mutations, agent=agent, branch=branch, time_ms=time),
    OPERATIONS,
    AGENT,
    BRANCH,
    TIME,
)
CHECKPOINTS = st.builds(
    lambda name, agent, branch: checkpoint(name, agent=agent, branch=branch),
    st.sampled_from(["c1", "c2"]),
    AGENT,
    BRANCH,
)
FORKS = st.builds(
    Fork, TIME, st.builds(target, AGENT, BRANCH), NEW, st.one_of(st.none(), st.integers(0, 6)), KEY, st.just("me")
)
TEAMS = st.builds(
    ForkTeam, TIME, st.just("demo"), st.sampled_from(["", "a", "ab"]), NEW, st.integers(1, 9), BRANCH, KEY
)
DROPS = st.builds(DeleteBranch, TIME, st.builds(target, AGENT, NEW), KEY, st.sampled_from([None, None, 3]))
DELETIONS = st.builds(DeleteAgent, TIME, st.builds(target, AGENT), KEY)
STEP = Mutation(state_pb2.Mutation(kind="step.begun").SerializeToString(), ())
NAME = st.sampled_from(["s1", "s1", "s2"])
STEPS = st.builds(BeginStep, TIME, st.builds(target, AGENT, BRANCH), NAME, st.sampled_from([0, 0, 1]), st.just(STEP))
ENDS = st.builds(
    EndStep, TIME, st.builds(target, AGENT, BRANCH), NAME, st.sampled_from([1, 1, 2]), st.booleans(), st.just(STEP)
)
TURNS = st.builds(BeginTurn, TIME, st.builds(target, AGENT, BRANCH), st.integers(0, 6), st.just(STEP))
COMMANDS: st.SearchStrategy[Command] = st.one_of(
    *[APPENDS] * 6,
    *[FORKS] * 4,
    *[STEPS] * 2,
    *[ENDS] * 2,
    *[CHECKPOINTS] * 2,
    *[TEAMS] * 2,
    *[DROPS] * 2,
    TURNS,
    DELETIONS,
)
FIRST = [Operation(OperationKind.SET, ("x",), b"0")]
# Every fourth command comes again at the end: those with a key are retries.
HISTORIES = st.lists(COMMANDS, min_size=10, max_size=30).map(
    lambda commands: [append(FIRST, FIRST, agent="a"), append(FIRST, agent="ab"), *commands, *commands[::4]]
)
SETTINGS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(autouse=True, scope="module")
def few_mutations_make_a_snapshot() -> Iterator[None]:
    """So that branches have some of their own, and begin before and behind those of their parents."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("tallystick_node.storage.snapshots._MIN_MUTATIONS", 2)
        yield


@dataclass
class ModelLog:
    """All states of a log, and the checkpoints that it shows, as copies."""

    parent: str | None = None
    states: list[dict[str, int]] = field(default_factory=lambda: [{}])
    hashes: list[bytes] = field(default_factory=lambda: [b""])
    checkpoints: dict[str, int] = field(default_factory=dict)

    def forked(self, seq: int, parent: str) -> ModelLog:
        shown = {name: at for name, at in self.checkpoints.items() if at <= seq}
        return ModelLog(parent, copy.deepcopy(self.states[: seq + 1]), self.hashes[: seq + 1], shown)


class Model:
    """Logs by name, and what each had at each position."""

    def __init__(self) -> None:
        self.logs: dict[Target, ModelLog] = {}

    def follow(self, command: Command, outcome: object, events: tuple[object, ...]) -> None:
        """Do what the database said it did."""
        if isinstance(outcome, Refusal) or not events:
            assert not events
            return
        match outcome:
            case Appended():
                assert isinstance(command, Append)
                self._append(command, outcome, events)
            case Checkpointed():
                log = self.logs[outcome.checkpoint.target]
                assert outcome.checkpoint.name not in log.checkpoints
                assert outcome.checkpoint.seq == len(log.states) - 1
                log.checkpoints[outcome.checkpoint.name] = outcome.checkpoint.seq
            case StepDecided() | TurnDecided():
                for event in events:
                    assert isinstance(event, MutationDecided)
                    log = self.logs.setdefault(event.target, ModelLog())
                    log.states.append(log.states[-1])
                    log.hashes.append(event.hash)
            case Forked():
                assert outcome.branches == events
                for event in outcome.branches:
                    self._fork(event)
            case Deleted():
                self._delete(command)
            case _:
                raise AssertionError(outcome)

    def _append(self, command: Append, outcome: Appended, events: tuple[object, ...]) -> None:
        log = self.logs.setdefault(command.target, ModelLog())
        assert command.target.branch == MAIN or log.parent is not None
        assert outcome.first_seq == len(log.states)
        for mutation, event in zip(command.mutations, events, strict=True):
            assert isinstance(event, MutationDecided)
            state = dict(log.states[-1])
            for each in mutation.operations:
                before = state.get(each.tokens[0], 0) if each.kind is OperationKind.INCREMENT else 0
                state[each.tokens[0]] = before + int(each.value)
            log.states.append(state)
            log.hashes.append(event.hash)

    def _fork(self, event: BranchForked) -> None:
        assert event.target not in self.logs
        parent = self.logs[event.target._replace(branch=event.parent)]
        assert event.hash == parent.hashes[event.seq]
        self.logs[event.target] = parent.forked(event.seq, event.parent)

    def _delete(self, command: Command) -> None:
        assert isinstance(command, (DeleteAgent, DeleteBranch))
        if isinstance(command, DeleteAgent):
            self.logs = {name: log for name, log in self.logs.items() if name[:2] != command.target[:2]}
            return
        del self.logs[command.target]
        others = [log for name, log in self.logs.items() if name[:2] == command.target[:2]]
        assert all(log.parent != command.target.branch for log in others)

    def compare(self, database: Database) -> None:
        """All states and checkpoints of all logs, as they must be."""
        reads = database.reads
        for agent in {name.agent for name in self.logs}:
            shown = {each.log.target: each.parent for each in reads.branches(target(agent), "", 100).items}
            assert shown == {name: log.parent or "" for name, log in self.logs.items() if name.agent == agent}
        assert reads.agent_count == sum(name.branch == MAIN for name in self.logs)
        for name, log in self.logs.items():
            for seq, state in enumerate(log.states):
                read = reads.read_state(name, AtSeq(seq))
                assert (json.loads(read.state), read.hash) == (state, log.hashes[seq])
            page = reads.mutations(name, 0, 1000).items
            assert [mutation.hash for mutation in page] == log.hashes[1:]
            assert [mutation.seq for mutation in page] == list(range(1, len(log.states)))
            assert reads.mutations(name, 1, 1).more == (len(log.states) > 3)
            taken = {each.name: each.seq for each in reads.checkpoints(name, 0, 1000).items}
            assert taken == log.checkpoints
            assert all(reads.read_state(name, AtCheckpoint(each)).seq == seq for each, seq in taken.items())


@contextmanager
def opened(name: str = "state.db") -> Iterator[Database]:
    with tempfile.TemporaryDirectory() as folder:
        database = Database.open(Path(folder) / name, state_cache_bytes=0)
        yield database
        database.close()


def wired(command: Command) -> Command:
    (decoded,) = decode_commands(encode_command(command))
    assert decoded == command
    return decoded


@given(HISTORIES)
@SETTINGS
def test_branches_share_their_past_and_no_more(history: list[Command]) -> None:
    with opened() as database:
        model, tables = Model(), MemoryTables()
        for command in map(wired, history):
            ((applied,),) = database.apply([(database.applied_index + 1, 1, [command], None)])
            if isinstance(command, Append):
                tables.operations.update((each.raw, each.operations) for each in command.mutations)
            assert applied == apply(tables, command)
            model.follow(command, applied.outcome, applied.events)
        model.compare(database)
        verify(database._sql)
        events = database.reads.events(0, 1000)
        assert {event.position for event in events} <= set(range(1, database.position + 1))
        ends = [DeleteAgent(START_MS, name) for name in model.logs if name.branch == MAIN]
        database.apply([(database.applied_index + 1, 1, ends, None)])
        _only_ends_are_left(database)


def _only_ends_are_left(database: Database) -> None:
    with closing(sqlite3.connect(database.path)) as connection:
        kinds = {kind for (kind,) in connection.execute("SELECT kind FROM events")}
        assert kinds <= {3, 8}
        for table in ("logs", "branches", "checkpoints", "snapshots", "keys", "steps", "turns"):
            assert connection.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table  # noqa: S608


@given(HISTORIES, st.data())
@SETTINGS
def test_batches_caches_and_crashes_change_nothing(history: list[Command], data: st.DataObject) -> None:
    check_replicas(history, data)


def test_the_commands_are_of_some_use() -> None:
    """Fails when the strategies no longer lead to what the properties are about."""
    seen: set[type] = set()

    @given(HISTORIES)
    @settings(SETTINGS, max_examples=100, database=None, derandomize=True)
    def run(history: list[Command]) -> None:
        tables = MemoryTables()
        for command in history:
            if isinstance(command, Append):
                tables.operations.update((each.raw, each.operations) for each in command.mutations)
            applied = apply(tables, command)
            if not isinstance(applied.outcome, Refusal):
                seen.add(type(command))
            seen.update(type(event) for event in applied.events)

    run()
    assert {Fork, ForkTeam, DeleteBranch, DeleteAgent, Checkpoint, CheckpointTaken, EndStep} <= seen
