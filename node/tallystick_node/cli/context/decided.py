"""`tallystick context list | create | describe | delete`: which documents there are."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Final

import click
import orjson
from rich.text import Text

from tallystick import JSON, ContextInfo
from tallystick.contexts import ContextMeasure
from tallystick_node.cli.confirming import YES, confirm
from tallystick_node.cli.connection import Connection, connection_options
from tallystick_node.cli.context import records
from tallystick_node.cli.context.arguments import ACTOR, LIMIT, NAME
from tallystick_node.cli.exits import ExitCode, Failure
from tallystick_node.cli.output import cell, clock, compact_json, console, size, table, write_json
from tallystick_node.cli.printable import printable

_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
_SCHEMA_CHARS: Final = 1000


@click.command("list")
@click.option("--prefix", default="", help="Only contexts whose names begin so.")
@click.option("--limit", type=LIMIT, default=1000, show_default=True, help="At most this many.")
@connection_options
def list_contexts(connection: Connection, prefix: str, limit: int) -> None:
    """List contexts. With --json: JSON Lines."""
    asyncio.run(_list(connection, prefix, limit))


async def _list(connection: Connection, prefix: str, limit: int) -> None:
    infos: list[ContextInfo] = []
    async with connection.open() as client:
        async for info in client.contexts(prefix=prefix):
            infos.append(info)
            if len(infos) > limit:
                break
    shown = list(itertools.islice(infos, limit))
    if connection.as_json:
        for info in shown:
            write_json(records.info(info), indent=False)
    else:
        rows = [
            [
                cell(info.name),
                cell(info.epoch, style="yellow" if info.is_sealed else ""),
                cell(info.actor or "-"),
                cell(clock(info.time)),
                cell(info.guid.hex(), style="dim"),
            ]
            for info in shown
        ]
        console().print(table(("context", "epoch", "created by", "at", "guid"), rows))
    if len(infos) > limit:
        click.echo(f"there are more; --limit is {limit}", err=True)


@click.command()
@click.argument("name", metavar="CONTEXT")
@click.option("--schema", "schema_file", type=_FILE, help="A file with the schema: roots, their types, JSON Schemas.")
@click.option("--exist-ok", is_flag=True, help="Be content with one that has the name already.")
@ACTOR
@connection_options
def create(connection: Connection, name: str, schema_file: Path | None, exist_ok: bool, actor: str) -> None:
    """Give a name to a new document.

    The schema is JSON: {"roots": {"tasks": {"type": "map", "schema": {...}}}, "strict": true}.
    """
    schema = None if schema_file is None else _read_schema(schema_file)
    asyncio.run(_create(connection, name, schema, exist_ok=exist_ok, actor=actor))


def _read_schema(file: Path) -> dict[str, JSON]:
    try:
        schema = orjson.loads(file.read_bytes())
    except orjson.JSONDecodeError as error:
        raise Failure(f"{file}: not JSON: {error}", ExitCode.USAGE) from error
    if not isinstance(schema, dict):
        raise Failure(
            f'{file}: a schema is an object, such as {{"roots": {{"tasks": {{"type": "map"}}}}}}', ExitCode.USAGE
        )
    return schema


async def _create(
    connection: Connection, name: str, schema: dict[str, JSON] | None, *, exist_ok: bool, actor: str
) -> None:
    async with connection.open(actor=actor) as client:
        info = await client.create_context(name, schema=schema, exist_ok=exist_ok)
    if connection.as_json:
        write_json(records.info(info))
    else:
        click.echo(printable(f"{info.name}: guid {info.guid.hex()}, epoch {info.epoch}"))


@click.command()
@NAME
@connection_options
def describe(connection: Connection, name: str) -> None:
    """Show a context's size, writers and epoch. Also its tombstones, and what a node holds of it."""
    asyncio.run(_describe(connection, name))


async def _describe(connection: Connection, name: str) -> None:
    async with connection.open() as client:
        measure = await client.stored_context(name).measure()
    if connection.as_json:
        write_json(records.measure(measure))
        return
    out = console()
    for word, text in _facts(measure):
        out.print(Text.assemble((f"{word:<12} ", "bold"), printable(text)), soft_wrap=True)


def _facts(measure: ContextMeasure) -> list[tuple[str, str]]:
    info, cursor = measure.info, measure.cursor
    facts = [
        ("context", info.name),
        ("guid", info.guid.hex()),
        ("epoch", f"{info.epoch}{', sealed: edits wait for the next' if info.is_sealed else ''}"),
        ("created", f"{clock(info.time)} by {info.actor or '-'}"),
        ("schema", compact_json(orjson.loads(info.schema_json), _SCHEMA_CHARS) if info.schema_json else "-"),
    ]
    if cursor is None:
        return [*facts, ("node", f"{measure.node_id}, which cannot say at the moment what it holds")]
    return [
        *facts,
        ("node", f"{measure.node_id}, at number {cursor.number}, {measure.subscribers} have it open there"),
        ("size", f"{size(measure.document_size_bytes)}, stored {size(measure.stored_size_bytes)}"),
        ("updates", str(measure.updates)),
        ("writers", str(measure.writers)),
        ("tombstones", str(measure.tombstones)),
        ("cursor", cursor.to_json()),
    ]


@click.command()
@NAME
@YES
@ACTOR
@connection_options
def delete(connection: Connection, name: str, yes: bool, actor: str) -> None:
    """Delete a context, with its past and its versions, for ever. The name is free again."""
    asyncio.run(_delete(connection, name, yes=yes, actor=actor))


async def _delete(connection: Connection, name: str, *, yes: bool, actor: str) -> None:
    async with connection.open(actor=actor) as client:
        info = await client.describe_context(name)
        if not yes:
            confirm(f"{info.name} (guid {info.guid.hex()})")
        revision = await client.delete_context(name, guid=info.guid)
    if connection.as_json:
        write_json({"context": name, "guid": info.guid.hex(), "revision": str(revision)})
    else:
        click.echo(printable(f"{name} is deleted"))


COMMANDS: Final = (list_contexts, create, describe, delete)
