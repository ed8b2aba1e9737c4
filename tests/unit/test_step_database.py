"""Steps and turns in the database: what is looked up, what outlives a restart, what goes with the agent."""

from __future__ import annotations

from pathlib import Path

import pytest

from tallystick.errors import NotFound, Reason
from tallystick_node.core.commands import BeginStep, BeginTurn, Command, EndStep, EndTurn
from tallystick_node.core.outcomes import StepDecided, StepStatus, TurnDecided
from tallystick_node.storage.database import Database
from tallystick_node.storage.errors import DatabaseDamaged
from tallystick_node.storage.reads import AtLastTurn
from tallystick_node.storage.verify import verify
from tallystick_node.wire.step_mutations import (
    Failure,
    begun_mutation,
    completed_mutation,
    failed_mutation,
    result_of,
    turn_begun_mutation,
    turn_ended_mutation,
)
from tests.unit.database_support import START_MS, append, apply_each, delete_agent, rows_digest, set_op, target


def begin(name: str, retry_of: int = 0, agent: str = "a") -> BeginStep:
    mutation = begun_mutation(name, retry_of + 1, b"", "")
    return BeginStep(START_MS, target(agent), name, retry_of, mutation, actor="me")


def complete(name: str, attempt: int = 1, result: bytes = b"1", agent: str = "a") -> EndStep:
    mutation = completed_mutation(name, attempt, result, "")
    return EndStep(START_MS, target(agent), name, attempt, has_failed=False, mutation=mutation)


def fail(name: str, attempt: int = 1) -> EndStep:
    mutation = failed_mutation(name, attempt, Failure("ValueError", "no"), "")
    return EndStep(START_MS, target(), name, attempt, has_failed=True, mutation=mutation)


def begin_turn(abandons: int = 0) -> BeginTurn:
    return BeginTurn(START_MS, target(), abandons, turn_begun_mutation(abandons, b"", ""))


def end_turn(turn: int) -> EndTurn:
    return EndTurn(START_MS, target(), turn, turn_ended_mutation(turn, b"", ""))


def history() -> list[Command]:
    """Attempts of all kinds, and turns: ended, abandoned and open."""
    return [
        *(begin("b"), complete("b", result=b'"of b"')),
        *(begin("a"), fail("a"), begin("a", 1), begin("a", 2)),
        *(begin("c"), fail("c")),
        *(begin_turn(), append([set_op("/n", "1")]), end_turn(9)),
        *(begin_turn(), append([set_op("/n", "2")]), begin_turn(12), append([set_op("/n", "3")])),
    ]


def listed(database: Database, *, with_ends: bool = True) -> list[tuple[str, int, StepStatus]]:
    found, after = [], ""
    while True:
        page = database.reads.steps.steps(target(), after, 2, with_ends=with_ends)
        for record, end in page.items:
            assert (end is not None) == (with_ends and record.status is not StepStatus.BEGUN)
            found.append((record.name, record.attempt, record.status))
        if not page.more:
            return found
        after = page.items[-1].record.name


EXPECTED = [("a", 3, StepStatus.BEGUN), ("b", 1, StepStatus.COMPLETED), ("c", 1, StepStatus.FAILED)]


def test_steps_and_turns_outlive_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    database = Database.open(path)
    apply_each(database, *history())
    for _ in range(2):
        assert listed(database) == listed(database, with_ends=False) == EXPECTED
        record, end = database.reads.steps.step(target(), "b")
        assert end is not None
        assert result_of(end.raw, record) == b'"of b"'
        assert (record.begun_seq, record.ended_seq, record.actor) == (1, 2, "me")
        first = database.reads.steps.step(target(), "a").record
        assert (first.attempt, first.first_position, first.begun_position) == (3, 3, 6)
        state = database.reads.read_state(target(), AtLastTurn())
        assert (state.seq, state.state) == (11, b'{"n":1}')
        assert database.reads.steps.open_turn(database.reads.log(target())) == 14
        database.close()
        database = Database.open(path)
    (answered,) = apply_each(database, begin("b"))
    assert isinstance(answered.outcome, StepDecided)
    assert (answered.outcome.is_granted, answered.events) == (False, ())
    database.close()


def test_results_are_those_of_completed_steps_page_by_page(tmp_path: Path) -> None:
    database = Database.open(tmp_path / "state.db")
    more = [command for name in "dfe" for command in (begin(name), complete(name, result=b'"of %s"' % name.encode()))]
    apply_each(database, *history(), *more)
    reads = database.reads.steps
    page = reads.results(target(), "", 3)
    assert (page.items, page.more) == ([("b", 1, b'"of b"'), ("d", 1, b'"of d"'), ("e", 1, b'"of e"')], True)
    page = reads.results(target(), "e", 3)
    assert (page.items, page.more) == ([("f", 1, b'"of f"')], False)
    with pytest.raises(NotFound):
        reads.results(target("nobody"), "", 3)
    database.close()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE steps SET name = 'bb' WHERE name = 'b'",
        "UPDATE steps SET attempt = 2 WHERE name = 'b'",
        "UPDATE steps SET ended_position = 4 WHERE name = 'b'",
        "UPDATE steps SET ended_position = 400 WHERE name = 'b'",
        "UPDATE steps SET ended_seq = 4 WHERE name = 'b'",
        "UPDATE steps SET status = 2 WHERE name = 'c'",
        "UPDATE events SET actor = 'other' WHERE position = 2",
        "UPDATE events SET body = (SELECT body FROM events WHERE position = 1) WHERE position = 2",
    ],
)
def test_a_result_is_that_of_its_step_or_damage(tmp_path: Path, damage: str) -> None:
    database = Database.open(tmp_path / "state.db")
    apply_each(database, *history())
    database._sql.execute(damage)
    with pytest.raises(DatabaseDamaged):
        database.reads.steps.results(target(), "", 100)
    database.close()


def test_without_a_turn_the_last_one_ends_before_everything(tmp_path: Path) -> None:
    database = Database.open(tmp_path / "state.db")
    apply_each(database, append([set_op("/n", "1")]), begin_turn())
    state = database.reads.read_state(target(), AtLastTurn())
    assert (state.seq, state.state, state.hash) == (0, b"{}", b"")
    database.close()


def test_of_the_turns_that_ended_the_last_one_counts(tmp_path: Path) -> None:
    database = Database.open(tmp_path / "state.db")
    apply_each(database, begin_turn(), end_turn(1), begin_turn(), end_turn(3), append([set_op("/n", "1")]))
    assert database.reads.read_state(target(), AtLastTurn()).seq == 4
    assert database.reads.steps.open_turn(database.reads.log(target())) == 0
    database.close()


def test_what_is_not_there(tmp_path: Path) -> None:
    database = Database.open(tmp_path / "state.db")
    with pytest.raises(NotFound) as caught:
        database.reads.steps.step(target(), "x")
    assert caught.value.reason is Reason.AGENT_NOT_FOUND
    apply_each(database, append([set_op("/n", "1")]), begin("other", agent="b"))
    with pytest.raises(NotFound) as caught:
        database.reads.steps.step(target(), "other")
    assert caught.value.reason is Reason.STEP_NOT_FOUND
    assert database.reads.steps.steps(target(), "", 10, with_ends=True).items == []
    database.close()


def test_a_deleted_agent_takes_its_steps_and_turns_with_it(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    database = Database.open(path)
    empty = rows_digest(path)
    apply_each(database, *history(), delete_agent())
    digests = rows_digest(path)
    assert [digests[table] for table in ("steps", "turns")] == [empty[table] for table in ("steps", "turns")]
    begun, turn = apply_each(database, begin("b"), begin_turn())
    assert isinstance(begun.outcome, StepDecided)
    assert begun.outcome.is_granted
    assert isinstance(turn.outcome, TurnDecided)
    database.close()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE steps SET status = 1, ended_seq = 0, ended_position = 0 WHERE name = 'b'",
        "UPDATE steps SET attempt = 7 WHERE attempt = 3",
        "UPDATE steps SET log = 2 WHERE name = 'c'",
        "UPDATE turns SET ended_seq = 12 WHERE begun_seq = 9",
        "DELETE FROM events WHERE position = 2",
    ],
)
def test_a_changed_row_is_damage(tmp_path: Path, change: str) -> None:
    database = Database.open(tmp_path / "state.db")
    apply_each(database, *history())
    verify(database._sql)
    database._sql.execute(change)
    with pytest.raises(DatabaseDamaged):
        verify(database._sql)
    database.close()


def test_a_step_without_its_end_is_damage(tmp_path: Path) -> None:
    database = Database.open(tmp_path / "state.db")
    apply_each(database, *history())
    database._sql.execute("DELETE FROM events WHERE position = 2")
    with pytest.raises(DatabaseDamaged):
        database.reads.steps.step(target(), "b")
    with pytest.raises(DatabaseDamaged):
        database.reads.steps.steps(target(), "", 10, with_ends=True)
    database.close()
