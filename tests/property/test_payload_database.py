"""Payloads in the database: against tables in memory, against what must always hold, and batched and crashed."""

from __future__ import annotations

import json
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick_node.core.commands import (
    Append,
    BeginStep,
    Checkpoint,
    Command,
    DeleteAgent,
    DeleteBranch,
    EndStep,
    Fork,
    Target,
)
from tallystick_node.core.machine import apply
from tallystick_node.core.outcomes import Applied, Refusal
from tallystick_node.core.payload_names import payloads_named
from tallystick_node.core.payload_records import Collected, CollectPayloads, PutChunks, PutPayload
from tallystick_node.core.retention_records import CompactLog, PinCheckpoint
from tallystick_node.core.tables import LogRecord
from tallystick_node.core.values import load_json
from tallystick_node.storage.database import Database, Entry
from tallystick_node.storage.reads import Head
from tallystick_node.storage.verify import verify
from tallystick_node.wire.commands import decode_commands, encode_command
from tallystick_node.wire.step_mutations import begun_mutation, completed_mutation
from tests.property.replicas import crash
from tests.unit.core_tables import MemoryTables
from tests.unit.database_support import START_MS, append, rows_digest, set_op, target
from tests.unit.payload_script import manifest, payload_of

SETTINGS = settings(max_examples=15, deadline=None)
COMMANDS = 80
WORDS = ("one", "two", "three", "four")
PLACES = [target(agent, branch) for agent in ("a", "b") for branch in ("main", "side")]


class Thrower:
    """Throws commands that mostly fit what there is."""

    def __init__(self, dice: random.Random, tables: MemoryTables) -> None:
        self.dice = dice
        self.tables = tables
        self._has_compacted = False

    def command(self) -> Command:
        kinds: list[tuple[int, Callable[[], Command]]] = [
            (6, self._chunks),
            (8, self._payload),
            (12, self._append),
            (3, self._checkpoint),
            (3, self._step),
            (7, self._collect),
            (2, self._fork),
            (1, self._end),
            (8, self._compact),
            (2, self._pin),
        ]
        (make,) = self.dice.choices([make for _, make in kinds], [weight for weight, _ in kinds])
        if self._has_compacted and self.dice.random() < 0.5:
            make = self._collect
        self._has_compacted = make == self._compact
        (decoded,) = decode_commands(encode_command(make()))
        return decoded

    def _time_ms(self) -> int:
        return START_MS + self.dice.randrange(30)

    def _place(self) -> Target:
        living = sorted(self.tables.logs)
        return self.dice.choice(living if living and self.dice.random() < 0.9 else PLACES)

    def _namespace(self) -> str:
        return self.dice.choice(["demo", "demo", "demo", "other"])

    def _name(self) -> str:
        return "+".join(self.dice.choice(WORDS) for _ in range(self.dice.randrange(4)))

    def _named(self) -> str:
        """The id of a payload; most are there."""
        there = [each.id.hex() for _, each in sorted(self.tables.payloads.records.items())]
        return self.dice.choice(there) if there and self.dice.random() < 0.8 else payload_of(f"<{self._name()}>")

    def _chunks(self) -> Command:
        words = [self.dice.choice(WORDS).encode() for _ in range(self.dice.randint(1, 3))]
        return PutChunks(self._time_ms(), self._namespace(), tuple(words), "me")

    def _payload(self) -> Command:
        return PutPayload(self._time_ms(), self._namespace(), manifest(self._name() or "+"), "me")

    def _collect(self) -> Command:
        before_ms = START_MS + self.dice.choice([10, 20, 40])
        return CollectPayloads(self._time_ms(), self._namespace(), before_ms, self.dice.choice([1, 2, 10]))

    def _append(self) -> Command:
        place = self._place()
        names = [{"deep": [{"$payload": self._named(), "size_bytes": 1}]} for _ in range(self.dice.randint(1, 3))]
        mutations = append(*[[set_op(f"/{self.dice.randrange(4)}", json.dumps(name))] for name in names]).mutations
        return Append(self._time_ms(), place, mutations)

    def _step(self) -> Command:
        place, name = self._place(), self.dice.choice("st")
        log = self.tables.log(place)
        step = self.tables.steps.newest(log, name) if log is not None else None
        if step is None:
            return BeginStep(self._time_ms(), place, name, 0, begun_mutation(name, 1, b"", ""), actor="me")
        result = json.dumps({"$payload": self._named()}).encode()
        ended = completed_mutation(name, step.attempt, result, "")
        return EndStep(self._time_ms(), place, name, step.attempt, has_failed=False, mutation=ended)

    def _checkpoint(self) -> Command:
        metadata = json.dumps({"kept": {"$payload": self._named()}}).encode()
        return Checkpoint(self._time_ms(), self._place(), self.dice.choice("cdefgh"), metadata=metadata)

    def _fork(self) -> Command:
        source = target(self.dice.choice("ab"))
        log = self.tables.log(source)
        kept = [seq for number, seq in sorted(self.tables.retention.kept) if log is not None and number == log.number]
        return Fork(self._time_ms(), source, "side", self.dice.choice([None, *kept]))

    def _compact(self) -> Command:
        place = self._place()
        log = self.tables.log(place)
        below_seq = self.dice.randrange(log.seq + 1) + 1 if log is not None else 1
        hash_ = self.tables.branches.hash_at(log, below_seq - 1) if log is not None else b""
        return CompactLog(self._time_ms(), place, below_seq, hash_)

    def _pin(self) -> Command:
        taken = [each for log in self.tables.logs.values() for each in self.tables.branches.checkpoints(log)]
        if not taken:
            return self._checkpoint()
        chosen = self.dice.choice(taken)
        return PinCheckpoint(self._time_ms(), chosen.target, chosen.name, self.dice.random() < 0.8)

    def _end(self) -> Command:
        agent = self.dice.choice("ab")
        if self.dice.random() < 0.6:
            return DeleteBranch(self._time_ms(), target(agent, "side"))
        return DeleteAgent(self._time_ms(), target(agent))


class Named:
    """What can be read names only payloads that are there: states, mutations, checkpoints, results of steps."""

    def __init__(self, tables: MemoryTables) -> None:
        self._tables = tables
        self._by_raw: dict[bytes, tuple[bytes, ...]] = {}

    def check(self, command: Command) -> None:
        if isinstance(command, Append | EndStep):
            mutations = command.mutations if isinstance(command, Append) else (command.mutation,)
            self._by_raw |= {mutation.raw: mutation.payloads for mutation in mutations}
        records = self._tables.payloads.records.values()
        there = {each.id for each in records if each.namespace == "demo"}
        for log in self._tables.logs.values():
            assert there.issuperset(self._of(log))

    def _of(self, log: LogRecord) -> Iterator[bytes]:
        retention = self._tables.retention
        for seq in range(log.seq + 1):
            if retention.is_readable(log, seq):
                yield from payloads_named(retention.state(log, seq).state)
        oldest = retention.oldest(log)
        ends = {each.ended_seq for each in map(partial(self._tables.steps.newest, log), "st") if each is not None}
        for event in self._tables.branches.mutations(log):
            if oldest is None or event.seq > oldest.point.seq or event.seq in ends:
                yield from self._by_raw.get(event.raw, ())
        for taken in self._tables.branches.checkpoints(log):
            yield from payloads_named(taken.metadata)


def thrown(dice: random.Random) -> tuple[list[Command], list[Applied], MemoryTables]:
    """Commands, and what tables in memory make of them."""
    tables = MemoryTables()
    thrower, named = Thrower(dice, tables), Named(tables)
    commands: list[Command] = []
    results: list[Applied] = []
    for _ in range(COMMANDS):
        command = thrower.command()
        commands.append(command)
        results.append(apply(tables, command))
        if isinstance(command, Append):
            tables.operations.update((mutation.raw, mutation.operations) for mutation in command.mutations)
        named.check(command)
    return commands, results, tables


def entries_of(commands: list[Command]) -> list[Entry]:
    return [(index, 1, [command], None) for index, command in enumerate(commands, start=1)]


@given(st.integers(0, 2**32))
@SETTINGS
def test_equals_tables_in_memory_however_it_comes_about(seed: int) -> None:
    dice = random.Random(seed)
    commands, wanted, tables = thrown(dice)
    entries = entries_of(commands)
    with tempfile.TemporaryDirectory() as folder:
        singly = Database.open(Path(folder) / "one.db")
        assert [result for entry in entries for (result,) in singly.apply([entry])] == wanted
        other = Database.open(Path(folder) / "other.db", state_cache_bytes=0)
        together: list[Applied] = []
        while other.applied_index < len(entries):
            batch = entries[other.applied_index :][: dice.choice([1, 3, 20])]
            together += [result for (result,) in other.apply(batch)]
            if dice.random() < 0.3:
                other = crash(other, Path(folder) / f"copy{other.applied_index}" / "other.db")
        assert together == wanted
        assert (other.digest, rows_digest(other.path)) == (singly.digest, rows_digest(singly.path))
        verify(other._sql)
        _compare(other, tables)
        singly.close()
        other.close()


def _compare(database: Database, tables: MemoryTables) -> None:
    reads, memory = database.reads.payloads, tables.payloads
    for namespace in ("demo", "other"):
        records = sorted((each for each in memory.records.values() if each.namespace == namespace), key=lambda r: r.id)
        assert reads.payloads(namespace, b"", 100).items == records
        assert reads.usage(namespace) == memory.usage(namespace)
        for record in records:
            assert reads.manifest(record) == memory.manifests[record.position]
    assert [usage.namespace for usage in reads.usages("", 10).items] == sorted(memory.usages)
    for number, chunk in memory.stored.items():
        assert reads.chunk(chunk.namespace, chunk.hash) == chunk
        assert reads.content(chunk) == memory.contents[number]


def test_the_commands_are_of_some_use() -> None:
    """Fails when the dice no longer lead to what the property is about."""
    decided: Counter[str] = Counter()
    for seed in range(20):
        commands, results, tables = thrown(random.Random(seed))
        decided.update(type(command).__name__ for command, done in zip(commands, results, strict=True) if done.events)
        decided["refs"] += len(tables.payloads.references)
        outcomes = [done.outcome for done in results]
        decided["gone"] += sum(each.payloads for each in outcomes if isinstance(each, Collected))
        decided.update(str(each.reason) for each in outcomes if isinstance(each, Refusal))
    wanted = {
        "CompactLog",
        "PinCheckpoint",
        "EndStep",
        "PutChunks",
        "PutPayload",
        "CollectPayloads",
        "Append",
        "Checkpoint",
        "Fork",
        "DeleteBranch",
        "DeleteAgent",
    }
    assert wanted | {"refs", "gone", "CHUNK_MISSING", "PAYLOAD_NOT_FOUND", "BeginStep"} <= {*+decided}


def test_no_more_than_the_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallystick_node.core.limits.PAYLOADS_BYTES", 1000)
    monkeypatch.setattr("tallystick_node.core.limits.PAYLOAD_BYTES", 5)
    database = Database.open(tmp_path / "state.db")

    def decide(command: Command) -> str:
        outcome = database.apply([(database.applied_index + 1, 1, [command], None)])[0][0].outcome
        return outcome.reason if isinstance(outcome, Refusal) else ""

    assert decide(PutChunks(START_MS, "demo", (b"one", b"two"))) == ""
    assert decide(PutChunks(START_MS, "demo", (b"one", b"three", b"four"))) == "PAYLOAD_QUOTA"
    assert decide(PutPayload(START_MS, "demo", manifest("one+two"))) == "PAYLOAD_QUOTA"
    assert decide(PutPayload(START_MS, "demo", manifest("one"))) == ""
    assert decide(PutPayload(START_MS, "demo", manifest("two"))) == "PAYLOAD_QUOTA"
    assert decide(PutChunks(START_MS, "other", (b"three", b"four"))) == ""
    assert decide(CollectPayloads(START_MS, "demo", START_MS + 1, 10)) == ""
    assert decide(PutChunks(START_MS, "demo", (b"one", b"three", b"four"))) == ""
    database.close()


def test_a_collection_of_long_manifests_takes_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallystick_node.core.limits.PAYLOAD_CHUNKS", 3)
    database = Database.open(tmp_path / "state.db")
    words = [PutChunks(START_MS, "demo", tuple(word.encode() for word in WORDS))]
    puts = [PutPayload(START_MS, "demo", manifest(name)) for name in ("one+two+three", "two+three", "one", "four")]
    collect = CollectPayloads(START_MS, "demo", START_MS + 1, 10)
    applied = database.apply([(1, 1, [*words, *puts, collect, collect, collect], None)])[0]
    assert [each.outcome.payloads for each in applied[-3:] if isinstance(each.outcome, Collected)] == [1, 2, 1]
    database.close()


def test_a_branch_of_a_kept_state_keeps_what_that_names(tmp_path: Path) -> None:
    """Its parent forgets that state, and the mutation that led to it."""
    database = Database.open(tmp_path / "state.db")

    def decide(command: Command) -> Applied:
        (applied,) = database.apply([(database.applied_index + 1, 1, [command], None)])[0]
        assert not isinstance(applied.outcome, Refusal), applied.outcome
        return applied

    def compact(below_seq: int) -> None:
        before = database.reads.mutations(target(), below_seq - 2, 1).items[0]
        decide(CompactLog(START_MS, target(), below_seq, before.hash))

    decide(PutChunks(START_MS, "demo", (b"one",)))
    decide(PutPayload(START_MS, "demo", manifest("one")))
    decide(append([set_op("/x", payload_of('{"$payload":"<one>"}'))]))
    decide(append([set_op("/n", "1")]))
    decide(Checkpoint(START_MS, target(), "c"))
    decide(append(*[[set_op("/x", "1")]] * 4))
    decide(PinCheckpoint(START_MS, target(), "c", is_pinned=True))
    compact(5)
    decide(Fork(START_MS, target(), "side", 2))
    decide(PinCheckpoint(START_MS, target(), "c", is_pinned=False))
    compact(6)
    verify(database._sql)
    assert load_json(database.reads.read_state(target(branch="side"), Head()).state) == {
        "n": 1,
        "x": load_json(payload_of('{"$payload":"<one>"}').encode()),
    }
    assert _left(database, decide) == 1
    decide(DeleteBranch(START_MS, target(branch="side")))
    decide(append(*[[set_op("/x", "1")]] * 2))
    compact(7)
    assert _left(database, decide) == 0
    database.close()


def _left(database: Database, decide: Callable[[Command], Applied]) -> int:
    decide(CollectPayloads(START_MS, "demo", START_MS + 1, 10))
    return len(database.reads.payloads.payloads("demo", b"", 10).items)
