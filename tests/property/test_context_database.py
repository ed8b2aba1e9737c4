"""Contexts in the database: against tables in memory, against what must always hold, and batched and crashed."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tallystick_node.core.commands import (
    AllocateWriters,
    Command,
    ContextCommand,
    CreateContext,
    DeleteContext,
    SaveVersion,
    SealContext,
    StartEpoch,
    Target,
)
from tallystick_node.core.limits import FIRST_WRITER
from tallystick_node.core.machine import apply
from tallystick_node.core.outcomes import ContextChange, ContextDecided, Event, WritersAllocated
from tallystick_node.storage.database import Database
from tallystick_node.wire.commands import decode_commands, encode_command
from tests.property.replicas import check_replicas
from tests.property.test_state_database import COMMANDS as AGENT_COMMANDS
from tests.unit.core_tables import MemoryTables
from tests.unit.database_support import START_MS

GUIDS = [bytes([number] * 16) for number in range(3)]
NAMES = ["plan", "notes"]

GUID, NAME = st.sampled_from(GUIDS), st.sampled_from(NAMES)
TIME = st.integers(START_MS, START_MS + 5)
EPOCH = st.sampled_from([1, 1, 2, 2, 3])
CONTENT = st.sampled_from([b"one", b"two"])
CONTEXT_COMMANDS: st.SearchStrategy[ContextCommand] = st.one_of(
    st.builds(CreateContext, TIME, st.just("demo"), NAME, GUID, st.just(b""), st.sampled_from([b"", b"seed"])),
    st.builds(CreateContext, TIME, st.just("demo"), NAME, GUID),
    st.builds(DeleteContext, TIME, st.just("demo"), NAME, st.sampled_from([b"", *GUIDS])),
    st.builds(AllocateWriters, TIME, st.just("demo"), st.integers(1, 20), st.sampled_from(["a", "b"])),
    st.builds(SealContext, TIME, GUID, EPOCH),
    st.builds(SealContext, TIME, GUID, EPOCH),
    st.builds(StartEpoch, TIME, GUID, EPOCH, st.integers(1, 12), st.sampled_from([b"", b"base", b"other"])),
    st.builds(SaveVersion, TIME, GUID, EPOCH, NAME, CONTENT, CONTENT, st.sampled_from([None, Target("demo", "a")])),
)
CONTEXT_HISTORIES = st.lists(CONTEXT_COMMANDS, min_size=10, max_size=40).map(
    lambda commands: [CreateContext(START_MS, "demo", "plan", GUIDS[0], b"", b"seed"), *commands]
)
HISTORIES = st.lists(st.one_of(CONTEXT_COMMANDS, AGENT_COMMANDS), min_size=8, max_size=25)
SETTINGS = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def sealed_rightly(tables: MemoryTables, command: Command) -> Command:
    """An epoch begun under the seal that there is, for chance alone finds it too rarely."""
    if isinstance(command, StartEpoch) and command.seal % 2:
        record = tables.contexts.context(command.guid)
        if record is not None and record.is_sealed:
            return StartEpoch(command.time_unix_ms, command.guid, record.epoch + 1, record.seal, command.base)
    return command


@given(CONTEXT_HISTORIES)
@SETTINGS
def test_equals_tables_in_memory_and_holds(history: list[Command]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        database, tables = Database.open(Path(folder) / "state.db"), MemoryTables()
        events: list[Event] = []
        for drawn in history:
            (command,) = decode_commands(encode_command(sealed_rightly(tables, drawn)))
            ((applied,),) = database.apply([(database.applied_index + 1, 1, [command], None)])
            assert applied == apply(tables, command)
            events += applied.events
        assert database.reads.events(0, 1000) == events == tables.events
        _compare(database, tables)
        _check(events)
        database.close()
        Database.open(Path(folder) / "state.db").close()  # looks at all of it


def _compare(database: Database, tables: MemoryTables) -> None:
    reads, memory = database.reads.contexts, tables.contexts
    records = sorted(memory.records.values(), key=lambda record: record.guid)
    assert reads.documents(b"", 100).items == records
    assert reads.contexts("demo", "", "", 100).items == sorted(records, key=lambda record: record.name)
    for record in records:
        assert (record.epoch, reads.base(record.guid)) == memory.bases[record.guid]
        versions = [version for (guid, _), version in sorted(memory.versions.items()) if guid == record.guid]
        assert reads.versions(record.guid, "", 100).items == versions
        for version in versions:
            assert reads.version_content(version) in {b"one", b"two"}
    for block in memory.writers:
        for writer in (block.first, block.first + block.count - 1):
            assert reads.owner(writer) == (block.namespace, block.actor)
    assert reads.owner(memory.next_writer()) is None


def _check(events: list[Event]) -> None:
    """What holds of any history: by its events alone."""
    next_writer = FIRST_WRITER
    created: set[bytes] = set()
    deleted: set[bytes] = set()
    epochs: dict[bytes, int] = {}
    sealed: set[bytes] = set()
    times: dict[bytes, int] = {}
    for event in events:
        if isinstance(event, WritersAllocated):
            assert event.first == next_writer
            next_writer += event.count
        if not isinstance(event, ContextDecided):
            continue
        guid = event.guid
        assert event.time_unix_ms >= times.get(guid, 0)
        times[guid] = event.time_unix_ms
        if event.change is ContextChange.CREATED:
            assert guid not in created
            created.add(guid)
            epochs[guid] = 1
        assert guid in created - deleted
        match event.change:
            case ContextChange.DELETED:
                deleted.add(guid)
            case ContextChange.SEALED:
                assert guid not in sealed
                sealed.add(guid)
            case ContextChange.UNSEALED:
                sealed.remove(guid)
            case ContextChange.EPOCH_STARTED:
                sealed.remove(guid)
                epochs[guid] += 1
        assert event.epoch == epochs[guid]


@given(HISTORIES, st.data())
@SETTINGS
def test_batches_and_crashes_change_nothing(history: list[Command], data: st.DataObject) -> None:
    check_replicas(history, data)
