"""Every byte of a small state, changed: reads give damage or what was written, and `verify` finds what they cannot.

SQLite checks the form of its pages, not what is in them. Bytes that hold no data (free space, counters of SQLite's own)
may change without notice: then every read must still give the same. A damaged index may hide a row from a read; a read
must never give one that was not written, and `verify`, which looks at a small state whenever it is opened and at each
copy before it is installed, must refuse. Of states of contexts and steps some bytes are enough: the means are the same.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypeAlias

import pytest

from tallystick.errors import Compacted, NotFound
from tallystick_node.core.commands import (
    AcquireLease,
    AllocateWriters,
    Command,
    CreateContext,
    DeleteBranch,
    DeleteContext,
    ExpireLease,
    Fork,
    Idempotency,
    ReleaseLease,
    SaveVersion,
    SeenContext,
    TakeTeamCheckpoint,
    Target,
)
from tallystick_node.core.limits import FIRST_WRITER
from tallystick_node.core.schema_records import Compatibility, RegisterSchema, SchemaOf, Subject
from tallystick_node.storage import schema
from tallystick_node.storage.context_reads import ContextReads
from tallystick_node.storage.database import Database
from tallystick_node.storage.errors import DatabaseDamaged, UnknownFormat
from tallystick_node.storage.install import INCOMING_PREFIX, stage
from tallystick_node.storage.pages import Page
from tallystick_node.storage.reads import At, AtCheckpoint, AtLastTurn, AtSeq, AtTime, Head, StateRead
from tallystick_node.storage.registry_reads import SchemaAfter
from tallystick_node.storage.step_reads import StepRead
from tallystick_node.storage.verify import verify
from tests.unit import retention_stage, test_step_database
from tests.unit.database_support import START_MS, append, checkpoint, delete_agent, set_op, target

CHANGES: dict[str, Callable[[int], int]] = {
    "all bits": lambda byte: byte ^ 0xFF,
    "lowest bit": lambda byte: byte ^ 0x01,
    "highest bit": lambda byte: byte ^ 0x80,
    "to zero": lambda byte: 0,
    "one more": lambda byte: (byte + 1) % 256,
}
RUNS = [
    *(("agents", "all bits", 8, part) for part in range(8)),
    *(("agents", change, 16, 3 * at) for at, change in enumerate(list(CHANGES)[1:])),
    *(("contexts", "all bits", 16, 5 * part) for part in range(3)),
    *(("leases", "all bits", 16, 5 * part) for part in range(3)),
    *(("steps", "all bits", 16, 5 * part) for part in range(3)),
    *(("branches", "all bits", 16, 5 * part) for part in range(3)),
    *(("teams", "all bits", 16, 5 * part) for part in range(3)),
    *(("schemas", "all bits", 16, 5 * part) for part in range(3)),
    *(("retention", "all bits", 16, 5 * part) for part in range(3)),
]
"""Of a state of agents each byte with all bits changed, in parts; some bytes in other ways, and some of a state of
contexts, of leases and of steps. The state, the change, the step, the first byte."""
SHORT = {
    ("agents", "all bits", 0),
    ("agents", "all bits", 3),
    ("agents", "lowest bit", 0),
    ("agents", "to zero", 6),
    ("contexts", "all bits", 0),
    ("leases", "all bits", 0),
    ("steps", "all bits", 0),
}
"""Of these, what `make test` runs: the state, the change, the first byte."""
PAGE_BYTES = 512
STATES = Subject(SchemaOf.STATE, "")
MEMBERS = b"the members"

Read: TypeAlias = Callable[[Database], object]


def history() -> list[Command]:
    """Something in every table of agents, in few pages."""
    return [
        append([set_op("/n", "1")], key="k"),
        checkpoint("first", key="c", metadata=b'{"a":1}'),
        append([set_op("/gone", "1")], agent="b"),
        checkpoint("of-b", agent="b"),
        delete_agent("b", key="d"),
        append(*[[set_op(f"/n{number}", f'"{number}"')] for number in range(7)], time_ms=START_MS + 5),
        checkpoint("second"),
        append([set_op("/n", '"last"')], time_ms=START_MS + 9),
        append([set_op("/other", "[]")], agent="c", key="k"),
        delete_agent("c"),
        append([set_op("/other", "[]")], agent="c"),
    ]


def history_of_contexts() -> list[Command]:
    """Something in every table of contexts."""
    guids = [bytes([number] * 16) for number in range(3)]
    return [
        *(CreateContext(START_MS, "demo", f"c{guid[0]}", guid, b"{}", b"seed") for guid in guids),
        AllocateWriters(START_MS, "demo", 16, "me"),
        SaveVersion(START_MS, guids[0], 1, "v1", b"cursor", b"content", target("a"), "first"),
        SaveVersion(START_MS, guids[0], 1, "v2", b"cursor", b"content"),
        DeleteContext(START_MS, "demo", "c1", guids[1]),
        AllocateWriters(START_MS, "demo", 3, "you"),
    ]


def history_of_leases() -> list[Command]:
    """Leases that are held, and such as ended."""
    return [
        *(AcquireLease(START_MS, target(agent), f"worker-of-{agent}", 5000, "me") for agent in "abcdef"),
        *(ReleaseLease(START_MS + 1, target(agent), 1, "me") for agent in "abc"),
        ExpireLease(START_MS + 2, target("d"), 1, 0),
        *(AcquireLease(START_MS + 3, target("a"), "another-worker", 5000, "you") for _ in range(2)),
    ]


def history_of_branches() -> list[Command]:
    """A branch with a snapshot and one of its own, one that only began, one that is gone."""
    gone = DeleteBranch(START_MS, Target("demo", "a", "gone"), Idempotency("d", b"fingerprint"))
    return [
        append(*[[set_op(f"/n{number}", f'"{number}"')] for number in range(4)]),
        checkpoint("first"),
        append([set_op("/n", "1")]),
        Fork(START_MS, target("a"), "b", 4, Idempotency("k", b"fingerprint")),
        append([set_op("/b", "1")], branch="b"),
        Fork(START_MS, Target("demo", "a", "b"), "c"),
        append(*[[set_op(f"/b{number}", f'"{number}"')] for number in range(4)], branch="b"),
        Fork(START_MS, target("a"), "gone"),
        gone,
    ]


def history_of_teams() -> list[Command]:
    """Cuts through a team, one of them of a list."""
    return [
        *(append([set_op("/n", "1")], agent=agent) for agent in "abc"),
        TakeTeamCheckpoint(START_MS, "demo", "c1", b"f", contexts=(SeenContext("plan", b"cursor"),), metadata=b"{}"),
        TakeTeamCheckpoint(START_MS, "demo", "c2", b"f", (target("b"), target("a")), actor="me"),
    ]


def history_of_schemas() -> list[Command]:
    """Schemas of events and of states, and a log whose state went from version to version, with a branch."""

    def governed(version: int, branch: str = "main") -> Command:
        command = append([set_op("/n", str(version))], branch=branch)
        mutations = tuple(mutation._replace(schema_version=version) for mutation in command.mutations)
        return replace(command, mutations=mutations, schemas=5)

    return [
        RegisterSchema(START_MS, "demo", Subject(SchemaOf.EVENT, "seen"), 1, b'{"type":"object"}', actor="me"),
        *(RegisterSchema(START_MS, "demo", STATES, number, b'{"maximum":%d}' % number) for number in (1, 2, 3)),
        RegisterSchema(START_MS, "demo", Subject(SchemaOf.STATE, "other"), 1, b"{}", Compatibility.NONE),
        governed(1),
        governed(2),
        Fork(START_MS, target("a"), "b", 1),
        governed(3, "b"),
    ]


@dataclass(frozen=True)
class Sound:
    """A state as it was written. Of its empty tables, each a page, no byte is changed."""

    data: bytes
    empty_pages: frozenset[int]
    reads: Sequence[Read]

    def offsets(self, first: int, step: int) -> Iterator[int]:
        return (at for at in range(first, len(self.data), step) if at // PAGE_BYTES + 1 not in self.empty_pages)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sound]:
    folder = tmp_path_factory.mktemp("sound")
    return {
        "agents": _written(folder / "agents.db", history(), 8, reads()),
        "leases": _written(folder / "leases.db", history_of_leases(), 4, reads_of_leases()),
        "contexts": _written(folder / "contexts.db", history_of_contexts(), 8, reads_of_contexts()),
        "branches": _written(folder / "branches.db", history_of_branches(), 9, reads_of_branches()),
        "teams": _written(folder / "teams.db", history_of_teams(), 6, reads_of_teams()),
        "schemas": _written(folder / "schemas.db", history_of_schemas(), 7, reads_of_schemas()),
        "retention": _written(folder / "retention.db", retention_stage.history(), 18, retention_stage.reads()),
        "steps": _written(folder / "steps.db", test_step_database.history(), 7, reads_of_steps()),
    }


def _written(path: Path, commands: list[Command], filled: int, asked: Sequence[Read]) -> Sound:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("tallystick_node.storage.snapshots._MIN_MUTATIONS", 3)  # so that there is one
        database = Database.open(path)
        for index, command in enumerate(commands, start=1):
            database.apply([(index, 2, [command], MEMBERS if index == 2 else None)])
        database.close()
    with closing(sqlite3.connect(path)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        empty = [
            name
            for name in tables
            if connection.execute(f"SELECT count(*) FROM {name}").fetchone() == (0,)  # noqa: S608
        ]
        assert len(tables) - len(empty) == filled
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("VACUUM")
        connection.execute("PRAGMA journal_mode = WAL")
        pages = connection.execute("SELECT tbl_name, rootpage FROM sqlite_schema").fetchall()
    data = path.read_bytes()
    assert len(data) < 60_000
    return Sound(data, frozenset(page for name, page in pages if name in empty), asked)


def reads() -> list[Read]:
    """All that can be asked, and all that `apply` looks up."""

    def state(agent: str, at: At) -> Read:
        return lambda database: database.reads.read_state(target(agent), at)

    def remembered(key: str) -> Read:
        return lambda database: database._tables.remembered(1, key)

    def deletion(agent: str) -> Read:
        return lambda database: database._tables.deletion(target(agent), "d")

    def of_agent(agent: str) -> list[Read]:
        return [
            lambda database: database.reads.log(target(agent)),
            lambda database: database.reads.mutations(target(agent), 0, 1000),
            lambda database: database.reads.checkpoints(target(agent), 0, 1000),
            deletion(agent),
            *(state(agent, at) for at in (Head(), AtSeq(0), AtSeq(1))),
        ]

    return [
        lambda database: (database.applied_index, database.applied_term, database.digest, database.position),
        lambda database: (database.members, database.reads.agent_count, database._tables.last_log),
        lambda database: database.reads.agents("demo", "", "", 100),
        lambda database: database.reads.events(0, 1000),
        lambda database: database._tables.has_checkpoint(database.reads.log(target("a")), "second"),
        *of_agent("a"),
        *of_agent("c"),
        deletion("b"),
        *(state("a", AtSeq(seq)) for seq in (4, 5, 8)),
        *(state("a", at) for at in (AtTime(START_MS + 7), AtCheckpoint("first"), AtCheckpoint("second"))),
        *(remembered(key) for key in ("k", "c", "never")),
    ]


def reads_of_contexts() -> list[Read]:
    """All that can be asked of contexts, and what `apply` looks up."""
    alive, gone = bytes(16), bytes([1] * 16)
    return [
        lambda database: (database.applied_index, database.applied_term, database.digest, database.position),
        lambda database: database.reads.events(0, 1000),
        lambda database: database.reads.contexts.contexts("demo", "", "", 100),
        lambda database: database.reads.contexts.documents(b"", 100),
        lambda database: database.reads.contexts.named("demo", "c2"),
        lambda database: database.reads.contexts.context(alive),
        lambda database: database.reads.contexts.base(alive),
        lambda database: database.reads.contexts.owner(FIRST_WRITER + 16),
        lambda database: database.reads.contexts.versions(alive, "", 100),
        lambda database: _content(database.reads.contexts, alive),
        lambda database: database._tables.contexts.deletion(gone),
        lambda database: database._tables.contexts.newest_deletion("demo", "c1"),
    ]


def reads_of_branches() -> list[Read]:
    """All that can be asked of branches, and what `apply` looks up."""

    def of_branch(name: str) -> list[Read]:
        named = Target("demo", "a", name)
        states: tuple[At, ...] = (Head(), AtSeq(1), AtSeq(4), AtCheckpoint("first"), AtTime(START_MS))

        def state(at: At) -> Read:
            return lambda database: database.reads.read_state(named, at)

        return [
            *(state(at) for at in states),
            lambda database: database.reads.log(named),
            lambda database: database.reads.mutations(named, 0, 1000),
            lambda database: database.reads.checkpoints(named, 0, 1000),
            lambda database: database._tables.branches.child(database.reads.log(named)),
            lambda database: database._tables.branches.seq_at(database.reads.log(named), 2),
        ]

    return [
        lambda database: (database.applied_index, database.applied_term, database.digest, database.position),
        lambda database: database.reads.events(0, 1000),
        lambda database: database.reads.branches(target("a"), "", 100),
        lambda database: database._tables.deletion(target("a"), "d"),
        lambda database: database._tables.remembered(2, "k"),
        *(read for name in ("main", "b", "c") for read in of_branch(name)),
    ]


def reads_of_leases() -> list[Read]:
    """All that can be asked of leases, and what `apply` looks up."""

    def of_agent(agent: str) -> list[Read]:
        return [
            lambda database: database.reads.leases.lease(target(agent)),
            lambda database: database._tables.leases.held_of_agent("demo", agent),
        ]

    return [
        lambda database: database.reads.events(0, 1000),
        lambda database: database.reads.leases.leases("demo", "", None, 100),
        lambda database: database.reads.leases.leases("demo", "", target("b"), 100),
        lambda database: database.reads.leases.held(None, 100),
        lambda database: database.reads.leases.held(target("a"), 100),
        *(read for agent in "ade" for read in of_agent(agent)),
    ]


def reads_of_teams() -> list[Read]:
    """All that can be asked of cuts through teams, and what `apply` looks up."""
    return [
        lambda database: database.reads.events(0, 1000),
        lambda database: database.reads.teams.checkpoints("demo", 0, 100),
        lambda database: database.reads.teams.checkpoints("demo", 4, 100),
        *(_cut(name) for name in ("c1", "c2", "never")),
    ]


def reads_of_schemas() -> list[Read]:
    """All that can be asked of schemas, and what `apply` looks up."""

    def version(branch: str) -> Read:
        named = Target("demo", "a", branch)

        def read(database: Database) -> list[Newest]:
            found = database._tables.schemas.state_version(database.reads.log(named))
            return [Newest(branch, found.version, found)] if found is not None else []

        return read

    def governing(database: Database) -> list[Newest]:
        found = database.reads.registry.governing(target("a"))
        return [Newest("a", found.version, found)] if found is not None else []

    return [
        lambda database: database.reads.events(0, 1000),
        lambda database: database.reads.registry.schemas("demo", None, None, 100),
        lambda database: database.reads.registry.schemas("demo", STATES, SchemaAfter(STATES, 1), 100),
        lambda database: database.reads.registry.schema("demo", STATES, 2),
        governing,
        *(version(branch) for branch in ("main", "b")),
    ]


def _cut(name: str) -> Read:
    return lambda database: database.reads.teams.checkpoint("demo", name)


def reads_of_steps() -> list[Read]:
    """All that can be asked of steps and turns, and what `apply` looks up."""

    def step(name: str) -> Read:
        return lambda database: [_newest(database.reads.steps.step(target(), name))]

    def steps(*, with_ends: bool) -> Read:
        def read(database: Database) -> list[Newest]:
            page = database.reads.steps.steps(target(), "", 100, with_ends=with_ends)
            return [_newest(each) for each in page.items]

        return read

    def turn(database: Database) -> list[Newest]:
        found = database._tables.steps.newest_turn(database.reads.log(target()))
        return [Newest("turn", found.begun_seq, found)] if found is not None else []

    def ended_turn(database: Database) -> list[Newest]:
        state = database.reads.read_state(target(), AtLastTurn())
        return [Newest("ended turn", state.seq, state.state)]

    return [
        lambda database: (database.applied_index, database.applied_term, database.digest, database.position),
        lambda database: database.reads.events(0, 1000),
        *(step(name) for name in ("a", "b", "c")),
        *(steps(with_ends=with_ends) for with_ends in (False, True)),
        lambda database: database.reads.steps.results(target(), "", 100),
        turn,
        ended_turn,
    ]


class Newest(NamedTuple):
    """What is the newest of its name. Where the newest is hidden, an older one seems to be."""

    name: str
    rank: int
    value: object


def _newest(read: StepRead) -> Newest:
    return Newest(read.record.name, read.record.attempt, read)


def _content(contexts: ContextReads, guid: bytes) -> bytes | None:
    version = contexts.version(guid, "v1")
    return contexts.version_content(version) if version is not None else None


class Missing:
    """What was read was not there."""

    def __repr__(self) -> str:
        return "missing"


MISSING = Missing()


def read_all(path: Path, asked: Sequence[Read]) -> tuple[list[object], bool]:
    """What each read gives (None for damage), and whether `verify` finds nothing.

    The file is opened as one that nobody changes: that spares the write-ahead log, and most of the time.
    """
    try:
        sql = schema.open_frozen(path)
    except (DatabaseDamaged, UnknownFormat):
        return [None] * len(asked), False
    with closing(sql):
        try:
            for pragma in schema._PRAGMAS:
                sql.execute(pragma)
            database = Database(path, sql, 0)
        except DatabaseDamaged:
            return [None] * len(asked), False
        found = [_read(database, read) for read in asked]
        try:
            verify(sql)
        except DatabaseDamaged:
            return found, False
        return found, True


def _read(database: Database, read: Read) -> object:
    database._tables.reset()
    try:
        value = read(database)
    except DatabaseDamaged:
        return None
    except (NotFound, Compacted):
        return MISSING
    return MISSING if value is None else value


def is_part_of(found: object, wanted: object) -> bool:
    """Whether it is what was written, or lacks a part of it."""
    if found in (MISSING, wanted) or (found is False and wanted is True):
        return True
    if isinstance(found, Page) and isinstance(wanted, Page):
        return _is_subsequence(found.items, wanted.items)
    if isinstance(found, list) and isinstance(wanted, list):
        if found and isinstance(found[0], Newest):
            newest = {each.name: each for each in wanted}
            return all(each == newest[each.name] or each.rank < newest[each.name].rank for each in found)
        return _is_subsequence(found, wanted)
    if isinstance(found, StateRead) and isinstance(wanted, StateRead):  # but for the newest checkpoint
        fields = ("seq", "state", "hash", "time_unix_ms")
        return all(getattr(found, name) == getattr(wanted, name) for name in fields)
    return False


def _is_subsequence(found: Sequence[object], wanted: Sequence[object]) -> bool:
    rest = iter(wanted)
    return all(item in rest for item in found)


def test_a_damaged_copy_is_not_staged(sound: dict[str, Sound], tmp_path: Path) -> None:
    """`stage` refuses what `verify` does: see below."""
    path, data = tmp_path / f"{INCOMING_PREFIX}1", sound["agents"].data
    at = data.index(b"the members")
    path.write_bytes(data[:at] + b"T" + data[at + 1 :])
    with pytest.raises(DatabaseDamaged, match="members"):
        stage(tmp_path, path)
    path.write_bytes(data)
    assert stage(tmp_path, path).index == len(history())


@pytest.mark.parametrize(
    ("state", "missing"),
    [("agents", 3), ("leases", 0), ("contexts", 0), ("steps", 0), ("branches", 1), ("schemas", 0), ("retention", 0)],
)
def test_reads_of_the_sound_state(sound: dict[str, Sound], tmp_path: Path, state: str, missing: int) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(sound[state].data)
    found, is_sound = read_all(path, sound[state].reads)
    assert is_sound
    assert None not in found
    assert found.count(MISSING) == missing  # of agents: one key, and the deletions of those that are there; a child


@pytest.mark.parametrize(
    ("state", "change", "step", "first"),
    [pytest.param(*run, marks=() if (*run[:2], run[3]) in SHORT else pytest.mark.long) for run in RUNS],
)
def test_every_changed_byte_is_damage_or_no_matter(
    sound: dict[str, Sound], tmp_path: Path, state: str, change: str, step: int, first: int
) -> None:
    path, data, asked = tmp_path / "state.db", sound[state].data, sound[state].reads
    path.write_bytes(data)
    wanted, _ = read_all(path, asked)
    detected = checked = 0
    with path.open("r+b", buffering=0) as file:
        for offset in sound[state].offsets(first, step):
            changed = CHANGES[change](data[offset])
            if changed == data[offset]:
                continue
            file.seek(offset)
            file.write(bytes([changed]))
            found, is_sound = read_all(path, asked)
            wrong = [number for number, value in enumerate(found) if value is not None and value != wanted[number]]
            assert all(is_part_of(found[number], wanted[number]) for number in wrong), f"byte {offset}"
            assert not (is_sound and found != wanted), f"byte {offset}: verify finds nothing, and reads differ"
            detected += not is_sound
            checked += 1
            file.seek(offset)
            file.write(data[offset : offset + 1])
    assert detected > checked // 8 > 20
