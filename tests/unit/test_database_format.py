"""Databases of older builds open in this one, and lose nothing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tallystick_node.core.commands import AcquireLease, Command, CreateContext, TakeTeamCheckpoint
from tallystick_node.core.outcomes import Appended, Deleted
from tallystick_node.core.schema_records import RegisterSchema, SchemaOf, Subject
from tallystick_node.storage.database import Database
from tallystick_node.storage.errors import DatabaseDamaged, DiskFull
from tallystick_node.storage.migrations import FORMAT_1, FORMAT_2
from tallystick_node.storage.reads import AtSeq, Head
from tallystick_node.storage.schema import FORMAT_3
from tests.unit.database_support import (
    START_MS,
    append,
    apply_each,
    checkpoint,
    delete_agent,
    rows_digest,
    set_op,
    target,
)

FORMATS = {1: FORMAT_1, 2: FORMAT_2, 3: FORMAT_3}
"""The tables of older formats."""


def history() -> list[Command]:
    """Something of everything: agents, keys, checkpoints, snapshots, a deletion with a key and one without."""
    commands: list[Command] = []
    for number in range(140):
        commands.append(append([set_op(f"/k{number % 5}", f'"é {number}"')], agent=f"a{number % 2}", key=f"k{number}"))
        if number % 20 == 0:
            commands.append(checkpoint(f"c{number}", agent=f"a{number % 2}", key=f"c{number}"))
    for agent, key in (("gone", None), ("gone-too", "d")):
        commands += [append([set_op("/n", "1")], agent=agent), checkpoint("c", agent=agent)]
        commands.append(delete_agent(agent, key=key))
    commands += [append([set_op("/n", "1")], agent="a0") for _ in range(150)]
    return commands


def to_format(path: Path, number: int) -> None:
    """Rewrites a database as the builds that knew an older format would have written it, by their own statements."""
    sums = "sum" if number == 1 else ""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
        newer = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        columns = {
            table: ", ".join(row[1] for row in connection.execute(f"PRAGMA table_info({table})") if row[1] != sums)
            for table in newer
        }
    newer_path = path.rename(path.with_name("newer"))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        for statement in FORMATS[number]:
            connection.execute(statement)
        connection.execute("ATTACH ? AS newer", (str(newer_path),))
        for (table,) in connection.execute("SELECT name FROM main.sqlite_schema WHERE type = 'table'").fetchall():
            connection.execute(f"INSERT INTO main.{table} SELECT {columns[table]} FROM newer.{table}")  # noqa: S608
        connection.execute(f"PRAGMA user_version = {number}")
    newer_path.unlink()


def filled(path: Path) -> None:
    database = Database.open(path)
    apply_each(database, *history())
    database.close()


@pytest.mark.parametrize("number", FORMATS)
def test_an_older_format_becomes_what_this_build_would_have_written(tmp_path: Path, number: int) -> None:
    twin, path = tmp_path / "twin.db", tmp_path / "state.db"
    filled(twin)
    filled(path)
    to_format(path, number)
    database = Database.open(path)
    assert rows_digest(path) == rows_digest(twin)
    assert (database.members,) == (None,)
    assert database.applied_index == len(history())
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    other = Database.open(twin)
    assert database.reads.events(0, 10_000) == other.reads.events(0, 10_000)
    for agent in ("a0", "a1"):
        for at in (Head(), AtSeq(1), AtSeq(70)):
            assert database.reads.read_state(target(agent), at) == other.reads.read_state(target(agent), at)
        assert database.reads.checkpoints(target(agent), 0, 100) == other.reads.checkpoints(target(agent), 0, 100)
    known, deleted = apply_each(database, history()[3], delete_agent("gone-too", key="d"))
    assert isinstance(known.outcome, Appended)
    assert known.outcome.replayed
    assert isinstance(deleted.outcome, Deleted)
    assert deleted.outcome.replayed
    other.close()
    database.close()
    Database.open(path).close()


@pytest.mark.parametrize("number", FORMATS)
def test_an_empty_database_of_an_older_format(tmp_path: Path, number: int) -> None:
    path = tmp_path / "state.db"
    Database.open(path).close()
    to_format(path, number)
    database = Database.open(path)
    assert (database.applied_index, database.position, database.members) == (0, 0, None)
    apply_each(
        database,
        append([set_op("/n", "1")]),
        CreateContext(START_MS, "demo", "plan", bytes(16)),
        AcquireLease(START_MS, target(), "w", 1000),
        TakeTeamCheckpoint(START_MS, "demo", "cut", b"f"),
        RegisterSchema(START_MS, "demo", Subject(SchemaOf.EVENT, "seen"), 1, b"{}"),
    )
    assert database.reads.registry.newest_version("demo", Subject(SchemaOf.EVENT, "seen")) == 1
    assert len(database.reads.teams.checkpoints("demo", 0, 10).items) == 1
    assert database.reads.contexts.named("demo", "plan") is not None
    assert database.reads.leases.held_count == 1
    database.close()


def test_no_room_to_migrate_leaves_the_old_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.db"
    filled(path)
    to_format(path, 1)
    before = rows_digest(path)
    with monkeypatch.context() as patched:
        patched.setattr("tallystick_node.storage.schema._PRAGMAS", ("PRAGMA max_page_count = 30",))
        with pytest.raises(DiskFull):
            Database.open(path)
    assert rows_digest(path) == before
    database = Database.open(path)
    assert database.applied_index == len(history())
    database.close()


@pytest.mark.parametrize("claimed", [0, 1, 2, 3])
def test_a_wrong_format_is_damage(tmp_path: Path, claimed: int) -> None:
    path = tmp_path / "state.db"
    filled(path)
    before = rows_digest(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {claimed}")
    with pytest.raises(DatabaseDamaged):
        Database.open(path)
    assert rows_digest(path) == before


def test_members_are_those_of_the_last_entry_that_had_any(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    database = Database.open(path)
    assert (database.members,) == (None,)
    write = append([set_op("/n", "1")])
    database.apply([(1, 1, [write], b"three"), (2, 1, [write], None)])
    assert database.members == b"three"
    database.apply([(3, 1, [], None)])
    assert database.members == b"three"
    database.apply([(4, 1, [], b"four"), (5, 2, [], b"five"), (6, 2, [write], None)])
    assert database.members == b"five"
    with pytest.raises(ValueError, match="comes after"):
        database.apply([(7, 2, [], b"never"), (7, 2, [], None)])
    assert database.members == b"five"
    database.close()
    database = Database.open(path)
    assert (database.members, database.applied_index) == (b"five", 6)
    database.close()


def test_digests_are_kept_for_the_newest_entries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tallystick_node.storage.recent_digests.DIGESTS_KEPT", 5)
    path = tmp_path / "state.db"
    database = Database.open(path)
    write = append([set_op("/n", "1")])
    digests = {0: database.digest}
    for index in range(1, 7):
        database.apply([(index, 1, [write] if index % 2 else [], None)])
        digests[index] = database.digest
    database.apply([(7, 1, [write], None), (8, 1, [], None), (9, 1, [write], None)])
    assert [database.digest_at(index) for index in (4, 5, 6)] == [None, digests[5], digests[6]]
    assert database.digest_at(7) == database.digest_at(8) != database.digest_at(9) == database.digest
    assert database.digest_at(10) is None
    database.close()
    database = Database.open(path)
    assert (database.digest_at(8), database.digest_at(9)) == (None, database.digest)
    database.close()
