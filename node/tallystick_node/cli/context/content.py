"""`tallystick context show | set | blame | who`: what is in a document, who wrote it, who is here."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing, suppress
from typing import Final

import click
import orjson
from rich.highlighter import JSONHighlighter
from rich.text import Text

from tallystick import JSON
from tallystick.contexts import BlameLine, Cursor, Present
from tallystick_node.cli.connection import Connection, connection_options
from tallystick_node.cli.context import records
from tallystick_node.cli.context.arguments import ACTOR, NAME, At, parse_at
from tallystick_node.cli.output import (
    cell,
    clock,
    compact_json,
    console,
    indented_json,
    table,
    write_json,
)
from tallystick_node.cli.printable import printable

_VALUE_CHARS: Final = 80
_STATE_CHARS: Final = 160


@click.command()
@NAME
@click.option("--at", metavar="NUMBER|TIME|VERSION", help="As it was then; version:NAME if a name looks like another.")
@click.option("--after", metavar="CURSOR", help="Wait until the node has this: a cursor, as `set --json` prints it.")
@connection_options
def show(connection: Connection, name: str, at: str | None, after: str | None) -> None:
    """Show the content of a context, now or as it was.

    A NUMBER is of the update log of the node that answers (name one node with -e), a TIME is ISO 8601 (UTC unless it
    says otherwise) and means as that node had it then, a VERSION is equal everywhere.
    """
    point = None if at is None else parse_at(at)
    cursor = None if after is None else Cursor.from_json(after)
    asyncio.run(_show(connection, name, point, cursor))


async def _show(connection: Connection, name: str, at: At | None, after: Cursor | None) -> None:
    async with connection.open() as client:
        content = await client.stored_context(name).show(at, after=after)
    if connection.as_json:
        write_json(content)
    else:
        console().print(JSONHighlighter()(Text(printable(indented_json(content)))), soft_wrap=True)


@click.command("set")
@NAME
@click.argument("root", metavar="MAP")
@click.argument("key", metavar="KEY")
@click.argument("value", metavar="VALUE")
@click.option("--cause", default="", help="What led to it, for the record.")
@ACTOR
@connection_options
def set_key(connection: Connection, name: str, root: str, key: str, value: str, cause: str, actor: str) -> None:
    """Set a key of a map. Waits until a majority has it on disk.

    VALUE is JSON; what is no JSON is taken as a text.
    """
    asyncio.run(_set(connection, name, (root, key, _value(value)), cause=cause, actor=actor))


def _value(text: str) -> JSON:
    try:
        value: JSON = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return value


async def _set(connection: Connection, name: str, what: tuple[str, str, JSON], *, cause: str, actor: str) -> None:
    root, key, value = what
    async with connection.open(actor=actor) as client, client.context(name, create=False) as context:
        with context.transaction(cause):
            context.map(root)[key] = value
        cursor = await context.flush()
    if not connection.as_json:
        click.echo(printable(f"{root}/{key} is set"))
    elif cursor is not None:
        write_json({"context": name, "cursor": records.cursor(cursor)}, indent=False)


@click.command()
@NAME
@click.argument("root", metavar="[ROOT]", default="")
@connection_options
def blame(connection: Connection, name: str, root: str) -> None:
    """Show who wrote what is there now, in a root or in all. With --json: JSON Lines."""
    asyncio.run(_blame(connection, name, root))


async def _blame(connection: Connection, name: str, root: str) -> None:
    async with connection.open() as client:
        lines = await client.stored_context(name).blame(root)
    if connection.as_json:
        for line in lines:
            write_json(records.blame_line(line), indent=False)
    else:
        columns = ("path", "value", "by", "at", "cause")
        console().print(table(columns, [_blame_row(line) for line in lines]))


def _blame_row(line: BlameLine) -> list[Text]:
    made = line.edit
    return [
        cell(line.path),
        cell(compact_json(line.value, _VALUE_CHARS)),
        cell(made.actor or "-"),
        cell(clock(made.time) if made.time_unix_ms else "-", style="dim"),
        cell(made.cause, style="blue"),
    ]


@click.command()
@NAME
@click.option("-w", "--watch", is_flag=True, help="Show each change, until Ctrl-C.")
@connection_options
def who(connection: Connection, name: str, watch: bool) -> None:
    """Show who has a context open, and what they say of themselves. With --json: an array, with --watch one a line."""
    asyncio.run(_who(connection, name, watch=watch))


async def _who(connection: Connection, name: str, *, watch: bool) -> None:
    async with connection.open() as client:
        await client.describe_context(name)
        presence = client.stored_context(name).presence()
        try:
            if not watch:
                _show_present(connection, await presence.others())
                return
            async with aclosing(presence.changes()) as changes:
                async for others in changes:
                    _show_present(connection, others, line=True)
        finally:
            with suppress(asyncio.CancelledError):
                await presence.close()


def _show_present(connection: Connection, others: Sequence[Present], *, line: bool = False) -> None:
    if connection.as_json:
        write_json([records.present(one) for one in others], indent=not line)
        return
    rows = [
        [cell(one.actor or "-"), cell(compact_json(one.state, _STATE_CHARS)), cell(one.writer, style="dim")]
        for one in others
    ]
    console().print(table(("who", "says", "writer"), rows))


COMMANDS: Final = (show, set_key, blame, who)
