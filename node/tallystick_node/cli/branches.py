"""`tallystick agent fork | fork-team | branches | delete-branch`: other ways to go on from a point.

The commands that show or change one log take `--branch` (`branch_option`).
"""

from __future__ import annotations

import asyncio
from datetime import datetime

import click

from tallystick import BranchInfo, Consistency
from tallystick_node.cli import records
from tallystick_node.cli.confirming import YES, confirm
from tallystick_node.cli.connection import Connection, connection_options
from tallystick_node.cli.output import cell, clock, console, size, table, write_json
from tallystick_node.cli.printable import printable
from tallystick_node.cli.times import parse_time
from tallystick_node.cli.tree import drawn

MAIN = "main"
_COLUMNS = ("branch", "began at", "seq", "checkpoint", "own log", "last event")

branch_option = click.option(
    "--branch", default=MAIN, show_default=True, metavar="NAME", help="Which branch of the agent."
)


@click.command("fork")
@click.argument("name", metavar="AGENT")
@click.argument("new", metavar="BRANCH")
@click.option("--branch", default=MAIN, show_default=True, metavar="NAME", help="Where the new one begins.")
@click.option("--at-seq", type=click.IntRange(0), help="After this mutation.  [default: where the log ends]")
@click.option("--at-checkpoint", metavar="NAME", help="At this checkpoint.")
@click.option("--at-time", metavar="TIME", help="As it was then: ISO 8601, UTC unless it says otherwise.")
@click.option("--at-turn", is_flag=True, help="Where the last turn that was ended ends.")
@connection_options
def fork(
    connection: Connection,
    name: str,
    new: str,
    branch: str,
    at_seq: int | None,
    at_checkpoint: str | None,
    at_time: str | None,
    *,
    at_turn: bool,
) -> None:
    """Begin a branch at a point of a log. It shares the past, and costs a record. With --json: as `branches` has it."""
    if sum(at is not None for at in (at_seq, at_checkpoint, at_time)) + at_turn > 1:
        raise click.UsageError("at most one of --at-seq, --at-checkpoint, --at-time and --at-turn")
    time = None if at_time is None else parse_time(at_time)
    at = at_seq if at_seq is not None else at_checkpoint or time
    asyncio.run(_fork(connection, name, branch, new, at, at_turn=at_turn))


async def _fork(
    connection: Connection, name: str, branch: str, new: str, at: int | str | datetime | None, *, at_turn: bool
) -> None:
    async with connection.open() as client:
        forked = await client.agent(name, branch=branch).fork(new, at=at, at_turn=at_turn)
        linearizable = Consistency.LINEARIZABLE  # a node that lags does not know the branch yet
        (info,) = [info async for info in forked.branches(consistency=linearizable) if info.name == new]
    if connection.as_json:
        write_json(records.branch_info(info))
    else:
        click.echo(printable(f"{name}: branch {new} began at {info.parent} {info.fork_seq}"))


@click.command("fork-team")
@click.argument("prefix")
@click.argument("new", metavar="BRANCH")
@click.option("--branch", default=MAIN, show_default=True, metavar="NAME", help="Where the new ones begin.")
@connection_options
def fork_team(connection: Connection, prefix: str, new: str, branch: str) -> None:
    """Begin a branch of a whole team, or of none.

    Of each agent whose name begins with PREFIX, as they are now.

    With --json: JSON Lines.
    """
    asyncio.run(_fork_team(connection, prefix, branch, new))


async def _fork_team(connection: Connection, prefix: str, branch: str, new: str) -> None:
    async with connection.open() as client:
        forked = await client.fork_team(prefix, new, source_branch=branch)
    for each in forked:
        if connection.as_json:
            write_json(records.event(each), indent=False)
        else:
            click.echo(printable(f"{each.agent}: branch {each.branch} began at {each.parent} {each.fork_seq}"))


@click.command("branches")
@click.argument("name", metavar="AGENT")
@connection_options
def list_branches(connection: Connection, name: str) -> None:
    """Show an agent's branches as a tree.

    Each stands below the one where it began. With --json: JSON Lines, by name.
    """
    asyncio.run(_list(connection, name))


async def _list(connection: Connection, name: str) -> None:
    async with connection.open() as client:
        infos = [info async for info in client.agent(name).branches()]
    if connection.as_json:
        for info in infos:
            write_json(records.branch_info(info), indent=False)
        return
    rows = [
        [
            cell(lines + info.name),
            cell(_beginning(info)),
            cell(info.seq),
            cell(info.checkpoint or "-"),
            cell(size(info.log_size_bytes)),
            cell(clock(info.time)),
        ]
        for lines, info in drawn(infos, lambda info: info.name, lambda info: info.parent)
    ]
    console().print(table(_COLUMNS, rows))


def _beginning(info: BranchInfo) -> str:
    return f"{info.parent} {info.fork_seq}" if info.parent else "-"


@click.command("delete-branch")
@click.argument("name", metavar="AGENT")
@click.argument("branch")
@YES
@connection_options
def delete_branch(connection: Connection, name: str, branch: str, yes: bool) -> None:
    """Remove a branch. What was appended to it is gone, not what it shares. Refused while another began at it."""
    if not yes:
        confirm(f"branch {branch} of {name}")
    asyncio.run(_delete(connection, name, branch))


async def _delete(connection: Connection, name: str, branch: str) -> None:
    async with connection.open() as client:
        revision = await client.agent(name, branch=branch).delete_branch()
    if connection.as_json:
        write_json({"agent": name, "branch": branch, "revision": str(revision)})
    else:
        click.echo(printable(f"{name}: branch {branch} deleted"))
