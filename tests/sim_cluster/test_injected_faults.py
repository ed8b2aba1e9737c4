"""The simulation can see: a store that breaks a promise is found, the script shrunk, and what is left replays."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tallystick_node.access import Access, Consistency, ReadFrom
from tallystick_node.sim.disk import SimFile
from tallystick_node.sim.nemesis import Step
from tallystick_node.sim.runs import fails_alike, replay_command
from tallystick_node.sim.seed import Failed, Passed, Plan, run_seed
from tallystick_node.sim.shrink import shrink

SEEDS = 40
SHRINK_RUNS = 16


def first_failure(kinds: Sequence[str], seconds: float) -> tuple[Plan, Failed]:
    """The first seed that fails."""
    for seed in range(SEEDS):
        plan = Plan(seed, seconds=seconds, kinds=kinds)
        outcome = run_seed(plan)
        if isinstance(outcome, Failed):
            return plan, outcome
    raise AssertionError(f"not found within {SEEDS} seeds")


def shrunk(plan: Plan, failure: Failed) -> list[Step]:
    """The shortest script that was found, which fails in the same way and byte for byte each time."""
    script = shrink(plan.script(), fails_alike(plan, failure), max_runs=SHRINK_RUNS)
    one, other = run_seed(plan, script), run_seed(plan, script)
    assert isinstance(one, Failed)
    assert one == other
    assert one.kind == failure.kind
    assert len(script) < len(plan.script())
    return script


@pytest.mark.long
def test_reads_that_ask_no_majority_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    ready = Access.ready

    async def hasty(access: Access, read_from: ReadFrom) -> None:
        if read_from.consistency is not Consistency.LINEARIZABLE:
            await ready(access, read_from)

    with monkeypatch.context() as patched:
        patched.setattr(Access, "ready", hasty)
        plan, failure = first_failure(["drop", "pause"], 6.0)
        assert failure.kind in ("witness", "linearizability", "sessions", "documents")  # whose a writer is, is read too
        shrunk(plan, failure)
    assert isinstance(run_seed(plan), Passed)  # the same seed, without the bug
    assert replay_command(plan).startswith(f"python -m tallystick_node.sim {plan.seed} --nodes 3 --seconds 6 --kinds")


@pytest.mark.long
def test_a_disk_that_lies_about_syncs_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(SimFile, "fdatasync", lambda _file: None)
        plan, failure = first_failure(["blackout"], 6.0)
        shrunk(plan, failure)
    assert isinstance(run_seed(plan), Passed)
