"""Payloads in the database: against tables in memory, against what must always hold, and batched and crashed."""

from __future__ import annotations

import json
import random
import tempfile
from collections import Counter
from collections.abc import Callable
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
    Fork,
    Target,
)
from tallystick_node.core.machine import apply
from tallystick_node.core.outcomes import Applied, Refusal
from tallystick_node.core.payload_names import payloads_named
from tallystick_node.core.payload_records import Collected, CollectPayloads, PutChunks, PutPayload
from tallystick_node.core.payloads import end_before
from tallystick_node.storage.database import Database, Entry
from tallystick_node.storage.verify import verify
from tallystick_node.wire.commands import decode_commands, encode_command
from tallystick_node.wire.step_mutations import begun_mutation
from tests.property.replicas import crash
from tests.unit.core_tables import MemoryTables
from tests.unit.database_support import START_MS, append, rows_digest, set_op, target
from tests.unit.payload_script import manifest, payload_of

SETTINGS = settings(max_examples=25, deadline=None)
COMMANDS = 60
WORDS = ("one", "two", "three", "four")
PLACES = [target(agent, branch) for agent in ("a", "b") for branch in ("main", "side")]


class Thrower:
    """Throws commands that mostly fit what there is."""

    def __init__(self, dice: random.Random, tables: MemoryTables) -> None:
        self.dice = dice
        self.tables = tables

    def command(self) -> Command:
        kinds: list[tuple[int, Callable[[], Command]]] = [
            (6, self._chunks),
            (8, self._payload),
            (8, self._append),
            (2, self._checkpoint),
            (6, self._collect),
            (4, self._fork),
            (3, self._end),
        ]
        (make,) = self.dice.choices([make for _, make in kinds], [weight for weight, _ in kinds])
        (decoded,) = decode_commands(encode_command(make()))
        return decoded

    def _time_ms(self) -> int:
        return START_MS + self.dice.randrange(30)

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
        return CollectPayloads(self._time_ms(), self._namespace(), self._time_ms(), self.dice.choice([1, 2, 10]))

    def _append(self) -> Command:
        place = self.dice.choice([*PLACES, *sorted(self.tables.logs)])
        names = [{"deep": [{"$payload": self._named(), "size_bytes": 1}]} for _ in range(self.dice.randint(1, 3))]
        if self.dice.random() < 0.2:
            return BeginStep(self._time_ms(), place, "s", 0, begun_mutation("s", 0, b"", ""), actor="me")
        mutations = append(*[[set_op("/x", json.dumps(name))] for name in names]).mutations
        return Append(self._time_ms(), place, mutations)

    def _checkpoint(self) -> Command:
        metadata = json.dumps({"kept": {"$payload": self._named()}}).encode()
        return Checkpoint(self._time_ms(), self.dice.choice(PLACES), self.dice.choice("cdefgh"), metadata=metadata)

    def _fork(self) -> Command:
        return Fork(self._time_ms(), target(self.dice.choice("ab")), "side")

    def _end(self) -> Command:
        agent = self.dice.choice("ab")
        if self.dice.random() < 0.8:
            return DeleteBranch(self._time_ms(), target(agent, "side"))
        return DeleteAgent(self._time_ms(), target(agent))


class Held:
    """What must hold of any history, by commands and outcomes alone: what is named is there, with all of its chunks."""

    def __init__(self) -> None:
        self.named: dict[Target, list[bytes]] = {}

    def check(self, command: Command, applied: Applied, tables: MemoryTables) -> None:
        if isinstance(applied.outcome, Refusal):
            return
        match command:
            case Append():
                texts = [each.value for mutation in command.mutations for each in mutation.operations]
                self._name(command.target, texts)
            case Checkpoint():
                self._name(command.target, [command.metadata])
            case DeleteAgent():
                self.named = {at: ids for at, ids in self.named.items() if at.agent != command.target.agent}
            case DeleteBranch():
                self.named.pop(command.target, None)
            case _:
                pass
        there = {each.id for each in tables.payloads.records.values() if each.namespace == "demo"}
        assert there >= {each for ids in self.named.values() for each in ids}

    def _name(self, at: Target, texts: list[bytes]) -> None:
        self.named.setdefault(at, []).extend(payloads_named(*texts))


def thrown(dice: random.Random) -> tuple[list[Command], list[Applied], MemoryTables]:
    """Commands, and what tables in memory make of them."""
    tables = MemoryTables()
    thrower, held = Thrower(dice, tables), Held()
    commands: list[Command] = []
    results: list[Applied] = []
    for _ in range(COMMANDS):
        command = thrower.command()
        commands.append(command)
        results.append(apply(tables, command))
        if isinstance(command, Append):
            tables.operations.update((mutation.raw, mutation.operations) for mutation in command.mutations)
        held.check(command, results[-1], tables)
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
    for seed in range(10):
        commands, results, tables = thrown(random.Random(seed))
        decided.update(type(command).__name__ for command, done in zip(commands, results, strict=True) if done.events)
        decided["refs"] += len(tables.payloads.references)
        outcomes = [done.outcome for done in results]
        decided["gone"] += sum(each.payloads for each in outcomes if isinstance(each, Collected))
        decided.update(str(each.reason) for each in outcomes if isinstance(each, Refusal))
    wanted = {
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


@given(st.integers(0, 2**32), st.integers(0, 8))
@SETTINGS
def test_before_a_seq_goes_what_is_not_kept(seed: int, below_seq: int) -> None:
    """As a log's older mutations go: in the database as in memory, and what is left is whole."""
    dice = random.Random(seed)
    commands, _, tables = thrown(dice)
    place = dice.choice([*sorted(tables.logs)] or PLACES)
    log = tables.log(place)
    if log is None:
        return
    kept = frozenset(each.id for each in tables.payloads.records.values() if dice.random() < 0.5)
    with tempfile.TemporaryDirectory() as folder:
        database = Database.open(Path(folder) / "one.db")
        database.apply(entries_of(commands))
        end_before(tables, place, log.number, below_seq, kept, START_MS + 40)
        end_before(database._tables, place, log.number, below_seq, kept, START_MS + 40)
        verify(database._sql)
        _compare(database, tables)
        database.close()


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
