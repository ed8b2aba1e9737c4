"""Many seeds over many processes, and what is said of those that fail."""

from __future__ import annotations

import logging
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Final

import click

from tallystick_node.sim.nemesis import Step
from tallystick_node.sim.seed import Failed, Passed, Plan, run_seed
from tallystick_node.sim.shrink import shrink

MAX_SHOWN: Final = 5
"""Failures that are shrunk and shown."""
SHRINK_RUNS: Final = 100


def run_all(plans: Sequence[Plan], steps: Sequence[Step] | None, jobs: int) -> list[tuple[Plan, Failed]]:
    began_s = time.monotonic()
    failures: list[tuple[Plan, Failed]] = []
    operations = acknowledged = 0
    for plan, outcome in _outcomes(plans, steps, jobs):
        if isinstance(outcome, Failed):
            failures.append((plan, outcome))
            click.echo(f"seed {plan.seed}, {plan.nodes} nodes: {outcome.kind}")
        else:
            operations += outcome.operations
            acknowledged += outcome.acknowledged
            if len(plans) == 1:
                click.echo(f"trace {outcome.trace_hash}")
    click.echo(
        f"{len(plans)} runs, {len(failures)} failed; {operations} operations, {acknowledged} appends to lists"
        f" acknowledged, none lost where none failed; {time.monotonic() - began_s:.0f} s"
    )
    return failures


def _outcomes(plans: Sequence[Plan], steps: Sequence[Step] | None, jobs: int) -> Iterator[tuple[Plan, Passed | Failed]]:
    tasks = [(plan, steps) for plan in plans]
    if jobs == 1 or len(plans) == 1:
        yield from map(_run, tasks)
        return
    context = multiprocessing.get_context("spawn")  # forked processes would share what a simulation leaves behind
    with ProcessPoolExecutor(min(jobs, len(plans)), mp_context=context) as pool:
        waiting = {pool.submit(_run, task) for task in tasks}
        while waiting:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()


def _run(task: tuple[Plan, Sequence[Step] | None]) -> tuple[Plan, Passed | Failed]:
    logging.disable(logging.CRITICAL)  # nodes that are hurt complain
    plan, steps = task
    return plan, run_seed(plan, steps)


def show(plan: Plan, failure: Failed, steps: Sequence[Step] | None, *, shrinks: bool) -> None:
    click.echo(f"\nseed {plan.seed}, {plan.nodes} nodes: {failure.text}")
    script = plan.script() if steps is None else list(steps)
    if shrinks:
        script = shrink(script, fails_alike(plan, failure), max_runs=SHRINK_RUNS)
    click.echo(f"the shortest script found that still fails so ({failure.kind}), of {len(script)} lines:")
    for step in script:
        click.echo(f"    {step}")
    path = Path(tempfile.gettempdir()) / f"tallystick-sim-{plan.seed}-{plan.nodes}.txt"
    path.write_text("".join(f"{step}\n" for step in script), encoding="utf-8")
    click.echo(f"replay it with: {replay_command(plan)} --script {path}")
    click.echo(f"replay the seed with: {replay_command(plan)}")


def fails_alike(plan: Plan, failure: Failed) -> Callable[[Sequence[Step]], bool]:
    """Whether a script makes the seed fail in the same way."""

    def fails(script: Sequence[Step]) -> bool:
        outcome = run_seed(plan, script)
        return isinstance(outcome, Failed) and outcome.kind == failure.kind

    return fails


def replay_command(plan: Plan) -> str:
    """What runs a seed again."""
    contexts = " --contexts" if plan.contexts else ""
    kinds = f" --kinds {','.join(plan.kinds)}" if plan.kinds else ""
    return f"python -m tallystick_node.sim {plan.seed} --nodes {plan.nodes} --seconds {plan.seconds:g}{kinds}{contexts}"
