"""The simulation sees what goes wrong with retention: each fault that is put in is found."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from tallystick_node.core import retention as core
from tallystick_node.core.retention_records import KeptState
from tallystick_node.sim.seed import Failed, Plan, run_seed
from tallystick_node.storage import retention_reads
from tallystick_node.storage.retention_tables import SqlRetentionTables

SEEDS = range(1, 9)
SECONDS = 8.0


def first_failure() -> Failed:
    for seed in SEEDS:
        outcome = run_seed(Plan(seed, seconds=SECONDS, kinds=("pause",)))
        if isinstance(outcome, Failed):
            return outcome
    raise AssertionError(f"not found within {len(SEEDS)} seeds")


def nothing(*_args: Any) -> list[Any]:
    return []


_state = SqlRetentionTables.state


def another_state(tables: SqlRetentionTables, *args: Any) -> KeptState:
    return _state(tables, *args)._replace(state=b"{}", digest=hashlib.sha256(b"{}").digest())


def test_a_pinned_state_that_goes_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SqlRetentionTables, "named", nothing)
    failure = first_failure()
    assert failure.kind == "retention" and "is pinned, and its state is gone" in failure.text


def test_another_state_at_the_anchor_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SqlRetentionTables, "state", another_state)
    failure = first_failure()
    assert failure.kind == "retention" and "past-" in failure.text


def test_what_is_held_and_goes_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "holds", nothing)
    monkeypatch.setattr(retention_reads, "holds", nothing)
    first_failure()  # a node that finds a branch without its past stops; whoever asks it is told of that first
