"""`tallystick context log | overlaps | versions | save | restore`: what was, and how it is again."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import aclosing
from typing import Final

import click
from rich.text import Text

from tallystick.contexts import Edit, StoredContext
from tallystick_node.cli.connection import Connection, connection_options
from tallystick_node.cli.context import records
from tallystick_node.cli.context.arguments import ACTOR, LIMIT, NAME, At, parse_at
from tallystick_node.cli.output import cell, clock, compact_json, console, size, table, write_json
from tallystick_node.cli.printable import printable

_VALUE_CHARS: Final = 60


@click.command()
@NAME
@click.option("--only", "only_actor", metavar="ACTOR", default="", help="Only this one's edits.")
@click.option("--after", type=click.IntRange(0), help="Edits after this number.  [default: the newest]")
@click.option(
    "--limit", type=LIMIT, default=50, show_default=True, help="At most this many (none with --follow --after)."
)
@click.option("-f", "--follow", is_flag=True, help="Then go on with what is edited, until Ctrl-C.")
@connection_options
def log(connection: Connection, name: str, only_actor: str, after: int | None, limit: int, follow: bool) -> None:
    """Show the edits of a context as a node merged them, oldest first. With --json: JSON Lines.

    Each node has numbers of its own, and keeps the last 200,000 edits.
    """
    asyncio.run(_log(connection, name, only_actor, after, limit, follow=follow))


async def _log(
    connection: Connection, name: str, only_actor: str, after: int | None, limit: int, *, follow: bool
) -> None:
    async with connection.open() as client:
        stored = client.stored_context(name)
        last = 0 if after is None else after
        if after is None or not follow:
            for edit in await _some(stored, only_actor, after, limit):
                _show_edit(connection, edit)
                last = edit.number
        if follow:
            async with aclosing(stored.history(after_number=last, actor=only_actor, follow=True)) as edits:
                async for edit in edits:
                    _show_edit(connection, edit)


async def _some(stored: StoredContext, only_actor: str, after: int | None, limit: int) -> list[Edit]:
    """The first edits after a number; without one, the newest."""
    first = 0 if after is None else after
    if after is None and not only_actor:
        cursor = (await stored.measure()).cursor
        first = max(0, cursor.number - limit) if cursor is not None else 0
    kept: deque[Edit] = deque(maxlen=limit)
    async with aclosing(stored.history(after_number=first, actor=only_actor)) as edits:
        async for edit in edits:
            if after is not None and len(kept) == limit:
                break
            kept.append(edit)
    return list(kept)


def _show_edit(connection: Connection, edit: Edit) -> None:
    if connection.as_json:
        write_json(records.edit(edit), indent=False)
        return
    wrote = f"+{edit.end_clock - edit.clock}" if edit.end_clock > edit.clock else ""
    deleted = f" -{edit.deletes}" if edit.deletes else ""
    made = edit.time if edit.time_unix_ms else edit.merged  # an update that brought nothing new has no time
    line = Text.assemble(
        (f"{edit.number:>6} ", "bold"),
        (f"{clock(made)} ", "dim"),
        printable(f"{edit.actor or '-'}@{edit.node_id or '-'} "),
        (f"{wrote}{deleted} ".lstrip(), "green"),
        (printable(edit.cause), "blue"),
        (printable("".join(f"  {flag}" for flag in edit.flags)), "yellow"),
    )
    console().print(line, soft_wrap=True)


@click.command()
@NAME
@click.option("--after", type=click.IntRange(0), default=0, help="Those after this number.")
@click.option("--limit", type=LIMIT, default=100, show_default=True, help="At most this many.")
@connection_options
def overlaps(connection: Connection, name: str, after: int, limit: int) -> None:
    """Show edits of one place that did not know of each other. With --json: JSON Lines."""
    asyncio.run(_overlaps(connection, name, after, limit))


async def _overlaps(connection: Connection, name: str, after: int, limit: int) -> None:
    rows: list[list[Text]] = []
    has_more = False
    async with (
        connection.open() as client,
        aclosing(client.stored_context(name).overlaps(after_number=after)) as found,
    ):
        async for overlap in found:
            has_more = len(rows) == limit
            if has_more:
                break
            rows.append(
                [
                    cell(overlap.number),
                    cell(overlap.kind),
                    cell(overlap.path),
                    cell(f"{overlap.first.actor or '-'}: {compact_json(overlap.first_value, _VALUE_CHARS)}"),
                    cell(f"{overlap.second.actor or '-'}: {compact_json(overlap.second_value, _VALUE_CHARS)}"),
                ]
            )
            if connection.as_json:
                write_json(records.overlap(overlap), indent=False)
    if not connection.as_json:
        console().print(table(("number", "kind", "path", "first", "second"), rows))
    if has_more:
        click.echo(f"there are more; --limit is {limit}", err=True)


@click.command()
@NAME
@connection_options
def versions(connection: Connection, name: str) -> None:
    """List the named versions of a context. With --json: JSON Lines."""
    asyncio.run(_versions(connection, name))


async def _versions(connection: Connection, name: str) -> None:
    async with connection.open() as client:
        found = [one async for one in client.stored_context(name).versions(consistency=connection.consistency)]
    if connection.as_json:
        for version in found:
            write_json(records.version(version), indent=False)
        return
    rows = [
        [
            cell(one.name),
            cell(clock(one.time)),
            cell(one.actor or "-"),
            cell(f"{one.agent} {one.checkpoint}" if one.agent else "-"),
            cell(size(one.size_bytes)),
        ]
        for one in found
    ]
    console().print(table(("version", "saved", "by", "checkpoint", "size"), rows))


@click.command()
@NAME
@click.argument("version", metavar="VERSION")
@click.option("--agent", default="", metavar="AGENT", help="Whose checkpoint it belongs to.")
@click.option("--checkpoint", default="", metavar="NAME", help="Which; with --agent.")
@ACTOR
@connection_options
def save(connection: Connection, name: str, version: str, agent: str, checkpoint: str, actor: str) -> None:
    """Name what a context is now, for ever."""
    if bool(agent) != bool(checkpoint):
        raise click.UsageError("--agent and --checkpoint go together")
    asyncio.run(_save(connection, name, version, (agent, checkpoint), actor=actor))


async def _save(connection: Connection, name: str, version: str, of: tuple[str, str], *, actor: str) -> None:
    async with connection.open(actor=actor) as client:
        saved = await client.stored_context(name).save_version(version, agent=of[0], checkpoint=of[1])
    if connection.as_json:
        write_json(records.version(saved))
    else:
        click.echo(printable(f"{saved.name} is saved, {size(saved.size_bytes)}"))


@click.command()
@NAME
@click.option("--at", metavar="NUMBER|TIME|VERSION", required=True, help="Which state; as of `show --at`.")
@click.option("--cause", default="", help="What led to it, for the record.  [default: restore]")
@ACTOR
@connection_options
def restore(connection: Connection, name: str, at: str, cause: str, actor: str) -> None:
    """Make the content what it was, by a new edit. Nothing of the past is lost."""
    asyncio.run(_restore(connection, name, parse_at(at), cause=cause, actor=actor))


async def _restore(connection: Connection, name: str, at: At, *, cause: str, actor: str) -> None:
    async with connection.open(actor=actor) as client:
        changed, cursor = await client.stored_context(name).restore(at, cause=cause)
    if connection.as_json:
        write_json({"context": name, "changed": changed, "cursor": records.cursor(cursor)}, indent=False)
    else:
        click.echo(printable(f"{name} is as it was" if changed else f"{name} was so already"))


COMMANDS: Final = (log, overlaps, versions, save, restore)
