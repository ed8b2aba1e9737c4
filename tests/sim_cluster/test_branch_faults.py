"""The simulation sees what goes wrong with branches: each fault that is put in is found by its judge."""

from __future__ import annotations

import pytest

from tallystick_node.core.tables import LogRecord
from tallystick_node.sim.seed import Failed, Passed, Plan, run_seed
from tallystick_node.storage import branch_tables, lineage, reads, tables
from tallystick_node.storage.lineage import Stretch
from tallystick_node.storage.sql import MAX_INTEGER, Sql
from tallystick_node.storage.tables import SqlTables

SEEDS = range(1, 13)
SECONDS = 10.0
sound = lineage.lineage


def first_failure() -> Failed:
    for seed in SEEDS:
        outcome = run_seed(Plan(seed, seconds=SECONDS, kinds=("kill",)))
        if isinstance(outcome, Failed):
            return outcome
    raise AssertionError(f"not found within {len(SEEDS)} seeds")


def with_lineage(monkeypatch: pytest.MonkeyPatch, wrong: object) -> None:
    for module in (branch_tables, reads, tables):
        monkeypatch.setattr(module, "lineage", wrong)


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert isinstance(run_seed(Plan(SEEDS[0], seconds=SECONDS, kinds=("kill",))), Passed)


def test_later_checkpoints_of_a_parent_that_show_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_of_them(sql: Sql, log: LogRecord) -> list[Stretch]:
        return [stretch._replace(before=MAX_INTEGER) for stretch in sound(sql, log)]

    with_lineage(monkeypatch, all_of_them)
    failure = first_failure()
    assert (failure.kind, "checkpoints" in failure.text) == ("branches", True)


def test_a_state_rebuilt_from_another_past_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A branch that was never written to shows its parent as it is now."""

    def document_of_the_parent(self: SqlTables, log: LogRecord) -> object:
        if log.parent and log.seq == log.fork_seq:
            (parent,) = [each for each in self.branches.of_agent(*log.target[:2]) if each.number == log.parent]
            return document(self, parent)
        return document(self, log)

    document = SqlTables.document
    monkeypatch.setattr(SqlTables, "document", document_of_the_parent)
    failure = first_failure()
    assert failure.kind in {"branches", "node"}
