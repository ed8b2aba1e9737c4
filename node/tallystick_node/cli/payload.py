"""`tallystick payload put | get | list | show`: large values, by their names."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from functools import partial
from pathlib import Path

import click
import orjson

from tallystick import PayloadInfo, PayloadProgress, PayloadRef
from tallystick_node.cli.connection import Connection, connection_options
from tallystick_node.cli.exits import ExitCode, Failure, Group
from tallystick_node.cli.output import cell, clock, console, counted, size, table, write_json

_COLUMNS = ("payload", "size", "chunks", "named", "touched", "by")
_STDIO = Path("-")
_READ_BYTES = 1024 * 1024
_FILE = click.Path(dir_okay=False, allow_dash=True, path_type=Path)


@click.group(cls=Group)
def payload() -> None:
    """Large values, stored once and named in what agents store."""


@payload.command()
@click.argument("file", type=_FILE)
@connection_options
def put(connection: Connection, file: Path) -> None:
    """Store a file (-: what comes in) and print what names it in a value.

    Only chunks that the namespace lacks travel. What no log names is collected a day later.
    """
    asyncio.run(put_one(connection, file))


async def put_one(connection: Connection, file: Path) -> None:
    """Stores a file."""
    async with connection.open() as client:
        with _Shown("put") as shown:
            ref = await client.payloads.put(_incoming() if file == _STDIO else file, progress=shown.tell)
    write_json(dict(ref), indent=False)


@payload.command()
@click.argument("name", metavar="PAYLOAD")
@click.argument("file", type=_FILE)
@click.option("--overwrite", is_flag=True, help="Replace the file if it is there.")
@connection_options
def get(connection: Connection, name: str, file: Path, *, overwrite: bool) -> None:
    """Write a payload to a file (-: to where output goes).

    PAYLOAD is its id, or the JSON that `put` printed.

    FILE is whole, or not there; called again, it goes on where it ended.
    """
    if file != _STDIO and file.exists() and not overwrite:
        raise Failure(f"{file} exists", ExitCode.REFUSED, "Choose another name, or say --overwrite.")
    asyncio.run(get_one(connection, name, file))


async def get_one(connection: Connection, name: str, file: Path) -> None:
    """Writes a payload to a file."""
    ref = _named(name)
    async with connection.open() as client:
        if file == _STDIO:
            async with aclosing(client.payloads.open(ref)) as pieces:
                async for piece in pieces:
                    sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
            return
        with _Shown("get") as shown:
            await client.payloads.save(ref, file, progress=shown.tell)
        if connection.as_json:
            write_json({"payload": ref.id, "file": str(file), "size_bytes": shown.done_bytes})


@payload.command("list")
@connection_options
def list_payloads(connection: Connection) -> None:
    """List payloads, by id. With --json: JSON Lines."""
    asyncio.run(list_all(connection))


async def list_all(connection: Connection) -> None:
    """Lists all payloads of the namespace."""
    async with connection.open() as client:
        infos = [info async for info in client.payloads.list()]
        stored_bytes = await client.payloads.stored_bytes()
    if connection.as_json:
        for info in infos:
            write_json(_record(info), indent=False)
        return
    _show(infos)
    click.echo(f"{counted(len(infos), 'payload')}, {size(stored_bytes)} stored")


@payload.command()
@click.argument("name", metavar="PAYLOAD")
@connection_options
def show(connection: Connection, name: str) -> None:
    """Show a payload: its size, how many places name it.

    PAYLOAD is its id, or the JSON that `put` printed.
    """
    asyncio.run(show_one(connection, name))


async def show_one(connection: Connection, name: str) -> None:
    """Shows one payload."""
    async with connection.open() as client:
        info = await client.payloads.describe(_named(name))
    if connection.as_json:
        write_json(_record(info))
    else:
        _show([info])


class _Shown:
    """How far it is, on one line of a terminal."""

    def __init__(self, verb: str) -> None:
        self.done_bytes = 0
        self._verb = verb
        self._is_shown = sys.stderr.isatty()

    def __enter__(self) -> _Shown:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_shown:
            click.echo("\r\x1b[K", err=True, nl=False)

    def tell(self, progress: PayloadProgress) -> None:
        """The whole so far, and what of it travelled."""
        self.done_bytes = progress.done_bytes
        if self._is_shown:
            of = "" if progress.total_bytes is None else f" of {size(progress.total_bytes)}"
            text = f"{self._verb} {size(progress.done_bytes)}{of}, {size(progress.moved_bytes)} moved"
            click.echo(f"\r\x1b[K{text}", err=True, nl=False)


def _named(text: str) -> PayloadRef:
    """An id, or what names the payload in a value: who pastes has either."""
    if not text.startswith("{"):
        return PayloadRef(text, 0)
    try:
        return PayloadRef.of(orjson.loads(text))
    except orjson.JSONDecodeError as error:
        raise click.BadParameter(f"{text} is not JSON: {error}") from error


def _incoming() -> Iterator[bytes]:
    return iter(partial(sys.stdin.buffer.read, _READ_BYTES), b"")


def _record(info: PayloadInfo) -> dict[str, object]:
    return {
        "payload": info.id,
        "size_bytes": info.size_bytes,
        "chunks": info.chunks,
        "references": info.references,
        "created": clock(info.created),
        "touched": clock(info.touched),
        "actor": info.actor,
        "revision": str(info.revision),
    }


def _show(infos: Sequence[PayloadInfo]) -> None:
    rows = [
        [
            cell(info.id),
            cell(size(info.size_bytes)),
            cell(info.chunks),
            cell(info.references, "" if info.references else "yellow"),
            cell(clock(info.touched)),
            cell(info.actor),
        ]
        for info in infos
    ]
    console().print(table(_COLUMNS, rows))
