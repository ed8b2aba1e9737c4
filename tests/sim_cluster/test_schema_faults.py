"""The simulation sees what goes wrong with schemas: each fault that is put in is found by its judge."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from tallystick import JSON, Client, ops
from tallystick.errors import Refused
from tallystick.testing import SimCluster
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


@pytest.mark.parametrize("is_checked", [True, False])
def test_a_state_is_decided_on_the_head_that_it_was_checked_on(
    is_checked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two nodes check an increment each, at the same time: either fits, and both do not. Without core both are in."""
    if not is_checked:
        monkeypatch.setattr(core, "check_checked", lambda *_: None)
    broken: list[str] = []

    async def increment(client: Client, name: str) -> None:
        with suppress(Refused):
            await client.agent(name).append(ops.increment("/n", 6))

    async def scenario(cluster: SimCluster) -> None:
        async with cluster.connect(nodes=["a"]) as one, cluster.connect(nodes=["b"]) as other:
            document: dict[str, JSON] = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 10}}}
            await one.schemas.register("state of x-", document, version=1)
            for number in range(10):
                name = f"x-{number}"
                await asyncio.gather(increment(one, name), increment(other, name))
                state = (await one.agent(name).read()).state
                broken.extend([name] if state != {"n": 6} else [])

    with SimCluster(nodes=3, seed=1) as cluster:
        cluster.run(scenario)
    assert bool(broken) is not is_checked


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
