"""`tallystick agent diff | undo | redo | revert | merge`: what a history says, taking back, and bringing together.

Rules of this file: a conflict is shown and nothing is changed; it ends with the exit code of a refusal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import click
from rich.text import Text

import tallystick
from tallystick import MergeResult, Snapshot
from tallystick.history import NOTHING, History, MergeConflict, MergeResolver, StateChange, diff
from tallystick.history.merging import Side
from tallystick_node.cli.branches import branch_option
from tallystick_node.cli.connection import Connection, connection_options
from tallystick_node.cli.exits import ExitCode, Failure
from tallystick_node.cli.output import compact_json, console, write_json
from tallystick_node.cli.printable import printable

_STYLES = {"add": "green", "remove": "red", "replace": "yellow"}
_Rewrite = Callable[[History], Awaitable[MergeResult | None]]

_resolve_option = click.option(
    "--resolve",
    type=click.Choice(["ours", "theirs"]),
    help="Where both sides changed something: keep what is there (ours), or take the other.  [default: change nothing]",
)


@click.command("diff")
@click.argument("name", metavar="AGENT")
@click.argument("before", metavar="FROM")
@click.argument("after", metavar="TO", default="head")
@branch_option
@connection_options
def show_diff(connection: Connection, name: str, before: str, after: str, branch: str) -> None:
    """Show what changed in an agent's state between two points.

    FROM and TO are a seq, the name of a checkpoint, or "head" (the default of TO). A checkpoint whose name looks like
    one of the others is written checkpoint:NAME. With --json: a JSON Patch (RFC 6902) with "before" added.
    """
    asyncio.run(_diff(connection, name, branch, before, after))


async def _diff(connection: Connection, name: str, branch: str, before: str, after: str) -> None:
    async with connection.open() as client:
        handle = client.agent(name, branch=branch)
        changes = diff((await _read_at(handle, before)).state, (await _read_at(handle, after)).state)
    if connection.as_json:
        write_json([change.to_json() for change in changes])
        return
    out = console()
    for change in changes:
        out.print(_change_line(change), soft_wrap=True)


async def _read_at(handle: tallystick.Agent, point: str) -> Snapshot:
    if point == "head":
        return await handle.read()
    if point.isascii() and point.isdigit() and len(point) <= 18:
        return await handle.read(seq=int(point))
    return await handle.read(checkpoint=point.removeprefix("checkpoint:"))


def _change_line(change: StateChange) -> Text:
    sign = {"add": "+", "remove": "-", "replace": "~"}[change.op]
    before = "" if change.op == "add" else compact_json(change.before)
    after = "" if change.op == "remove" else compact_json(change.after)
    arrow = " -> " if change.op == "replace" else ""
    path = change.path or "(the whole state)"
    return Text(printable(f"{sign} {path}  {before}{arrow}{after}"), style=_STYLES[change.op])


@click.command()
@click.argument("name", metavar="AGENT")
@_resolve_option
@branch_option
@connection_options
def undo(connection: Connection, name: str, branch: str, resolve: MergeResolver | None) -> None:
    """Take back the newest change of the state. Its inverse is appended."""
    asyncio.run(_rewrite(connection, name, branch, lambda history: history.undo(resolve=resolve), "nothing to undo"))


@click.command()
@click.argument("name", metavar="AGENT")
@_resolve_option
@branch_option
@connection_options
def redo(connection: Connection, name: str, branch: str, resolve: MergeResolver | None) -> None:
    """Take back the newest undo."""
    asyncio.run(_rewrite(connection, name, branch, lambda history: history.redo(resolve=resolve), "nothing to redo"))


@click.command()
@click.argument("name", metavar="AGENT")
@click.argument("seq", type=click.IntRange(1))
@click.option("--last", type=click.IntRange(1), help="Up to this one.  [default: SEQ alone]")
@_resolve_option
@branch_option
@connection_options
def revert(
    connection: Connection, name: str, branch: str, seq: int, last: int | None, resolve: MergeResolver | None
) -> None:
    """Take back what the mutation SEQ did. What came after it is left."""

    def rewrite(history: History) -> Awaitable[MergeResult | None]:
        return history.revert(seq, last=last, resolve=resolve)

    asyncio.run(_rewrite(connection, name, branch, rewrite, "nothing to revert"))


@click.command()
@click.argument("name", metavar="AGENT")
@click.argument("source", metavar="SOURCE")
@branch_option
@_resolve_option
@connection_options
def merge(connection: Connection, name: str, source: str, branch: str, resolve: MergeResolver | None) -> None:
    """Bring what was done on the branch SOURCE into another. By a three-way merge from where they parted."""
    wanted: _Rewrite = lambda history: history.merge(source, resolve=resolve)  # noqa: E731
    asyncio.run(_rewrite(connection, name, branch, wanted, "nothing to merge"))


async def _rewrite(connection: Connection, name: str, branch: str, rewrite: _Rewrite, nothing: str) -> None:
    async with connection.open() as client:
        result = await rewrite(client.agent(name, branch=branch).history)
    if result is None:
        raise Failure(f"agent {name!r}: {nothing}", ExitCode.REFUSED)
    if connection.as_json:
        write_json(_record(result))
    else:
        _show(result)
    if result.conflicts:
        raise Failure(
            f"{len(result.conflicts)} of these places were changed on both sides; nothing was appended",
            ExitCode.REFUSED,
            "--resolve ours keeps what is there now, --resolve theirs takes what it would become",
        )


def _show(result: MergeResult) -> None:
    out = console()
    for conflict in result.conflicts:
        out.print(_conflict_line(conflict), soft_wrap=True)
    if result.appended is None and not result.conflicts:
        out.print("nothing to change")
    elif result.appended is not None:
        for change in result.changes:
            out.print(_change_line(change), soft_wrap=True)
        out.print(Text(f"appended as seq {result.appended.seq}", style="bold"))


def _record(result: MergeResult) -> dict[str, object]:
    return {
        "seq": result.appended.seq if result.appended is not None else None,
        "changes": [change.to_json() for change in result.changes],
        "conflicts": [_conflict(conflict) for conflict in result.conflicts],
    }


def _conflict(conflict: MergeConflict) -> dict[str, object]:
    """As JSON: a side where there is no such key is left out."""
    sides = {"base": conflict.base, "ours": conflict.ours, "theirs": conflict.theirs}
    there = {side: value for side, value in sides.items() if value is not NOTHING}
    return {"path": conflict.path, "is_piece": conflict.is_piece, **there}


def _conflict_line(conflict: MergeConflict) -> Text:
    sides = f"{_side(conflict.base)} became {_side(conflict.ours)}; it would be {_side(conflict.theirs)}"
    return Text(printable(f"! {conflict.path or '(the whole state)'}  {sides}"), style="bold magenta")


def _side(value: Side) -> str:
    return "nothing" if value is NOTHING else compact_json(value)
