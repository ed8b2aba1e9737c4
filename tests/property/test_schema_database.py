"""Schemas in the database: against tables in memory, against what must always hold, and batched and crashed."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallystick.v1 import state_pb2
from tallystick_node.core.commands import Append, Command, DeleteAgent, DeleteBranch, Fork, Part, Target, Transact
from tallystick_node.core.machine import apply
from tallystick_node.core.outcomes import Applied, MutationDecided, Refusal
from tallystick_node.core.schema_records import (
    Compatibility,
    RegisterSchema,
    SchemaKept,
    SchemaOf,
    SchemaRegistered,
    Subject,
)
from tallystick_node.storage.database import Database
from tallystick_node.wire.commands import decode_commands, encode_command
from tallystick_node.wire.mutations import admit_mutations
from tests.property.replicas import check_replicas
from tests.unit.core_tables import MemoryTables
from tests.unit.database_support import START_MS

NAMESPACES = st.sampled_from(["demo", "demo", "demo", "other"])
SUBJECTS = st.builds(Subject, st.sampled_from(SchemaOf), st.sampled_from(["a", "a", "aa", "b"])) | st.just(
    Subject(SchemaOf.STATE, "")
)
TARGETS = st.sampled_from([Target("demo", agent, branch) for agent in ("a", "aa", "b") for branch in ("main", "side")])
VERSION = st.integers(0, 3)
REGISTRATIONS = st.builds(
    lambda namespace, subject, version, number, compatibility: RegisterSchema(
        START_MS, namespace, subject, version, b'{"maximum":%d}' % number, compatibility, "me"
    ),
    NAMESPACES, SUBJECTS, st.integers(1, 4), st.integers(0, 2), st.sampled_from(Compatibility),
)  # fmt: skip


def write(target: Target, version: int, mutations: int, *, is_custom: bool) -> Append:
    operation = state_pb2.Operation(kind=state_pb2.OPERATION_KIND_SET, path="/n", value=b"%d" % version)
    message = state_pb2.Mutation(
        kind="seen" if is_custom else "", operations=[] if is_custom else [operation], schema_version=version
    )
    return Append(START_MS, target, admit_mutations([message] * mutations), actor="me")


WRITES = st.builds(
    lambda target, version, mutations, custom: write(target, version, mutations, is_custom=custom),
    TARGETS, VERSION, st.integers(1, 2), st.sampled_from([False, False, True]),
)  # fmt: skip
TRANSACTIONS = st.builds(
    lambda one, other: Transact(
        START_MS, tuple({each.target: Part(each.target, each.mutations) for each in (one, other)}.values())
    ),
    WRITES,
    WRITES,
)
OTHERS: st.SearchStrategy[Command] = st.one_of(
    st.builds(
        lambda target, at: Fork(START_MS, target._replace(branch="main"), "side", at), TARGETS, st.integers(0, 2)
    ),
    st.builds(lambda target: DeleteBranch(START_MS, target._replace(branch="side")), TARGETS),
    st.builds(lambda target: DeleteAgent(START_MS, target._replace(branch="main")), TARGETS),
)
HISTORIES = st.lists(st.one_of(REGISTRATIONS, WRITES, WRITES, TRANSACTIONS, OTHERS), min_size=10, max_size=40)
SETTINGS = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def rightly(tables: MemoryTables, command: Command, number: int) -> Command:
    """Most of them checked against what holds, and most registrations of the version that comes next."""
    if number % 5 == 0:
        return command
    if isinstance(command, RegisterSchema):
        newest = tables.schemas.newest_version(command.namespace, command.subject)
        return replace(command, version=newest + 1) if number % 2 else command
    position = tables.schemas.position("demo")
    if isinstance(command, Append):
        log = tables.log(command.target)
        return replace(command, schemas=position, head=log.hash if log is not None else b"")
    return replace(command, schemas=position) if isinstance(command, Transact) else command


class Held:
    """What must hold of any history, by commands, events and outcomes alone."""

    def __init__(self) -> None:
        self.versions: dict[tuple[str, Subject], list[bytes]] = {}
        self.position = 0

    def check(self, command: Command, applied: Applied, tables: MemoryTables) -> None:
        for event in applied.events:
            if isinstance(event, SchemaRegistered):
                assert isinstance(command, RegisterSchema)
                known = self.versions.setdefault((event.namespace, event.subject), [])
                known.append(command.document)
                assert event.version == len(known)
                self.position = event.position if event.namespace == "demo" else self.position
            elif isinstance(event, MutationDecided):
                assert isinstance(command, Append | Transact)
                assert command.schemas == self.position
        if isinstance(applied.outcome, SchemaKept):
            record = applied.outcome.record
            assert self.versions[record.namespace, record.subject][record.version - 1] == record.document
        if isinstance(command, Append) and not isinstance(applied.outcome, Refusal):
            self._check_state(command, tables)

    def _check_state(self, command: Append, tables: MemoryTables) -> None:
        asked = [each.schema_version for each in command.mutations if each.operations]
        present = tables.schemas.state_version(tables.logs[command.target])
        governing = tables.schemas.governing("demo", command.target.agent)
        if asked and governing is not None:
            assert present is not None
            assert present.prefix == governing.prefix
            assert max(asked) <= present.version <= governing.version


@given(HISTORIES)
@SETTINGS
def test_equals_tables_in_memory_and_holds(history: list[Command]) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setattr("tallystick_node.storage.registry_tables.STATES_KEPT", 2)
        patched.setattr("tallystick_node.storage.registry_tables.NAMESPACES_KEPT", 1)
        database, tables, held = Database.open(Path(folder) / "state.db"), MemoryTables(), Held()
        for number, drawn in enumerate(history):
            (command,) = decode_commands(encode_command(rightly(tables, drawn, number)))
            _know_operations(tables, command)
            ((applied,),) = database.apply([(database.applied_index + 1, 1, [command], None)])
            assert applied == apply(tables, command)
            held.check(command, applied, tables)
        _reads_are_those_of(tables, database)
        database.close()
        Database.open(Path(folder) / "state.db").close()  # looks at all of it


def _know_operations(tables: MemoryTables, command: Command) -> None:
    parts = command.parts if isinstance(command, Transact) else [command] if isinstance(command, Append) else []
    tables.operations.update((each.raw, each.operations) for part in parts for each in part.mutations)


def _reads_are_those_of(tables: MemoryTables, database: Database) -> None:
    reads = database.reads.registry
    for namespace in ("demo", "other"):
        records = [each for each in tables.schemas.records if each.namespace == namespace]
        assert reads.schemas(namespace, None, None, 1000).items == sorted(records, key=lambda each: each[2:4])
    for target, log in tables.logs.items():
        present = tables.schemas.state_version(log)
        assert reads.version_at(target, log.seq) == (present.version if present is not None else 0)
        for seq in range(log.seq):
            own = [line for line in tables.branches.line(log) if seq <= line[1] or line[0] is log]
            rows = [
                (at, schema.version)
                for each, last in own
                for (number, at), schema in tables.schemas.states.items()
                if number == each.number and at <= min(seq, last)
            ]
            assert reads.version_at(target, seq) == (max(rows)[1] if rows else 0)


@given(HISTORIES, st.data())
@SETTINGS
def test_batches_and_crashes_change_nothing(history: list[Command], data: st.DataObject) -> None:
    tables = MemoryTables()
    for number, drawn in enumerate(history):
        history[number] = command = rightly(tables, drawn, number)
        _know_operations(tables, command)
        apply(tables, command)
    check_replicas(history, data)


def test_no_more_than_the_limit_are_registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallystick_node.core.limits.SCHEMA_VERSIONS", 2)
    database = Database.open(tmp_path / "state.db")

    def register(name: str, version: int = 1, namespace: str = "demo") -> object:
        command = RegisterSchema(START_MS, namespace, Subject(SchemaOf.EVENT, name), version, b"%d" % version)
        return database.apply([(database.applied_index + 1, 1, [command], None)])[0][0].outcome

    assert isinstance(register("a"), SchemaKept)
    assert isinstance(register("a", 2), SchemaKept)
    refused = register("b")
    assert isinstance(refused, Refusal)
    assert refused.reason == "SCHEMA_QUOTA"
    assert isinstance(register("a"), SchemaKept)
    assert isinstance(register("b", namespace="other"), SchemaKept)
    database.close()


def test_a_transaction_that_fails_registers_nothing(tmp_path: Path) -> None:
    database = Database.open(tmp_path / "state.db")
    subject = Subject(SchemaOf.STATE, "")
    register = RegisterSchema(START_MS, "demo", subject, 1, b"{}")
    with pytest.raises(ValueError, match="comes after"):
        database.apply([(1, 1, [register, write(Target("demo", "a"), 1, 1, is_custom=False)], None), (1, 1, [], None)])
    assert database.reads.registry.newest_version("demo", subject) == 0
    database.close()
