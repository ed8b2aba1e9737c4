"""`tallystick agent export`: a log in a file that verifies without any node."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import IO

import click

from tallystick.history.export import export
from tallystick.history.export_format import Sign
from tallystick_node.cli import keys
from tallystick_node.cli.branches import branch_option
from tallystick_node.cli.connection import Connection, connection_options
from tallystick_node.cli.exits import ExitCode, Failure
from tallystick_node.cli.output import size, write_json
from tallystick_node.cli.printable import printable

_TOLD_EVERY_BYTES = 1024 * 1024


@click.command("export")
@click.argument("name", metavar="AGENT")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--sign",
    "key",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="PEM file of a private key of Ed25519.",
)
@click.option("--overwrite", is_flag=True, help="Replace the file if it is there.")
@branch_option
@connection_options
def export_log(
    connection: Connection, name: str, branch: str, file: Path, key: Path | None, *, overwrite: bool
) -> None:
    """Write a log to a file that verifies anywhere.

    `tallystick verify export` reads it. FILE is whole, or not there.
    """
    if file.exists() and not overwrite:
        raise Failure(f"{file} exists", ExitCode.REFUSED, "Choose another name, or say --overwrite.")
    sign = keys.load_sign(key) if key is not None else None
    lines, size_bytes = asyncio.run(_export(connection, name, branch, file, sign))
    if connection.as_json:
        write_json({"agent": name, "file": str(file), "records": lines - 2, "size_bytes": size_bytes})
    else:
        click.echo(printable(f"{name}: {lines - 2} records, {size(size_bytes)}, in {file}"))


async def _export(connection: Connection, name: str, branch: str, file: Path, sign: Sign | None) -> tuple[int, int]:
    lines = size_bytes = told = 0
    with _replacing(file) as out:
        async with (
            connection.open() as client,
            aclosing(export(client.agent(name, branch=branch), sign=sign)) as written,
        ):
            async for line in written:
                out.write(line)
                lines += 1
                size_bytes += len(line)
                if sys.stderr.isatty() and size_bytes - told > _TOLD_EVERY_BYTES:
                    told = size_bytes
                    click.echo(f"\r\x1b[K{size(size_bytes)}", err=True, nl=False)
        out.flush()
        os.fsync(out.fileno())
    return lines, size_bytes


@contextmanager
def _replacing(file: Path) -> Iterator[IO[bytes]]:
    """A new file beside it that takes its place when all is written."""
    handle, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    written = False
    try:
        with os.fdopen(handle, "wb") as out:
            yield out
        Path(name).rename(file)
        written = True
    finally:
        if not written:
            Path(name).unlink()
