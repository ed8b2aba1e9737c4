"""What compaction leaves of payloads: whatever can still be read names payloads that are there."""

from __future__ import annotations

import json
import random
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tallystick_node.core.commands import Append, Checkpoint, Command, Fork
from tallystick_node.core.machine import apply
from tallystick_node.core.outcomes import Applied
from tallystick_node.core.payload_names import payloads_named
from tallystick_node.core.retention_records import CompactLog, PinCheckpoint
from tallystick_node.storage.database import Database
from tallystick_node.storage.verify import verify
from tallystick_node.wire.commands import decode_commands, encode_command
from tests.property.test_payload_database import PLACES, Thrower, entries_of
from tests.unit.core_tables import MemoryTables
from tests.unit.database_support import append, set_op

SETTINGS = settings(max_examples=15, deadline=None)
COMMANDS = 90


class Retainer(Thrower):
    """Throws compactions, pins and forks in the past among those of payloads."""

    def command(self) -> Command:
        kinds: list[Callable[[], Command]] = [
            self._compact,
            self._compact,
            self._compact,
            self._pin,
            self._pin,
            self._fork_back,
        ]
        if self.dice.random() < 0.65:
            return super().command()
        (decoded,) = decode_commands(encode_command(self.dice.choice(kinds)()))
        return decoded

    def _compact(self) -> Command:
        place = self.dice.choice([*PLACES, *sorted(self.tables.logs)])
        log = self.tables.log(place)
        below_seq = self.dice.randint(1, log.seq + 1) if log is not None else 1
        hash_ = self.tables.branches.hash_at(log, below_seq - 1) if log is not None else b""
        return CompactLog(self._time_ms(), place, below_seq, hash_, "keeper")

    def _append(self) -> Command:
        place = self.dice.choice([*PLACES, *sorted(self.tables.logs)])
        names = [json.dumps({"$payload": self._named()}) for _ in range(self.dice.randint(1, 3))]
        mutations = append(*[[set_op(f"/{self.dice.choice('xyz')}", name)] for name in names]).mutations
        return Append(self._time_ms(), place, mutations)

    def _pin(self) -> Command:
        logs = sorted(self.tables.logs.values(), key=lambda log: log.number)
        pins = [(log.target, taken.name) for log in logs for taken in self.tables.branches.checkpoints(log)]
        place, name = self.dice.choice(pins or [(PLACES[0], "c")])
        return PinCheckpoint(self._time_ms(), place, name, self.dice.random() < 0.7, "me")

    def _fork_back(self) -> Command:
        logs = sorted(self.tables.logs.values(), key=lambda log: log.number)
        points = [(log.target, seq) for log in logs for seq in range(log.seq + 1)]
        lone = [at for at in points if self.tables.retention.is_lone(self.tables.logs[at[0]], at[1])]
        place, seq = self.dice.choice(lone or points or [(PLACES[0], 0)])
        return Fork(self._time_ms(), place, self.dice.choice(["side", "past"]), seq)


def what_can_be_read_is_whole(tables: MemoryTables) -> None:
    there = {each.id for each in tables.payloads.records.values() if each.namespace == "demo"}
    for log in tables.logs.values():
        oldest = tables.retention.oldest(log)
        first = oldest.point.seq if oldest is not None else 0
        mutations = tables.branches.mutations(log)
        for seq in range(log.seq + 1):
            if tables.retention.is_readable(log, seq):
                assert there >= set(payloads_named(tables.retention.state(log, seq).state))
        for event in mutations[first:]:
            operations = tables.operations.get(event.raw, ())
            assert there >= set(payloads_named(*[operation.value for operation in operations]))
        for taken in tables.branches.checkpoints(log):
            assert there >= set(payloads_named(taken.metadata))


def thrown(dice: random.Random) -> tuple[list[Command], list[Applied], MemoryTables]:
    tables = MemoryTables()
    thrower = Retainer(dice, tables)
    commands: list[Command] = []
    results: list[Applied] = []
    for _ in range(COMMANDS):
        command = thrower.command()
        commands.append(command)
        results.append(apply(tables, command))
        if isinstance(command, Append):
            tables.operations.update((mutation.raw, mutation.operations) for mutation in command.mutations)
        what_can_be_read_is_whole(tables)
    return commands, results, tables


@given(st.integers(0, 2**32))
@SETTINGS
def test_what_can_be_read_names_what_is_there(seed: int) -> None:
    commands, wanted, tables = thrown(random.Random(seed))
    with tempfile.TemporaryDirectory() as folder:
        database = Database.open(Path(folder) / "one.db", state_cache_bytes=0)
        assert [result for entry in entries_of(commands) for (result,) in database.apply([entry])] == wanted
        verify(database._sql)
        records = sorted(each for each in tables.payloads.records.values() if each.namespace == "demo")
        assert sorted(database.reads.payloads.payloads("demo", b"", 100).items) == records
        database.close()


def test_the_commands_are_of_some_use() -> None:
    """Fails when the dice no longer lead to what the property is about."""
    decided: Counter[str] = Counter()
    for seed in range(25):
        commands, results, tables = thrown(random.Random(seed))
        decided.update(type(command).__name__ for command, done in zip(commands, results, strict=True) if done.events)
        decided["kept"] += len(tables.retention.kept)
        decided["begun alone"] += sum(not anchor.mutations for anchor in tables.retention.anchors.values())
    wanted = {CompactLog.__name__, PinCheckpoint.__name__, Fork.__name__, Checkpoint.__name__, "CollectPayloads"}
    assert wanted | {"kept", "begun alone"} <= {*+decided}
