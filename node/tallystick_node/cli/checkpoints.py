"""`tallystick agent checkpoints | pin | unpin`: the points of a log that have a name, and keeping them for good."""

from __future__ import annotations

import asyncio

import click
from rich.text import Text

from tallystick import Checkpoint
from tallystick_node.cli import records
from tallystick_node.cli.branches import branch_option
from tallystick_node.cli.connection import Connection, connection_options
from tallystick_node.cli.output import cell, clock, compact_json, console, table, write_json
from tallystick_node.cli.printable import printable

_WIDTH = 80
_COLUMNS = ("checkpoint", "seq", "step", "made", "by", "pinned", "pending", "metadata")


@click.command("checkpoints")
@click.argument("name", metavar="AGENT")
@click.option("--limit", type=click.IntRange(1, 100_000), default=1000, show_default=True, help="At most this many.")
@branch_option
@connection_options
def list_checkpoints(connection: Connection, name: str, branch: str, limit: int) -> None:
    """List an agent's checkpoints, oldest first. With --json: JSON Lines."""
    asyncio.run(_list(connection, name, branch, limit))


async def _list(connection: Connection, name: str, branch: str, limit: int) -> None:
    made: list[Checkpoint] = []
    more = False
    async with connection.open() as client:
        async for checkpoint in client.agent(name, branch=branch).checkpoints():
            more = len(made) == limit
            if more:
                break
            made.append(checkpoint)
    if connection.as_json:
        for checkpoint in made:
            write_json(records.checkpoint(checkpoint), indent=False)
        return
    console().print(table(_COLUMNS, [_row(checkpoint) for checkpoint in made]))
    if more:
        click.echo(f"there are more; --limit is {limit}", err=True)


def _row(made: Checkpoint) -> list[Text]:
    return [
        cell(made.name),
        cell(made.seq),
        cell(made.step),
        cell(clock(made.time)),
        cell(made.actor or "-"),
        cell("pinned" if made.is_pinned else "-"),
        cell(len(made.pending_calls)),
        cell(compact_json(made.metadata, _WIDTH)),
    ]


@click.command()
@click.argument("name", metavar="AGENT")
@click.argument("checkpoint")
@branch_option
@connection_options
def pin(connection: Connection, name: str, checkpoint: str, branch: str) -> None:
    """Keep a checkpoint, with its state.

    It stays when retention removes what is around it.
    """
    asyncio.run(set_pin(connection, name, checkpoint, branch, is_pinned=True))


@click.command()
@click.argument("name", metavar="AGENT")
@click.argument("checkpoint")
@branch_option
@connection_options
def unpin(connection: Connection, name: str, checkpoint: str, branch: str) -> None:
    """Let a checkpoint go with what is around it again."""
    asyncio.run(set_pin(connection, name, checkpoint, branch, is_pinned=False))


async def set_pin(connection: Connection, name: str, checkpoint: str, branch: str, *, is_pinned: bool) -> None:
    """Pins a checkpoint of a branch of an agent, or lets it go again."""
    async with connection.open() as client:
        agent = client.agent(name, branch=branch)
        revision = await (agent.pin(checkpoint) if is_pinned else agent.unpin(checkpoint))
    if connection.as_json:
        told = {"agent": name, "branch": branch, "checkpoint": checkpoint, "is_pinned": is_pinned}
        write_json({**told, "revision": str(revision)})
    else:
        click.echo(printable(f"{checkpoint} of {name}: {'pinned' if is_pinned else 'not pinned'}"))
