"""The simulation sees what goes wrong with schemas: each fault that is put in is found by its judge."""

from __future__ import annotations

import pytest

from tallystick_node.core import schemas as core
from tallystick_node.core.schema_records import StateSchema
from tallystick_node.schemas.checking import Checks
from tallystick_node.sim.seed import Failed, Passed, Plan, run_seed

SEEDS = range(1, 13)
SECONDS = 8.0


def first_failure() -> Failed:
    for seed in SEEDS:
        outcome = run_seed(Plan(seed, seconds=SECONDS, kinds=("pause",)))
        if isinstance(outcome, Failed):
            return outcome
    raise AssertionError(f"not found within {len(SEEDS)} seeds")


@pytest.mark.long
def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert isinstance(run_seed(Plan(SEEDS[0], seconds=SECONDS, kinds=("pause",))), Passed)


def test_values_that_nobody_checks_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Checks, "_check_value", lambda *_: None)
    failure = first_failure()
    assert (failure.kind, "breaks version" in failure.text) == ("schemas", True)


@pytest.mark.long
def test_a_state_that_was_checked_on_another_head_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Core no longer sees to it that what is decided was checked; many writers are in each other's way."""
    monkeypatch.setattr(core, "check_checked", lambda *_: None)
    monkeypatch.setattr("tallystick_node.sim.schemas.PAUSE_S", 0.01)
    failure = first_failure()
    assert (failure.kind, "breaks version" in failure.text) == ("schemas", True)


@pytest.mark.long
def test_a_version_that_falls_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "_following", lambda newest, version, asked: asked or version or newest.version)
    failure = first_failure()
    assert (failure.kind, "names version" in failure.text) == ("schemas", True)


@pytest.mark.long
def test_a_version_that_is_not_kept_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def keeps_none(_tables: object, _log_number: int, _rising: list[tuple[int, StateSchema]]) -> None:
        return

    monkeypatch.setattr(core, "save_raised", keeps_none)
    failure = first_failure()
    assert failure.kind == "schemas"
