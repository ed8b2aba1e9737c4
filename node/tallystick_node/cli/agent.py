"""`tallystick agent list | log | show`: what agents did and know. What works on a history is in `history.py`, branches
in `branches.py`, steps in `steps.py`."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from datetime import datetime
from typing import TypeVar

import click
from rich.highlighter import JSONHighlighter
from rich.text import Text

import tallystick
from tallystick import Compacted, DecidedMutation, MutationEvent
from tallystick_node.cli import records, retention_events
from tallystick_node.cli.branches import branch_option, delete_branch, fork, fork_team, list_branches
from tallystick_node.cli.causality import changed, compare
from tallystick_node.cli.checkpoints import list_checkpoints, pin, unpin
from tallystick_node.cli.connection import Connection, connection_options
from tallystick_node.cli.exits import Group
from tallystick_node.cli.exporting import export_log
from tallystick_node.cli.history import merge, redo, revert, show_diff, undo
from tallystick_node.cli.output import (
    cell,
    clock,
    console,
    indented_json,
    size,
    table,
    write_json,
)
from tallystick_node.cli.printable import printable
from tallystick_node.cli.steps import show_steps
from tallystick_node.cli.times import parse_time

T = TypeVar("T")
_LIMIT = click.IntRange(1, 100_000)


@click.group(cls=Group)
def agent() -> None:
    """What agents did and know."""


@agent.command("list")
@click.option("--prefix", default="", help="Only agents whose names begin so.")
@click.option("--limit", type=_LIMIT, default=1000, show_default=True, help="At most this many.")
@connection_options
def list_agents(connection: Connection, prefix: str, limit: int) -> None:
    """List agents. With --json: JSON Lines."""
    asyncio.run(_list(connection, prefix, limit))


async def _list(connection: Connection, prefix: str, limit: int) -> None:
    async with connection.open() as client:
        infos, more = await _take(client.agents(prefix=prefix), limit)
    if connection.as_json:
        for info in infos:
            write_json(records.agent_info(info), indent=False)
        return
    rows = [
        [
            cell(info.name),
            cell(info.seq),
            cell(info.checkpoint or "-"),
            cell(size(info.log_size_bytes)),
            cell(clock(info.time)),
            cell(_owner(info.lease)),
        ]
        for info in infos
    ]
    console().print(table(("agent", "seq", "checkpoint", "log", "last mutation", "lease"), rows))
    if more:
        click.echo(f"there are more; --limit is {limit}", err=True)


def _owner(lease: tallystick.LeaseInfo | None) -> str:
    """Who has the agent's lease, or how it ended and when."""
    if lease is None or lease.change is None:
        return "-"
    return f"held by {lease.holder}" if lease.is_held else f"{lease.change} {clock(lease.since)}"


async def _take(items: AsyncIterator[T], limit: int) -> tuple[list[T], bool]:
    """The first items, and whether there are more."""
    taken: list[T] = []
    async for item in items:
        if len(taken) == limit:
            return taken, True
        taken.append(item)
    return taken, False


@agent.command()
@click.argument("name", metavar="AGENT")
@click.option("--after", type=click.IntRange(0), help="Mutations after this seq.  [default: the newest]")
@click.option(
    "--limit", type=_LIMIT, default=50, show_default=True, help="At most this many (none with --follow --after)."
)
@click.option("-f", "--follow", is_flag=True, help="Then go on with what is decided, until Ctrl-C.")
@branch_option
@connection_options
def log(connection: Connection, name: str, after: int | None, limit: int, follow: bool, branch: str) -> None:
    """Show an agent's mutations, oldest first. With --json: JSON Lines."""
    asyncio.run(show_log(connection, name, branch, after, limit, follow=follow))


async def show_log(
    connection: Connection, name: str, branch: str, after: int | None, limit: int, *, follow: bool
) -> None:
    """The mutations after a seq, or the newest; then what is decided, if that is followed."""
    async with connection.open() as client:
        handle = client.agent(name, branch=branch)
        head = await handle.rehydrate(tail=0, missing_ok=follow)
        bounded = not (follow and after is not None)
        start = after if after is not None else max(0, head.seq - limit)
        revision = head.revision
        shown = itertools.count(1)
        if head.seq > start:
            log = handle.log(after_seq=start) if after is not None else _kept_after(handle, start)
            async for mutation in log:
                _show_event(connection, MutationEvent(name, mutation, mutation.revision, branch))
                revision = mutation.revision
                if next(shown) == limit and bounded:
                    break
        if follow:
            async for event in client.watch(agent=name, after=revision):
                if getattr(event, "branch", branch) == branch:
                    _show_event(connection, event)


async def _kept_after(handle: tallystick.Agent, seq: int) -> AsyncIterator[DecidedMutation]:
    """The mutations after a seq; where retention removed what follows it, those that are kept."""
    try:
        async with contextlib.aclosing(handle.log(after_seq=seq)) as log:
            async for mutation in log:
                yield mutation
    except Compacted as error:
        async with contextlib.aclosing(handle.log(after_seq=int(error.metadata["oldest_seq"]))) as log:
            async for mutation in log:
                yield mutation


def _show_event(connection: Connection, event: tallystick.Event) -> None:
    if connection.as_json:
        write_json(records.event(event), indent=False)
    else:
        console().print(_line(event), soft_wrap=True)


def _line(event: tallystick.Event) -> Text:
    if isinstance(event, MutationEvent):
        return _mutation_line(event.mutation)
    if isinstance(event, tallystick.CheckpointEvent):
        made = event.checkpoint
        return Text(
            printable(f"checkpoint {made.name} at {made.seq}, step {made.step}  {clock(made.time)}"), style="cyan"
        )
    if isinstance(event, tallystick.ContextEvent):
        return Text(printable(f"context {event.context} {event.change}  {clock(event.time)}"))
    if isinstance(event, tallystick.TeamCheckpointEvent):
        return Text(printable(f"cut {event.name} through {event.agents} agents  {clock(event.time)}"), style="cyan")
    if isinstance(event, tallystick.TeamCheckpointDeletedEvent):
        return Text(printable(f"cut {event.name} deleted  {clock(event.time)}"), style="red")
    if isinstance(event, tallystick.SchemaEvent):
        return Text(printable(f"schema of {event.subject}, version {event.version}  {clock(event.time)}"), style="cyan")
    if isinstance(event, tallystick.LeaseEvent):
        style = "red" if event.change is tallystick.LeaseChange.EXPIRED else "cyan"
        text = f"lease {event.change} by {event.holder}, epoch {event.epoch}  {clock(event.time)}"
        return Text(printable(text), style=style)
    if isinstance(event, tallystick.ForkedEvent):
        text = f"branch {event.branch} began at {event.parent} {event.fork_seq}  {clock(event.time)}"
        return Text(printable(text), style="cyan")
    if isinstance(event, (tallystick.CompactedEvent, tallystick.PinnedEvent, tallystick.RetentionEvent)):
        return Text(printable(retention_events.line(event)), style="cyan")
    return Text(f"deleted at {event.last_seq}  {clock(event.time)}", style="bold red")


def _mutation_line(mutation: DecidedMutation) -> Text:
    what = records.summary(mutation, limit=160)
    return Text.assemble(
        (f"{mutation.seq:>6} ", "bold"),
        (f"{clock(mutation.time)} ", "dim"),
        printable(f"{mutation.actor or '-'} "),
        (printable(f"{mutation.kind} "), "" if mutation.kind == "state" else "magenta"),
        (printable(f"{mutation.cause} ") if mutation.cause else "", "blue"),
        printable(what),
    )


@agent.command()
@click.argument("name", metavar="AGENT")
@click.option("--at-seq", type=click.IntRange(0), help="As it was after this mutation.")
@click.option("--at-checkpoint", metavar="NAME", help="As it was at this checkpoint.")
@click.option("--at-time", metavar="TIME", help="As it was then: ISO 8601, UTC unless it says otherwise.")
@branch_option
@connection_options
def show(
    connection: Connection, name: str, at_seq: int | None, at_checkpoint: str | None, at_time: str | None, branch: str
) -> None:
    """Show an agent's state."""
    if sum(at is not None for at in (at_seq, at_checkpoint, at_time)) > 1:
        raise click.UsageError("at most one of --at-seq, --at-checkpoint and --at-time")
    time = None if at_time is None else parse_time(at_time)
    asyncio.run(_show(connection, name, branch, at_seq, at_checkpoint, time))


async def _show(
    connection: Connection, name: str, branch: str, seq: int | None, checkpoint: str | None, time: datetime | None
) -> None:
    async with connection.open() as client:
        snapshot = await client.agent(name, branch=branch).read(seq=seq, checkpoint=checkpoint, time=time)
    if connection.as_json:
        write_json({"agent": name, "branch": branch, **records.snapshot(snapshot)})
        return
    at = f"seq {snapshot.seq}"
    if snapshot.checkpoint is not None:
        at += f", newest checkpoint {snapshot.checkpoint.name} at {snapshot.checkpoint.seq}"
    if snapshot.time is not None:
        at += f", {clock(snapshot.time)}"
    out = console()
    out.print(Text(printable(f"{name}: {at}"), style="bold"), soft_wrap=True)
    out.print(JSONHighlighter()(Text(printable(indented_json(snapshot.state)))), soft_wrap=True)


for _command in (
    show_diff,
    compare,
    changed,
    undo,
    redo,
    revert,
    merge,
    export_log,
    show_steps,
    list_checkpoints,
    pin,
    unpin,
    fork,
    fork_team,
    list_branches,
    delete_branch,
):
    agent.add_command(_command)
