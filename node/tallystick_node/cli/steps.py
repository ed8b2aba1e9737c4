"""`tallystick agent steps`: what an agent's side effects came to."""

from __future__ import annotations

import asyncio

import click
from rich.text import Text

from tallystick import Step, StepStatus
from tallystick_node.cli import records
from tallystick_node.cli.branches import branch_option
from tallystick_node.cli.connection import Connection, connection_options
from tallystick_node.cli.output import cell, clock, compact_json, console, table, write_json

_WIDTH = 80
_STATUSES = click.Choice([status.value for status in StepStatus])
_STYLES = {StepStatus.BEGUN: "yellow", StepStatus.COMPLETED: "green", StepStatus.FAILED: "red"}


@click.command("steps")
@click.argument("name", metavar="AGENT")
@click.option("--status", type=_STATUSES, help="Only these. Begun ones are under way, or ambiguous.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=1000, show_default=True, help="At most this many.")
@branch_option
@connection_options
def show_steps(connection: Connection, name: str, branch: str, status: str | None, limit: int) -> None:
    """List an agent's steps by name, each as its newest attempt. With --json: JSON Lines."""
    asyncio.run(_show(connection, name, branch, status, limit))


async def _show(connection: Connection, name: str, branch: str, status: str | None, limit: int) -> None:
    steps: list[Step] = []
    more = False
    async with connection.open() as client:
        async for step in client.agent(name, branch=branch).steps.list(results=True):
            if status not in (None, step.status):
                continue
            more = len(steps) == limit
            if more:
                break
            steps.append(step)
    if connection.as_json:
        for step in steps:
            write_json(records.step(step), indent=False)
        return
    head = ("step", "status", "attempt", "by", "begun", "ended", "result")
    console().print(table(head, [_row(step) for step in steps]))
    if more:
        click.echo(f"there are more; --limit is {limit}", err=True)


def _row(step: Step) -> list[Text]:
    came = str(step.error) if step.error is not None else ""
    if step.status is StepStatus.COMPLETED:
        came = compact_json(step.result, _WIDTH)
    return [
        cell(step.name),
        cell(step.status, _STYLES[step.status]),
        cell(step.attempt),
        cell(step.actor or "-"),
        cell(clock(step.begun)),
        cell("-" if step.ended is None else clock(step.ended)),
        cell(came if len(came) <= _WIDTH else came[: _WIDTH - 1] + "…"),
    ]
