"""`tallystick agent compare | changed`: what happened before what, and what changed of what was read.

A point of a log is written `AGENT@SEQ`, or `AGENT#BRANCH@SEQ`; to `compare`, without a seq it is where the log ends.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import click

from tallystick import Changes, Comparison, LogPoint, Observed, ObservedLog
from tallystick_node.cli.connection import Connection, connection_options
from tallystick_node.cli.output import cell, clock, console, table, write_json
from tallystick_node.cli.printable import printable

_WORDS = {
    "same": "is the same mutation as",
    "before": "happened before",
    "after": "happened after",
    "concurrent": "is concurrent with",
}
_COLUMNS = ("agent", "branch", "what", "read up to", "ends at")


@click.command()
@click.argument("a", metavar="A@SEQ")
@click.argument("b", metavar="B@SEQ")
@connection_options
def compare(connection: Connection, a: str, b: str) -> None:
    """Tell which of two mutations came first, and the evidence.

    What its writer had read comes before a mutation, and all before it in its log. A branch is written
    AGENT#BRANCH@SEQ; without @SEQ it is where the log ends.
    """
    asyncio.run(compare_points(connection, a, b))


async def compare_points(connection: Connection, a: str, b: str) -> None:
    """Compares two points, as they are written."""
    async with connection.open() as client:
        found = await client.compare(a, b)
    if connection.as_json:
        write_json(_comparison(found))
        return
    click.echo(printable(f"{found.a.point} {_WORDS[found.relation]} {found.b.point}"))
    for each in found.path:
        click.echo(printable(f"  {each.at} had read {each.observed}"))
    if found.has_gaps:
        click.echo("  but something that the later one knew is gone: there may have been a path through it")


@click.command()
@click.argument("points", metavar="AGENT@SEQ...", nargs=-1, required=True)
@click.option("--follow", is_flag=True, help="Then go on, and tell of each further change.")
@connection_options
def changed(connection: Connection, points: tuple[str, ...], *, follow: bool) -> None:
    """Show which logs went on, or are gone, since these points.

    Each point is the last mutation of a log that was read.

    A branch is written AGENT#BRANCH@SEQ. With --json: one object, with --follow JSON Lines.
    """
    asyncio.run(show_changed(connection, points, follow=follow))


async def show_changed(connection: Connection, points: tuple[str, ...], *, follow: bool) -> None:
    """Shows what changed since these points, as they are written."""
    observed = Observed(tuple([_read_up_to(point) for point in points]))
    async with connection.open() as client:
        if not follow:
            _show(connection, await client.changed(observed), indent=True)
            return
        async with aclosing(client.watch_changed(observed)) as told:
            async for changes in told:
                _show(connection, changes, indent=False)


def _show(connection: Connection, changes: Changes, *, indent: bool) -> None:
    if connection.as_json:
        write_json(_changes(changes), indent=indent)
        return
    if not changes:
        click.echo("nothing has changed")
        return
    rows = [
        [cell(each.agent), cell(each.branch), cell(each.kind), cell(each.seen_seq), cell(each.seq or "-")]
        for each in changes.logs
    ]
    console().print(table(_COLUMNS, rows))


def _read_up_to(text: str) -> ObservedLog:
    point = LogPoint.parse(text)
    if not point.seq:
        raise click.UsageError(f'"{text}" names no mutation; write AGENT@SEQ, the last one that was read')
    return ObservedLog(point.agent, point.seq, point.branch)


def _comparison(found: Comparison) -> dict[str, object]:
    return {
        "relation": found.relation,
        "a": {**_point(found.a.point), "hash": found.a.hash.hex(), "time": clock(found.a.time)},
        "b": {**_point(found.b.point), "hash": found.b.hash.hex(), "time": clock(found.b.time)},
        "path": [{"at": _point(each.at), "observed": _point(each.observed)} for each in found.path],
        "has_gaps": found.has_gaps,
    }


def _changes(changes: Changes) -> dict[str, object]:
    logs = [
        {
            "agent": each.agent,
            "branch": each.branch,
            "kind": each.kind,
            "seen_seq": each.seen_seq,
            "seq": each.seq,
            "hash": each.hash.hex(),
        }
        for each in changes.logs
    ]
    return {"logs": logs}


def _point(point: LogPoint) -> dict[str, object]:
    return {"agent": point.agent, "branch": point.branch, "seq": point.seq}
