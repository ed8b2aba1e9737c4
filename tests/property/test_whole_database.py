"""All commands together: the database against tables in memory, and against itself batched otherwise, with nothing kept
at hand, with transactions that fail, crashed, and copied.

What each command does by itself is tested elsewhere; here it is what they do to each other. Histories are thrown with
dice of a seed, by what there is: drawn blindly, most commands would be refused.
"""

from __future__ import annotations

import contextlib
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick.errors import Compacted, NotFound
from tallystick_node.core.commands import (
    MAIN,
    AcquireLease,
    AllocateWriters,
    Append,
    BeginStep,
    BeginTurn,
    Checkpoint,
    Command,
    CreateContext,
    DeleteAgent,
    DeleteBranch,
    DeleteTeamCheckpoint,
    EndStep,
    EndTurn,
    ExpireLease,
    Fork,
    ForkTeam,
    Mutation,
    Part,
    ReleaseLease,
    RenewLease,
    TakeTeamCheckpoint,
    Target,
    Transact,
)
from tallystick_node.core.machine import apply
from tallystick_node.core.outcomes import Applied, StepStatus
from tallystick_node.core.retention_records import CompactLog, PinCheckpoint, RetentionPolicy, SetRetention
from tallystick_node.core.schema_records import RegisterSchema, SchemaOf, Subject
from tallystick_node.core.values import load_json
from tallystick_node.storage.database import Database, Entry
from tallystick_node.storage.reads import AtSeq, AtTime, Head
from tallystick_node.storage.verify import verify
from tallystick_node.wire.branch_commands import keyed_deletion, keyed_fork, keyed_team
from tallystick_node.wire.commands import decode_commands, encode_command, encode_request
from tallystick_node.wire.step_mutations import completed_mutation, result_of
from tallystick_node.wire.team_commands import keyed_transaction
from tests.property.replicas import crash
from tests.property.test_team_database import cut, moved, mutations_of
from tests.unit.core_tables import MemoryTables
from tests.unit.database_support import START_MS, append, rows_digest, set_op, target

Results: TypeAlias = list[Applied]

SETTINGS = settings(max_examples=12, deadline=None)
COMMANDS = 80
PLACES = [target(agent, branch) for agent in ("a", "ab") for branch in (MAIN, "b1", "b2", "b3")]
STEP = Mutation(b"", ())


@pytest.fixture(autouse=True, scope="module")
def little_is_kept() -> Iterator[None]:
    """So that short histories write snapshots, forget keys, and look for what they had at hand."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("tallystick_node.storage.snapshots._MIN_MUTATIONS", 2)
        patched.setattr("tallystick_node.storage.lease_tables.LEASES_KEPT", 2)
        patched.setattr("tallystick_node.storage.hot_logs._RECORDS", 3)
        patched.setattr("tallystick_node.core.limits.KEYS_REMEMBERED", 4)
        patched.setattr("tallystick_node.core.limits.KEYS_PRUNE_STEP", 2)
        patched.setattr("tallystick_node.core.limits.COMPACTED_MUTATIONS", 6)
        patched.setattr("tallystick_node.core.limits.COMPACTED_STATES_BYTES", 40)
        yield


class Thrower:
    """Throws commands that mostly fit what there is."""

    def __init__(self, dice: random.Random, tables: MemoryTables) -> None:
        self.dice = dice
        self.tables = tables

    def command(self) -> Command:
        kinds: list[tuple[int, Callable[[], Command]]] = [
            (14, self._append),
            (5, self._checkpoint),
            (7, self._fork),
            (2, self._fork_team),
            (3, self._delete_branch),
            (1, self._delete_agent),
            (10, self._step),
            (7, self._turn),
            (8, self._lease),
            (5, self._transact),
            (3, self._cut),
            (1, self._cut_end),
            (1, self._context),
            (9, self._compact),
            (4, self._pin),
            (1, self._retain),
            (1, self._register),
        ]
        (make,) = self.dice.choices([make for _, make in kinds], [weight for weight, _ in kinds])
        made = make()
        if isinstance(made, (Append, Transact)) and self.dice.random() < 0.95:
            return replace(made, schemas=self.tables.schemas.position("demo"))
        return made

    def _place(self) -> Target:
        living = sorted(self.tables.logs)
        return self.dice.choice(living if living and self.dice.random() < 0.8 else PLACES)

    def _time_ms(self) -> int:
        return START_MS + self.dice.randrange(10)

    def _key(self) -> str:
        return self.dice.choice(["", "", "k1", "k2", "k3", "k4", "k5"])

    def _seq(self, place: Target) -> int:
        log = self.tables.log(place)
        return self.dice.randrange((log.seq if log is not None else 0) + 2)

    def _epoch(self, place: Target) -> int:
        lease = self.tables.leases.lease(place)
        right = lease.epoch if lease is not None and lease.is_held else 0
        return right if self.dice.random() < 0.9 else self.dice.randrange(3)

    def _asked(self, command: Append | Checkpoint | DeleteAgent | BeginStep | EndStep | BeginTurn | EndTurn) -> Command:
        return _decoded(encode_request(command, self._key()))

    def _append(self) -> Command:
        place = self._place()
        mutations = append(*[[set_op(f"/{self.dice.randrange(5)}", "1")]] * self.dice.randint(1, 3)).mutations
        version = self.dice.choice([0, 0, self.dice.randrange(3)])
        mutations = tuple(mutation._replace(schema_version=version) for mutation in mutations)
        asked = self._asked(Append(self._time_ms(), place, mutations, epoch=self._epoch(place)))
        assert isinstance(asked, Append)
        return replace(asked, mutations=mutations)

    def _checkpoint(self) -> Command:
        place = self._place()
        return self._asked(Checkpoint(self._time_ms(), place, self.dice.choice("cdef"), epoch=self._epoch(place)))

    def _fork(self) -> Command:
        source, branch = self._place(), self.dice.choice(["b1", "b2", "b3"])
        at_seq = self.dice.choice([None, self._seq(source)])
        return _decoded(
            encode_command(keyed_fork(Fork(self._time_ms(), source, branch, at_seq), self._key(), str(at_seq)))
        )

    def _fork_team(self) -> Command:
        position = self.dice.randint(1, self.tables.position + 1)
        prefix, source = self.dice.choice(["", "a", "ab"]), self._place().branch
        branch = self.dice.choice(["b1", "b2", "b3"])
        command = ForkTeam(self._time_ms(), "demo", prefix, branch, position, source)
        return _decoded(encode_command(keyed_team(command, self._key())))

    def _delete_branch(self) -> Command:
        place = self._place()
        place = place if place.branch != MAIN else target("a", "b1")
        command = DeleteBranch(self._time_ms(), place, epoch=self._epoch(place))
        return _decoded(encode_command(keyed_deletion(command, self._key())))

    def _delete_agent(self) -> Command:
        place = self._place()._replace(branch=MAIN)
        return self._asked(DeleteAgent(self._time_ms(), place, epoch=self._epoch(place)))

    def _step(self) -> Command:
        place, name = self._place(), self.dice.choice(["s1", "s2"])
        log, epoch = self.tables.log(place), self._epoch(place)
        step = self.tables.steps.newest(log, name) if log is not None else None
        attempt = step.attempt if step is not None else 0
        if self.dice.random() < 0.5:
            retry_of = self.dice.choice([0, attempt])
            return self._asked(BeginStep(self._time_ms(), place, name, retry_of, STEP, epoch=epoch))
        has_failed = self.dice.random() < 0.5
        result = f'"on {place.branch}"'.encode()
        mutation = STEP if has_failed else completed_mutation(name, attempt or 1, result, "")
        return self._asked(EndStep(self._time_ms(), place, name, attempt, has_failed, mutation, epoch=epoch))

    def _turn(self) -> Command:
        place = self._place()
        log, epoch = self.tables.log(place), self._epoch(place)
        turn = self.tables.steps.newest_turn(log) if log is not None else None
        begun = turn.begun_seq if turn is not None and not turn.ended_seq else 0
        if self.dice.random() < 0.5:
            return self._asked(BeginTurn(self._time_ms(), place, begun, STEP, epoch=epoch))
        return self._asked(EndTurn(self._time_ms(), place, begun, STEP, epoch=epoch))

    def _lease(self) -> Command:
        held = [place for place, lease in sorted(self.tables.leases.records.items()) if lease.is_held]
        place = self.dice.choice(held) if held and self.dice.random() < 0.5 else self._place()
        time_ms = self._time_ms()
        lease, epoch = self.tables.leases.lease(place), self._epoch(place)
        mark = lease.mark if lease is not None else 0
        commands: list[Command] = [
            AcquireLease(time_ms, place, self.dice.choice(["w1", "w2"]), 1000),
            RenewLease(time_ms, place, epoch),
            ReleaseLease(time_ms, place, epoch),
            ExpireLease(time_ms, place, epoch, self.dice.choice([mark, 1])),
        ]
        return _decoded(encode_command(self.dice.choice(commands)))

    def _transact(self) -> Command:
        places = list({self._place() for _ in range(3)})
        places.sort()
        broken, odd = self.dice.choice([-1, -1, -1, 0, 1]), self.dice.choice([-1, -1, -1, 2])
        command = moved(places, [1, -2], broken, odd, self._time_ms(), "")
        first, *others = [part._replace(epoch=self._epoch(part.target)) for part in command.parts]
        parts = (first, *[self._seen(part) if self.dice.random() < 0.3 else part for part in others])
        return _decoded(encode_command(keyed_transaction(replace(command, parts=parts), self._key())))

    def _seen(self, part: Part) -> Part:
        """It only says where its log must end."""
        log = self.tables.log(part.target)
        return Part(part.target, (), log.seq if log is not None else 0)

    def _cut(self) -> Command:
        places = sorted({self._place() for _ in range(self.dice.randrange(3))})
        name, prefix = self.dice.choice("cdefgh"), self.dice.choice(["", "a", "ab"])
        return _decoded(encode_command(cut(name, prefix, places, self._key(), self._time_ms())))

    def _cut_end(self) -> Command:
        taken = self.dice.choice([0, 0, self.dice.randint(1, self.tables.position + 1)])
        return DeleteTeamCheckpoint(self._time_ms(), "demo", self.dice.choice("cdefgh"), taken, "me")

    def _compact(self) -> Command:
        place = self._place()
        log, below_seq = self.tables.log(place), self._seq(place) + 1
        hash_ = self.tables.branches.hash_at(log, below_seq - 1) if log is not None else b""
        return _decoded(encode_command(CompactLog(self._time_ms(), place, below_seq, hash_, "keeper")))

    def _pin(self) -> Command:
        place, name = self._place(), self.dice.choice("cdef")
        return _decoded(encode_command(PinCheckpoint(self._time_ms(), place, name, self.dice.random() < 0.8, "me")))

    def _retain(self) -> Command:
        policy = RetentionPolicy(max_mutations=self.dice.randrange(2), archive=self.dice.choice(["", "cold"]))
        return _decoded(encode_command(SetRetention(self._time_ms(), "demo", policy, "me")))

    def _register(self) -> Command:
        subject = Subject(SchemaOf.STATE, self.dice.choice(["", "", "ab"]))
        version = self.tables.schemas.newest_version("demo", subject) + 1
        document = b'{"title":"%d"}' % self.dice.randrange(3)
        return _decoded(encode_command(RegisterSchema(self._time_ms(), "demo", subject, version, document, actor="me")))

    def _context(self) -> Command:
        if self.dice.random() < 0.5:
            return AllocateWriters(self._time_ms(), "demo", 3, "me")
        return CreateContext(self._time_ms(), "demo", self.dice.choice("pq"), self.dice.randbytes(16))


def _decoded(data: bytes) -> Command:
    (command,) = decode_commands(data)
    return command


def thrown(dice: random.Random) -> tuple[list[Command], Results, MemoryTables]:
    """Commands, and what tables in memory make of them. Some are those of before, again."""
    tables = MemoryTables()
    thrower = Thrower(dice, tables)
    commands: list[Command] = []
    results: Results = []
    for _ in range(COMMANDS):
        command = dice.choice(commands) if commands and dice.random() < 0.1 else thrower.command()
        tables.operations.update((mutation.raw, mutation.operations) for mutation in mutations_of(command))
        commands.append(command)
        results.append(apply(tables, command))
    return commands, results, tables


def entries_of(commands: Sequence[Command], dice: random.Random) -> list[Entry]:
    """Some entries hold one command, some hold several."""
    entries: list[Entry] = []
    at = 0
    while at < len(commands):
        size = dice.choice([1, 1, 2, 5])
        entries.append((len(entries) + 1, 1, commands[at : at + size], None))
        at += size
    return entries


def fails(database: Database, entries: Sequence[Entry]) -> None:
    """A transaction that gets as far as those entries, and then no further."""
    before = (database.position, database.digest, database.applied_index, database.reads.leases.held_count)
    no_command = (entries[-1][0] + 1, 1, [None], None)
    with pytest.raises(AssertionError):
        database.apply([*entries, no_command])  # type: ignore[list-item]
    assert before == (database.position, database.digest, database.applied_index, database.reads.leases.held_count)


def copied(database: Database, path: Path) -> Database:
    """What a peer has that got a copy."""
    path.parent.mkdir()
    database.export(path)
    database.close()
    return Database.open(path, state_cache_bytes=0)


def look(database: Database) -> None:
    """Reads all that there is; what is kept at hand because of it must not matter."""
    for place in PLACES:
        with contextlib.suppress(NotFound):
            for seq in range(database.reads.log(place).seq + 1):
                with contextlib.suppress(Compacted):
                    database.reads.read_state(place, AtSeq(seq))
            database.reads.mutations(place, 0, 1000)
            database.reads.checkpoints(place, 0, 100)
            database.reads.steps.steps(place, "", 100, with_ends=True)


def applied_otherwise(database: Database, entries: Sequence[Entry], dice: random.Random) -> tuple[Database, Results]:
    """Some entries in a transaction, before and after which something happens that must not matter."""
    if dice.random() < 0.5:
        fails(database, entries)
    results = [each for result in database.apply(entries) for each in result]
    elsewhere = database.path.parent.parent / str(entries[0][0]) / "state.db"
    match dice.choice(["nothing", "crash", "copy", "look"]):
        case "crash":
            database = crash(database, elsewhere)
        case "copy":
            database = copied(database, elsewhere)
        case "look":
            look(database)
    return database, results


@given(st.integers(0, 2**32))
@SETTINGS
def test_however_it_comes_about_it_is_the_same(seed: int) -> None:
    dice = random.Random(seed)
    commands, wanted, tables = thrown(dice)
    entries = entries_of(commands, dice)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "0").mkdir()
        singly = Database.open(Path(folder) / "one.db")
        other = Database.open(Path(folder) / "0" / "state.db", state_cache_bytes=0)
        assert [each for entry in entries for result in singly.apply([entry]) for each in result] == wanted
        together: Results = []
        while other.applied_index < len(entries):
            now = entries[other.applied_index :][: dice.choice([1, 2, 5, 20])]
            other, results = applied_otherwise(other, now, dice)
            together += results
        assert together == wanted
        assert (other.digest, other.position) == (singly.digest, singly.position)
        assert rows_digest(other.path) == rows_digest(singly.path)
        assert other.reads.events(0, 1000) == singly.reads.events(0, 1000)
        verify(other._sql)
        _reads_are_those_of(tables, other)
        assert other.reads.leases.held_count == sum(each.is_held for each in tables.leases.records.values())
        _with_the_agents_all_goes(other)
        singly.close()
        other.close()


def _reads_are_those_of(tables: MemoryTables, database: Database) -> None:
    """Of each log, where a branch shares its past too: by seq and time, its checkpoints, steps and turns."""
    reads = database.reads
    for place, log in tables.logs.items():
        mutations, checkpoints = tables.branches.mutations(log), tables.branches.checkpoints(log)
        assert load_json(reads.read_state(place, Head()).state) == tables.document(log).root
        oldest = tables.retention.oldest(log)
        oldest_seq = oldest.point.seq if oldest is not None else 0
        assert reads.retention.oldest_seq(log) == oldest_seq
        assert reads.mutations(place, 0, 1000).items == mutations[oldest_seq:]
        if oldest_seq > 1:
            with pytest.raises(Compacted):
                reads.mutations(place, oldest_seq - 1, 1000)
        assert reads.checkpoints(place, 0, 1000).items == checkpoints
        assert reads.retention.pinned(checkpoints) == {each.position for each in checkpoints} & tables.retention.pins
        for seq in range(log.seq + 1):
            if not tables.retention.is_readable(log, seq):
                with pytest.raises(Compacted):
                    reads.read_state(place, AtSeq(seq))
                continue
            found = reads.read_state(place, AtSeq(seq))
            schema = tables.schemas.state_version(replace(log, seq=seq))
            present = reads.registry.governing(place)  # of a longer prefix, perhaps, than the one that it follows
            is_present = schema is not None and present is not None and schema.prefix == present.prefix
            assert reads.registry.version_at(place, seq) == (schema.version if schema is not None and is_present else 0)
            assert load_json(found.state) == tables.replayed(mutations[:seq]).root
            assert found.hash == (mutations[seq - 1].hash if seq else b"")
            assert found.checkpoint == next((each for each in reversed(checkpoints) if each.seq <= seq), None)
        for time_ms in {mutation.time_unix_ms for mutation in mutations}:
            newest = max(mutation.seq for mutation in mutations if mutation.time_unix_ms <= time_ms)
            if newest < oldest_seq:
                with pytest.raises(Compacted):
                    reads.seq_at(place, AtTime(time_ms))
            else:
                assert reads.seq_at(place, AtTime(time_ms)) == newest
        steps = [tables.steps.newest(log, name) for name in ("s1", "s2")]
        listed = reads.steps.steps(place, "", 100, with_ends=True).items
        assert [each.record for each in listed] == [step for step in steps if step is not None]
        assert reads.steps.results(place, "", 100).items == [
            (record.name, record.attempt, result_of(end.raw, record))
            for record, end in listed
            if end is not None and record.status is StepStatus.COMPLETED
        ]
        turn = tables.steps.newest_turn(log)
        assert reads.steps.open_turn(log) == (turn.begun_seq if turn is not None and not turn.ended_seq else 0)


def _with_the_agents_all_goes(database: Database) -> None:
    agents = database.reads.agents("demo", "", "", 100).items
    leases = [database.reads.leases.lease(log.target) for log in agents]
    epochs = [lease.epoch if lease is not None and lease.is_held else 0 for lease in leases]
    ends = [DeleteAgent(START_MS, log.target, epoch=epoch) for log, epoch in zip(agents, epochs, strict=True)]
    database.apply([(database.applied_index + 1, 1, ends, None)])
    assert database.reads.agent_count == 0
    counted = ["logs", "branches", "checkpoints", "snapshots", "keys", "steps", "turns"]
    counted += ["state_versions", "anchors", "kept_states", "pins", "retention_events", "remains"]
    rows = {table: database._sql.row(f"SELECT count(*) FROM {table}") for table in counted}  # noqa: S608
    assert rows == dict.fromkeys(counted, (0,))
    verify(database._sql)


def test_the_commands_are_of_some_use() -> None:
    """Fails when the dice no longer lead to what the property is about."""
    decided: set[type] = set()
    for seed in range(20):
        commands, results, _ = thrown(random.Random(seed))
        decided.update(type(command) for command, result in zip(commands, results, strict=True) if result.events)
    own = {Append, Checkpoint, DeleteAgent, BeginStep, EndStep, BeginTurn, EndTurn, Transact, TakeTeamCheckpoint}
    own |= {CompactLog, PinCheckpoint, SetRetention, RegisterSchema}
    assert own | {AcquireLease, ReleaseLease, ExpireLease, Fork, ForkTeam, DeleteBranch} <= decided
