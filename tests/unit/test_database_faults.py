"""The SQLite state machine on a full disk and on damaged bytes."""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tallystick.errors import TallystickError
from tallystick_node.core.commands import Command, Operation, OperationKind
from tallystick_node.core.outcomes import Applied, MutationDecided
from tallystick_node.storage.database import Database
from tallystick_node.storage.errors import DatabaseDamaged, DiskFull, StorageError
from tallystick_node.storage.reads import AtSeq, Head
from tests.unit.database_support import append, apply_each, checkpoint, rows_digest, set_op, target

FEW_PAGES = 90


def history() -> list[Command]:
    """Commands of which the database runs out of room somewhere in the middle."""
    commands: list[Command] = []
    for number in range(40):
        grow = Operation(OperationKind.APPEND, ("list",), b'{"of":"' + b"x" * 4000 + b'"}')
        touch = Operation(OperationKind.MERGE, ("list", "0"), b'{"seen":%d}' % number)
        commands.append(append([grow], [touch], agent=f"a{number % 3}", key=f"k{number}"))
        commands.append(checkpoint(f"c{number}", agent=f"a{number % 3}", key=f"c{number}"))
    return commands


def test_a_full_disk_undoes_the_transaction_and_nothing_else(tmp_path: Path) -> None:
    commands = history()
    twin = Database.open(tmp_path / "twin.db")
    wanted = apply_each(twin, *commands)
    database = Database.open(tmp_path / "state.db")
    database._sql.execute(f"PRAGMA max_page_count = {FEW_PAGES}")
    found: list[Applied] = []
    failures = 0
    for start in range(0, len(commands), 8):
        entries = [
            (start + offset + 1, 1, [command], None) for offset, command in enumerate(commands[start : start + 8])
        ]
        before = (database.position, database.digest, database.applied_index, rows_digest(database.path))
        try:
            results = database.apply(entries)
        except DiskFull:
            failures += 1
            assert before == (database.position, database.digest, database.applied_index, rows_digest(database.path))
            assert database.reads.read_state(target("a1"), Head()).seq == len(_mutations_of(found, "a1"))
            database._sql.execute("PRAGMA max_page_count = 100000")
            results = database.apply(entries)
        found += [result for (result,) in results]
    assert failures == 1
    assert found == wanted
    assert (database.digest, rows_digest(database.path)) == (twin.digest, rows_digest(twin.path))
    database.close()
    twin.close()


def _mutations_of(applied: list[Applied], agent: str) -> list[object]:
    return [
        event
        for each in applied
        for event in each.events
        if isinstance(event, MutationDecided) and event.target.agent == agent
    ]


def _filled(path: Path) -> None:
    database = Database.open(path)
    for number in range(30):
        apply_each(
            database,
            append(*[[set_op(f"/k{key}", f'"value {number} {key}"')] for key in range(30)], agent=f"a{number % 3}"),
            checkpoint(f"c{number}", agent=f"a{number % 3}"),
        )
    database.close()


def _read_all(path: Path) -> list[object]:
    database = Database.open(path)
    try:
        seen: list[object] = [database.digest, *database.reads.events(0, 10_000, max_bytes=10**9)]
        for agent in ("a0", "a1", "a2"):
            seen += [database.reads.read_state(target(agent), at) for at in (Head(), AtSeq(140), AtSeq(1))]
            seen.append(database.reads.checkpoints(target(agent), 0, 1000))
        return seen
    finally:
        database.close()


def test_flipped_bytes_are_damage_or_nothing_but_never_a_bare_sqlite_error(tmp_path: Path) -> None:
    original = tmp_path / "state.db"
    _filled(original)
    dice = random.Random(7)
    size = original.stat().st_size
    detected = 0
    for _ in range(60):
        copy = tmp_path / "copy.db"
        for stale in tmp_path.glob("copy.db*"):
            stale.unlink()
        shutil.copy(original, copy)
        with copy.open("r+b") as file:
            for _ in range(20):
                file.seek(dice.randrange(size))
                file.write(bytes([dice.randrange(256)]))
        try:
            _read_all(copy)
        except (StorageError, TallystickError):
            detected += 1
    assert detected >= 30


@pytest.mark.parametrize("needle", [b"value 17 3", b"value 1 29"])
def test_a_changed_mutation_breaks_the_chain(tmp_path: Path, needle: bytes) -> None:
    path = tmp_path / "state.db"
    database = Database.open(path)
    for number in range(18):
        apply_each(database, append(*[[set_op(f"/k{key}", f'"value {number} {key}"')] for key in range(30)]))
    database.close()
    data = path.read_bytes()
    assert needle in data
    path.write_bytes(data.replace(needle, needle.upper()))
    with pytest.raises(DatabaseDamaged, match="event at position"):
        Database.open(path)
    database = Database.open(path, checked_bytes=0)
    seq = 30 * int(needle.split()[1]) + int(needle.split()[2]) + 1
    with pytest.raises(DatabaseDamaged, match=r"hash chain|snapshot"):
        database.reads.read_state(target("a"), AtSeq(seq + 1))
    database.close()


def test_what_is_no_database_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"nothing that SQLite wrote" * 1000)
    with pytest.raises(DatabaseDamaged, match="not a database"):
        Database.open(path)


def test_a_database_of_someone_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    with pytest.raises(DatabaseDamaged, match="no format"):
        Database.open(path)
