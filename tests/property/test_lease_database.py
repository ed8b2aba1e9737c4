"""Leases in the database: against tables in memory, against what must always hold, and batched and crashed."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallystick_node.core.commands import (
    AcquireLease,
    AgentCommand,
    Append,
    Checkpoint,
    Command,
    DeleteAgent,
    ExpireLease,
    LeaseCommand,
    ReleaseLease,
    RenewLease,
    Target,
)
from tallystick_node.core.machine import apply
from tallystick_node.core.outcomes import (
    AgentDeleted,
    Appended,
    Applied,
    Checkpointed,
    CheckpointTaken,
    Event,
    LeaseChange,
    LeaseChanged,
    LeaseDecided,
    MutationDecided,
    Refusal,
)
from tallystick_node.storage.database import Database
from tallystick_node.wire.commands import decode_commands, encode_command
from tests.property.replicas import check_replicas
from tests.property.test_state_database import COMMANDS as AGENT_COMMANDS
from tests.unit.core_tables import MemoryTables
from tests.unit.database_support import START_MS, append, set_op, target

TARGET = st.sampled_from([target("a"), target("a"), target("b"), Target("demo", "a", "side")])
TIME = st.integers(START_MS, START_MS + 5)
EPOCH, MARK = st.integers(0, 4), st.integers(0, 3)
LEASE_COMMANDS: st.SearchStrategy[LeaseCommand] = st.one_of(
    st.builds(AcquireLease, TIME, TARGET, st.sampled_from(["w1", "w2", "w3"]), st.sampled_from([1000, 5000])),
    st.builds(RenewLease, TIME, TARGET, EPOCH),
    st.builds(ReleaseLease, TIME, TARGET, EPOCH),
    st.builds(ExpireLease, TIME, TARGET, EPOCH, MARK),
)
WRITES: st.SearchStrategy[AgentCommand] = st.builds(
    lambda command, epoch: replace(command, epoch=epoch), AGENT_COMMANDS, EPOCH
)
HISTORIES = st.lists(st.one_of(LEASE_COMMANDS, LEASE_COMMANDS, WRITES), min_size=10, max_size=40)
SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def rightly(tables: MemoryTables, command: Command) -> Command:
    """Half of them with the epoch and mark that there are, for chance alone finds them too rarely."""
    lease = tables.leases.lease(command.target) if isinstance(command, LeaseCommand | AgentCommand) else None
    if lease is None or command.time_unix_ms % 2:
        return command
    if isinstance(command, ExpireLease):
        return replace(command, epoch=lease.epoch, mark=lease.mark)
    if isinstance(command, AcquireLease):
        return command
    assert isinstance(command, RenewLease | ReleaseLease | AgentCommand)
    return replace(command, epoch=lease.epoch)


@given(HISTORIES)
@SETTINGS
def test_equals_tables_in_memory_and_holds(history: list[Command]) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setattr("tallystick_node.storage.lease_tables.LEASES_KEPT", 2)
        database, tables = Database.open(Path(folder) / "state.db"), MemoryTables()
        held = Held()
        for drawn in history:
            (command,) = decode_commands(encode_command(rightly(tables, drawn)))
            ((applied,),) = database.apply([(database.applied_index + 1, 1, [command], None)])
            assert applied == apply(tables, command)
            held.check(command, applied)
        assert database.reads.events(0, 1000) == [event for event in tables.events if _is_kept(event, tables)]
        records = sorted(tables.leases.records.values(), key=lambda record: record.target)
        assert database.reads.leases.leases("demo", "", None, 100).items == records
        now = [record for record in records if record.is_held]
        assert database.reads.leases.held(None, 100).items == now
        assert database.reads.leases.held_count == len(now)
        database.close()
        Database.open(Path(folder) / "state.db").close()  # looks at all of it


def _is_kept(event: Event, tables: MemoryTables) -> bool:
    """The events of an agent's log go with it."""
    if not isinstance(event, MutationDecided | CheckpointTaken):
        return True
    ends = [each.position for each in tables.events if isinstance(each, AgentDeleted) and each.target == event.target]
    return event.position > max(ends, default=0)


class Held:
    """Who holds what, by events and outcomes alone; what must hold of any history."""

    def __init__(self) -> None:
        self.now: dict[Target, tuple[int, str]] = {}
        self.epochs: dict[Target, int] = {}
        self.times: dict[Target, int] = {}

    def check(self, command: Command, applied: Applied) -> None:
        outcome = applied.outcome
        if isinstance(command, Append | Checkpoint | DeleteAgent) and not isinstance(outcome, Refusal):
            is_new = not (isinstance(outcome, Appended | Checkpointed) and outcome.replayed) and bool(applied.events)
            if is_new:
                assert command.epoch == self.now.get(command.target, (0, ""))[0]
        if isinstance(outcome, LeaseChanged) and not outcome.replayed and not applied.events:
            assert isinstance(command, RenewLease)
        for event in applied.events:
            if isinstance(event, LeaseDecided):
                self._change(event)

    def _change(self, event: LeaseDecided) -> None:
        assert event.time_unix_ms >= self.times.get(event.target, 0)
        self.times[event.target] = event.time_unix_ms
        if event.change is LeaseChange.ACQUIRED:
            assert event.target not in self.now
            assert event.epoch == self.epochs.get(event.target, 0) + 1
            self.epochs[event.target] = event.epoch
            self.now[event.target] = (event.epoch, event.holder)
        else:
            assert self.now.pop(event.target) == (event.epoch, event.holder)


@given(HISTORIES, st.data())
@SETTINGS
def test_batches_and_crashes_change_nothing(history: list[Command], data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("tallystick_node.storage.lease_tables.LEASES_KEPT", 1)
        check_replicas(history, data)


def test_no_more_than_the_limit_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallystick_node.core.limits.LEASES_HELD", 2)
    database = Database.open(tmp_path / "state.db")

    def acquire(agent: str) -> Applied:
        command = AcquireLease(START_MS, target(agent), "w", 1000)
        return database.apply([(database.applied_index + 1, 1, [command], None)])[0][0]

    assert [isinstance(acquire(agent).outcome, LeaseChanged) for agent in "aba"] == [True] * 3
    refused = acquire("c").outcome
    assert isinstance(refused, Refusal)
    assert refused.reason == "LEASE_QUOTA"
    database.apply([(database.applied_index + 1, 1, [ReleaseLease(START_MS, target("a"), 1)], None)])
    assert isinstance(acquire("c").outcome, LeaseChanged)
    database.close()


def test_a_transaction_that_fails_changes_no_lease(tmp_path: Path) -> None:
    database = Database.open(tmp_path / "state.db")
    acquire = AcquireLease(START_MS, target(), "w", 1000)
    with pytest.raises(ValueError, match="comes after"):
        database.apply([(1, 1, [acquire], None), (1, 1, [], None)])
    assert database.reads.leases.held_count == 0
    database.apply([(1, 1, [append([set_op("/n", "1")]), acquire], None)])
    found = database.reads.leases.lease(target())
    assert found is not None
    assert (found.epoch, database.reads.leases.held_count) == (1, 1)
    database.close()
