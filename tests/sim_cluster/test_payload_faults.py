"""The simulation sees what goes wrong with payloads: each fault that is put in is found by its judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tallystick_node.core import payloads as core
from tallystick_node.payloads.keeper import PayloadKeeper
from tallystick_node.sim.seed import Failed, Plan, run_seed
from tallystick_node.storage.payload_tables import SqlPayloadTables

SEEDS = range(1, 13)
SECONDS = 5.0


def first_failure() -> Failed:
    for seed in SEEDS:
        outcome = run_seed(Plan(seed, seconds=SECONDS, kinds=("pause",)))
        if isinstance(outcome, Failed):
            return outcome
    raise AssertionError(f"not found within {len(SEEDS)} seeds")


def does_nothing(*_args: Any, **_named: Any) -> None:
    return


async def looks_away(_keeper: PayloadKeeper) -> None:
    return


def forgets(_tables: SqlPayloadTables, _namespace: str, _agent: str) -> Mapping[bytes, int]:
    return {}


@pytest.mark.parametrize(
    ("owner", "name", "fault", "found"),
    [
        (core, "check", does_nothing, "was never put"),
        pytest.param(core, "refer", does_nothing, "and has", marks=pytest.mark.long),
        pytest.param(SqlPayloadTables, "remove_references_of_agent", forgets, "named nowhere", marks=pytest.mark.long),
        pytest.param(PayloadKeeper, "look", looks_away, "go not", marks=pytest.mark.long),
    ],
)
def test_a_fault_is_found(
    owner: object, name: str, fault: Callable[..., object], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, fault)
    failure = first_failure()
    assert failure.kind == "payloads"
    assert found in failure.text
