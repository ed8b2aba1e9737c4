"""Transactions and cuts through teams in the database: against a model of balances, against tables in memory, batched
and crashed.

The model knows only that a transaction moves what it moves, or nothing, and that a cut is a copy of all balances.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallystick_node.core.commands import (
    MAIN,
    AcquireLease,
    Append,
    Command,
    DeleteAgent,
    DeleteTeamCheckpoint,
    Fork,
    Mutation,
    Operation,
    OperationKind,
    Part,
    SeenContext,
    TakeTeamCheckpoint,
    Target,
    Transact,
)
from tallystick_node.core.machine import apply
from tallystick_node.core.outcomes import Applied, Refusal, TeamCheckpointed, TeamCheckpointGone, Transacted
from tallystick_node.core.values import digest_json, load_json
from tallystick_node.storage.database import Database
from tallystick_node.storage.reads import AtSeq, Head
from tallystick_node.wire.commands import decode_commands, encode_command
from tallystick_node.wire.team_commands import keyed_checkpoint, keyed_transaction
from tests.property.replicas import check_replicas
from tests.unit.core_tables import MemoryTables
from tests.unit.database_support import START_MS, append, apply_each, rows_digest, set_op, target

AGENTS = ("a", "ab", "b", "new")
PLACES = (*(target(agent) for agent in AGENTS), Target("demo", "a", "side"))
TIME = st.integers(START_MS, START_MS + 9)
KEY = st.sampled_from(["", "", "k1", "k2"])
BROKEN = Operation(OperationKind.DELETE, ("missing",), b"")


def increment(by: int) -> Operation:
    return Operation(OperationKind.INCREMENT, ("n",), str(by).encode())


def mutations_of(command: Command) -> list[Mutation]:
    if isinstance(command, Append):
        return list(command.mutations)
    return [each for part in command.parts for each in part.mutations] if isinstance(command, Transact) else []


def moved(places: list[Target], amounts: list[int], broken: int, odd: int, time_ms: int, key: str) -> Transact:
    """Moves between logs so that the sum stays. One in a few has a part that must be refused, `odd` an expectation."""
    amounts = [*amounts[: len(places) - 1]]
    amounts.append(-sum(amounts))
    parts = []
    for at, (place, amount) in enumerate(zip(places, amounts, strict=False)):
        operations = [increment(amount), BROKEN] if at == broken else [increment(amount)]
        expected_seq = odd if at == len(places) - 1 and odd >= 0 else None
        parts.append(Part(place, append(operations).mutations, expected_seq))
    return keyed_transaction(Transact(time_ms, tuple(parts), None, "me"), key)


def cut(name: str, prefix: str, members: list[Target], key: str, time_ms: int) -> TakeTeamCheckpoint:
    seen = (SeenContext("plan", b"cursor"),)
    command = TakeTeamCheckpoint(time_ms, "demo", name, b"", tuple(members), prefix, MAIN, seen, b'{"step":1}', "me")
    return keyed_checkpoint(command, key)


TRANSACTIONS = st.builds(
    moved,
    st.lists(st.sampled_from(PLACES), min_size=2, max_size=4, unique=True),
    st.lists(st.integers(-5, 5), min_size=3, max_size=3),
    st.sampled_from([-1, -1, -1, 0, 1, 2]),
    st.sampled_from([-1, -1, -1, 1, 2]),
    TIME,
    KEY,
)
CUTS = st.builds(
    cut,
    st.sampled_from(["c1", "c2", "c3"]),
    st.sampled_from(["", "a", "none"]),
    st.lists(st.sampled_from(PLACES), max_size=2, unique=True),
    KEY,
    TIME,
)
# Of the cut that has the name, or of one that was taken at that position, if it still has it.
DELETIONS = st.builds(
    DeleteTeamCheckpoint, TIME, st.just("demo"), st.sampled_from(["c1", "c2", "c3"]), st.sampled_from([0, 0, 4, 9, 14])
)
OTHERS: st.SearchStrategy[Command] = st.one_of(
    st.builds(AcquireLease, TIME, st.sampled_from(PLACES), st.just("w"), st.just(1000)),
    st.builds(Fork, TIME, st.just(target("a")), st.just("side")),
    st.builds(DeleteAgent, TIME, st.builds(target, st.sampled_from(AGENTS))),
)
DRAWN: st.SearchStrategy[Command] = st.one_of(*[TRANSACTIONS] * 6, *[CUTS] * 2, DELETIONS, OTHERS)
# Every third command comes again at the end: those with a key are retries.
HISTORIES = st.lists(DRAWN, min_size=5, max_size=20).map(
    lambda commands: [append([increment(100)], agent="a"), *commands, *commands[::3]]
)
SETTINGS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@dataclass
class Model:
    """Balances by log, and copies of them by cut."""

    balances: dict[Target, int] = field(default_factory=lambda: {target("a"): 100})
    cuts: dict[str, dict[Target, int]] = field(default_factory=dict)

    def check(self, command: Command, applied: Applied) -> None:
        if isinstance(applied.outcome, Refusal):
            assert applied.events == ()
        elif isinstance(command, Transact):
            self._transacted(command, applied)
        elif isinstance(command, TakeTeamCheckpoint):
            self._cut(command, applied)
        elif isinstance(command, DeleteTeamCheckpoint):
            assert isinstance(applied.outcome, TeamCheckpointGone)
            assert applied.outcome.replayed is not bool(applied.events)
            assert not applied.outcome.replayed or command.taken
            if applied.events:
                del self.cuts[command.name]
        elif isinstance(command, Fork) and applied.events:
            self.balances[command.source._replace(branch="side")] = self.balances[command.source]
        elif isinstance(command, DeleteAgent) and applied.events:
            self.balances = {each: n for each, n in self.balances.items() if each.agent != command.target.agent}

    def _transacted(self, command: Transact, applied: Applied) -> None:
        assert isinstance(applied.outcome, Transacted)
        assert applied.outcome.replayed is not bool(applied.events)
        assert [part.position for part in applied.outcome.parts] == sorted(
            part.position for part in applied.outcome.parts
        )
        if not applied.events:
            return
        positions = [event.position for event in applied.events]
        assert positions == list(range(positions[0], positions[0] + len(positions)))
        before = sum(self.balances.values())
        for part in command.parts:
            (mutation,) = part.mutations
            (operation,) = mutation.operations
            self.balances[part.target] = self.balances.get(part.target, 0) + int(operation.value)
        assert sum(self.balances.values()) == before

    def _cut(self, command: TakeTeamCheckpoint, applied: Applied) -> None:
        assert isinstance(applied.outcome, TeamCheckpointed)
        if not applied.events:
            return
        members = command.members or [
            each for each in self.balances if each.agent.startswith(command.prefix) and each.branch == MAIN
        ]
        self.cuts[command.name] = {each: self.balances[each] for each in members}


def states(database: Database) -> dict[Target, int]:
    """The balances that the database tells of."""
    found = {}
    for agent in database.reads.agents("demo", "", "", 100).items:
        for branch in database.reads.branches(agent.target, "", 100).items:
            state = json.loads(database.reads.read_state(branch.log.target, Head()).state)
            found[branch.log.target] = state["n"]
    return found


@given(HISTORIES)
@SETTINGS
def test_equals_the_model_and_tables_in_memory(history: list[Command]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        database, tables, model = Database.open(Path(folder) / "state.db"), MemoryTables(), Model()
        for drawn in history:
            (command,) = decode_commands(encode_command(drawn))
            tables.operations.update((mutation.raw, mutation.operations) for mutation in mutations_of(command))
            ((applied,),) = database.apply([(database.applied_index + 1, 1, [command], None)])
            assert applied == apply(tables, command)
            model.check(command, applied)
            assert states(database) == model.balances
        cuts = database.reads.teams.checkpoints("demo", 0, 100)
        assert {record.name for record in cuts.items} == set(model.cuts)
        for record in cuts.items:
            assert tables.teams.checkpoint("demo", record.name) == record
            for member in record.members:
                named = Target("demo", member.agent, member.branch)
                balance = model.cuts[record.name][named]
                assert member.state_digest == digest_json({"n": balance})
                if named in model.balances and database.reads.log(named).seq >= member.seq:
                    state = database.reads.read_state(named, AtSeq(member.seq))
                    assert state.hash != member.hash or load_json(state.state) == {"n": balance}
        database.close()
        Database.open(Path(folder) / "state.db").close()  # looks at all of it


@given(HISTORIES, st.data())
@SETTINGS
def test_batches_and_crashes_change_nothing(history: list[Command], data: st.DataObject) -> None:
    check_replicas(history, data)


def test_one_part_refused_leaves_no_trace(tmp_path: Path) -> None:
    """Neither in the rows nor in states at hand: one that was refused a part is as one that was never asked."""
    refused, never = Database.open(tmp_path / "refused.db"), Database.open(tmp_path / "never.db")
    first = [append([increment(1)], agent=agent) for agent in ("a", "b")]
    then = append([increment(1)], agent="a")
    broken = moved([target("a"), target("new"), target("b")], [1, 2, 3], 2, -1, START_MS, "k")
    for database, asked in ((refused, [broken]), (never, [])):
        database.apply([(index, 1, [command], None) for index, command in enumerate(first, start=1)])
        outcomes = [result.outcome for (result,) in database.apply([(3, 1, [each], None) for each in asked])]
        assert all(isinstance(outcome, Refusal) for outcome in outcomes)
        database.apply([(9, 1, [then], None)])
    (outcome,) = [each.outcome for each in apply_each(refused, broken)]
    assert isinstance(outcome, Refusal)
    assert {"part": "2", "agent": "b", "branch": MAIN}.items() <= outcome.metadata.items()
    assert states(refused) == states(never) == {target("a"): 2, target("b"): 1}
    assert refused.digest == never.digest
    tables = rows_digest(refused.path).keys() - {"meta"}
    assert {name: rows_digest(refused.path)[name] for name in tables} == {
        name: rows_digest(never.path)[name] for name in tables
    }
    refused.close()
    never.close()


@pytest.mark.parametrize(
    "command", [moved([target("a"), target("b")], [1], -1, -1, START_MS, ""), cut("c", "", [], "", 1)]
)
def test_states_that_are_too_large_together_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.setattr("tallystick_node.core.limits.TEAM_STATES_BYTES", 12)
    database = Database.open(tmp_path / "state.db")
    apply_each(database, append([increment(1)], agent="a"), append([increment(1)], agent="b"))
    (refused,) = apply_each(database, command)
    assert isinstance(refused.outcome, Refusal)
    assert refused.outcome.reason == "TEAM_QUOTA"
    database.close()


@pytest.mark.parametrize(
    "command",
    [
        moved([target("a", "one"), target("a", "two")], [1], -1, -1, START_MS, ""),
        cut("c", "", [target("a", "one"), target("a", "two")], "", 1),
    ],
)
def test_states_of_branches_count_what_they_were_where_those_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    """Also where the parent's is small by now: the record of a branch does not know its size yet."""
    monkeypatch.setattr("tallystick_node.core.limits.TEAM_STATES_BYTES", 100)
    database = Database.open(tmp_path / "state.db", state_cache_bytes=0)
    large = append([set_op("/large", '"' + "x" * 60 + '"')], [Operation(OperationKind.DELETE, ("large",), b"")])
    apply_each(database, large, *(Fork(START_MS, target("a"), name, 1) for name in ("one", "two")))
    (refused,) = apply_each(database, command)
    assert isinstance(refused.outcome, Refusal)
    assert refused.outcome.reason == "TEAM_QUOTA"
    assert refused.events == ()
    database.close()


def test_no_more_agents_than_the_limit_are_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallystick_node.core.limits.TEAM_AGENTS", 2)
    database = Database.open(tmp_path / "state.db")
    apply_each(database, *(append([increment(1)], agent=agent) for agent in ("a", "ab", "b")))
    refused, bound = apply_each(database, cut("c", "", [], "", 1), cut("c", "a", [], "", 1))
    assert isinstance(refused.outcome, Refusal)
    assert refused.outcome.reason == "TEAM_QUOTA"
    assert isinstance(bound.outcome, TeamCheckpointed)
    database.close()
