"""What the database holds of what was read: a changed row is damage, and what nothing needs goes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tallystick.v1 import common_pb2, state_pb2
from tallystick_node.core.commands import Append
from tallystick_node.core.observation_records import Observation
from tallystick_node.storage.database import Database
from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.observation_rows import forget_observations, observation_row
from tallystick_node.wire.mutations import admit_mutation
from tests.unit.database_support import START_MS, apply_each, delete_agent, target


def wrote(agent: str, **read: int) -> Append:
    observed = common_pb2.Observed(logs=[common_pb2.ObservedLog(agent=name, seq=seq) for name, seq in read.items()])
    return Append(START_MS, target(agent), (admit_mutation(state_pb2.Mutation(kind="note", observed=observed)),))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """`b` has read `a` three times, and `c` has read `b`."""
    database = Database.open(tmp_path / "state.db")
    apply_each(database, *[wrote("a")] * 3)
    apply_each(
        database, wrote("b", a=1), wrote("b"), wrote("b", a=2), wrote("b", a=1), wrote("b", a=3), wrote("c", b=5)
    )
    database.close()
    return tmp_path / "state.db"


def rows(path: Path) -> list[tuple[int, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT log, other, seq, other_seq, other_position FROM observations").fetchall()


def test_only_what_is_news_has_a_row(path: Path) -> None:
    assert rows(path) == [(2, 1, 1, 1, 1), (2, 1, 3, 2, 2), (2, 1, 5, 3, 3), (3, 2, 1, 5, 8)]


def test_the_rows_of_an_agent_go_with_it_and_others_stay(path: Path) -> None:
    database = Database.open(path)
    apply_each(database, delete_agent("b"))
    database.close()
    assert rows(path) == [(3, 2, 1, 5, 8)]
    Database.open(path).close()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE observations SET other_seq = 2 WHERE seq = 5",
        "UPDATE observations SET seq = 2 WHERE seq = 3",
        "UPDATE observations SET sum = sum + 1 WHERE log = 3",
    ],
)
def test_a_changed_row_is_damage(path: Path, change: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(change)
        connection.commit()
    with pytest.raises(DatabaseDamaged):
        Database.open(path)


@pytest.mark.parametrize(
    "row",
    [
        Observation(2, 1, 5, 2, 2),  # it does not rise
        Observation(2, 1, 5, 3, 2),  # another position
        Observation(2, 1, 5, 3, 9),  # read before it was there
        Observation(9, 1, 5, 3, 3),  # of no log
    ],
)
def test_a_row_that_cannot_be_is_damage(path: Path, row: Observation) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM observations WHERE log = 2 AND seq = 5")
        connection.execute("INSERT INTO observations VALUES (?, ?, ?, ?, ?, ?)", observation_row(row))
        connection.commit()
    with pytest.raises(DatabaseDamaged):
        Database.open(path)


def test_of_what_goes_the_newest_stays(path: Path) -> None:
    database = Database.open(path)
    forget_observations(database._sql, 2, 4)
    assert rows_of(database) == [3, 5]
    forget_observations(database._sql, 2, 5)
    assert rows_of(database) == [5]
    database.close()


def rows_of(database: Database) -> list[int]:
    return [row[0] for row in database._sql.rows("SELECT seq FROM observations WHERE log = 2")]
