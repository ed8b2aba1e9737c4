"""`tallystick team checkpoint | list | show | rollback | delete`: several agents at once, where they were together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import click

from tallystick import TeamCheckpoint, Transacted
from tallystick_node.cli import records
from tallystick_node.cli.branches import MAIN
from tallystick_node.cli.confirming import YES, confirm
from tallystick_node.cli.connection import Connection, connection_options
from tallystick_node.cli.exits import Group
from tallystick_node.cli.output import cell, clock, console, table, write_json
from tallystick_node.cli.printable import printable

_CUTS = ("cut", "agents", "of", "actor", "taken", "revision")
_MEMBERS = ("agent", "branch", "seq", "state")


@click.group(cls=Group)
def team() -> None:
    """Several agents at once: where they were together, and back to there."""


@team.command()
@click.argument("name", metavar="CUT")
@click.option("--prefix", default="", help="Only agents whose names begin so.")
@click.option("--agent", "agents", multiple=True, metavar="AGENT", help="These agents instead; may be repeated.")
@click.option("--branch", default=MAIN, show_default=True, metavar="NAME", help="Which of their branches.")
@connection_options
def checkpoint(connection: Connection, name: str, prefix: str, agents: tuple[str, ...], branch: str) -> None:
    """Name the point where agents' logs end now, all at once."""
    if prefix and agents:
        raise click.UsageError("--prefix or --agent, not both")
    asyncio.run(_checkpoint(connection, name, prefix, agents, branch))


async def _checkpoint(connection: Connection, name: str, prefix: str, agents: Sequence[str], branch: str) -> None:
    async with connection.open() as client:
        _show(connection, await client.team(prefix, branch=branch).checkpoint(name, agents=agents))


@team.command("list")
@connection_options
def list_cuts(connection: Connection) -> None:
    """List the cuts of the namespace, oldest first. With --json: JSON Lines, without what they bind."""
    asyncio.run(_list(connection))


async def _list(connection: Connection) -> None:
    async with connection.open() as client:
        cuts = [cut async for cut in client.team().checkpoints()]
    if connection.as_json:
        for cut in cuts:
            write_json(records.team_checkpoint(cut), indent=False)
        return
    rows = [
        [
            cell(cut.name),
            cell(cut.agents),
            cell(_of(cut)),
            cell(cut.actor or "-"),
            cell(clock(cut.time)),
            cell(str(cut.revision)),
        ]
        for cut in cuts
    ]
    console().print(table(_CUTS, rows))


@team.command()
@click.argument("name", metavar="CUT")
@connection_options
def show(connection: Connection, name: str) -> None:
    """Show a cut: its agents, and where each was."""
    asyncio.run(_show_one(connection, name))


async def _show_one(connection: Connection, name: str) -> None:
    async with connection.open() as client:
        _show(connection, await client.team().get_checkpoint(name))


@team.command()
@click.argument("name", metavar="CUT")
@connection_options
def rollback(connection: Connection, name: str) -> None:
    """Give all agents the states that they had at a cut. All or none; their histories stay.

    Refused when one of them writes meanwhile or is under a lease, and when it is too much for one transaction: then
    `agent fork-team` at the cut's revision.
    """
    asyncio.run(_rollback(connection, name))


async def _rollback(connection: Connection, name: str) -> None:
    async with connection.open() as client:
        done = await client.team().roll_back(name)
    if connection.as_json:
        write_json(_rolled_back(name, done))
    elif done is None:
        click.echo(printable(f"all agents are where {name} has them"))
    else:
        for part in done.parts:
            click.echo(printable(f"{part.agent}: as at {name}, with seq {part.seq} of branch {part.branch}"))


@team.command()
@click.argument("name", metavar="CUT")
@YES
@connection_options
def delete(connection: Connection, name: str, yes: bool) -> None:
    """Remove a cut. Its agents stay as they are; the name is free again."""
    if not yes:
        confirm(f"cut {name}")
    asyncio.run(_delete(connection, name))


async def _delete(connection: Connection, name: str) -> None:
    async with connection.open() as client:
        revision = await client.team().delete_checkpoint(name)
    if connection.as_json:
        write_json({"cut": name, "revision": str(revision)})
    else:
        click.echo(printable(f"cut {name} is deleted"))


def _rolled_back(name: str, done: Transacted | None) -> records.Record:
    parts = done.parts if done is not None else ()
    return {
        "cut": name,
        "agents": [{"agent": part.agent, "branch": part.branch, "seq": part.seq} for part in parts],
        "revision": str(done.revision) if done is not None else None,
    }


def _show(connection: Connection, cut: TeamCheckpoint) -> None:
    if connection.as_json:
        write_json(records.team_checkpoint(cut))
        return
    click.echo(printable(f"{cut.name}: {cut.agents} agents at {cut.revision}, taken {clock(cut.time)} ({_of(cut)})"))
    rows = [
        [cell(member.agent), cell(member.branch), cell(member.seq), cell(member.state_digest.hex()[:12])]
        for member in cut.members
    ]
    console().print(table(_MEMBERS, rows))
    for context, cursor in cut.contexts.items():
        click.echo(printable(f"saw context {context} in epoch {cursor.epoch}"))


def _of(cut: TeamCheckpoint) -> str:
    if cut.prefix is None:
        return "listed"
    return f"{cut.prefix}* of {cut.branch}"
