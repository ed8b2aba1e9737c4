"""`tallystick context verify | compact`: keeping documents well."""

from __future__ import annotations

import asyncio
from typing import Final

import click

from tallystick.contexts import Verified
from tallystick_node.cli.connection import Connection, connection_options
from tallystick_node.cli.context import records
from tallystick_node.cli.context.arguments import ACTOR, NAME
from tallystick_node.cli.exits import ExitCode, Failure
from tallystick_node.cli.output import cell, console, size, table, write_json
from tallystick_node.cli.printable import printable

_DIGEST_CHARS: Final = 16
_NAMED: Final = 10


@click.command()
@click.argument("name", metavar="[CONTEXT]", default="")
@click.option("--all", "everywhere", is_flag=True, help="Those of all namespaces.")
@click.option("--deep", is_flag=True, help="By content: each document is read and hashed.")
@connection_options
def verify(connection: Connection, name: str, everywhere: bool, deep: bool) -> None:
    """Compare what the voters hold. A context, those of a namespace, or all. Ends with 1 if they differ.

    While agents edit, nodes differ for moments.
    """
    if name and everywhere:
        raise click.UsageError("CONTEXT or --all, not both")
    asyncio.run(_verify(connection, name, everywhere=everywhere, deep=deep))


async def _verify(connection: Connection, name: str, *, everywhere: bool, deep: bool) -> None:
    async with connection.open() as client:
        if name:
            await client.describe_context(name)
        found = await client.verify_contexts(name, everywhere=everywhere, deep=deep)
    if connection.as_json:
        write_json(records.verified(found))
    else:
        rows = [
            [
                cell(node.node_id),
                cell(node.documents if not node.error else "-"),
                cell(node.digest.hex()[:_DIGEST_CHARS] or "-", style="dim"),
                cell(node.error, style="red"),
            ]
            for node in found.nodes
        ]
        console().print(table(("node", "documents", "digest", ""), rows))
    if not found.equal:
        raise _differing(found)
    if not connection.as_json:
        click.echo("equal")


def _differing(found: Verified) -> Failure:
    silent = [node.node_id for node in found.nodes if node.error]
    if silent and not found.different:
        return Failure(f"{', '.join(silent)} did not answer", ExitCode.UNAVAILABLE, "Ask again when all voters are up.")
    names = [f"{namespace}/{name}" for namespace, name in found.different]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return Failure(
        f"not equal: {', '.join(names[:_NAMED]) or 'the digests differ'}{more}",
        ExitCode.REFUSED,
        "If nobody edits, they are equal within seconds; ask again, and see each node's log if they are not.",
    )


@click.command()
@NAME
@ACTOR
@connection_options
def compact(connection: Connection, name: str, actor: str) -> None:
    """Rebuild a context without its past, in a new epoch. Edits wait for as long as it takes; none is lost."""
    asyncio.run(_compact(connection, name, actor=actor))


async def _compact(connection: Connection, name: str, *, actor: str) -> None:
    async with connection.open(actor=actor) as client:
        done = await client.stored_context(name).compact()
    if connection.as_json:
        write_json(records.compaction(done))
    else:
        before, after = size(done.size_before_bytes), size(done.size_after_bytes)
        click.echo(printable(f"{name} is in epoch {done.info.epoch}: {before} before, {after} now"))


COMMANDS: Final = (verify, compact)
