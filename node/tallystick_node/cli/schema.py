"""`tallystick schema list | show | check | register | migrate`: what events and states must look like."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import IO, cast

import click
import orjson
from rich.console import Console
from rich.text import Text

from tallystick import JSON, Schema
from tallystick.errors import TallystickError
from tallystick.schemas import Compatibility, MigrationReport, SchemaCheck
from tallystick.schemas.registry import AnySchema
from tallystick_node.cli import named, records
from tallystick_node.cli.connection import Connection, connection_options
from tallystick_node.cli.exits import ExitCode, Group
from tallystick_node.cli.output import cell, clock, console, indented_json, table, write_json
from tallystick_node.cli.printable import printable

_COLUMNS = ("subject", "version", "compatibility", "hash", "actor", "registered")
_PROBLEMS = ("of", "path", "rule", "why")
_FAILURES = ("agent", "branch", "why")

_subject = click.argument("subject", metavar="SUBJECT")
_document = click.argument("file", metavar="[FILE]", required=False, type=click.File("rb"))
_model = click.option("--model", "model", metavar="MODULE:NAME", help="A Pydantic model instead of a FILE.")
_compatibility = click.option(
    "--compatibility", type=click.Choice([str(one) for one in Compatibility]), default="backward", show_default=True,
    help="With the version before: `none` says that a migration comes.",
)  # fmt: skip


@click.group(cls=Group)
def schema() -> None:
    """What events and states must look like.

    SUBJECT is "state of PREFIX" (of agents whose names begin so), "state" (of all agents) or "event KIND".
    """


@schema.command("list")
@click.argument("subject", metavar="[SUBJECT]", required=False)
@connection_options
def list_schemas(connection: Connection, subject: str | None) -> None:
    """List versions of schemas.

    Of all, or of one SUBJECT. With --json: JSON Lines, without documents.
    """
    asyncio.run(list_all(connection, subject))


async def list_all(connection: Connection, subject: str | None) -> None:
    """Lists versions."""
    async with connection.open() as client:
        found = [version async for version in client.schemas.list(subject)]
    if connection.as_json:
        for version in found:
            write_json(records.schema(version), indent=False)
        return
    console().print(table(_COLUMNS, [_row(version) for version in found]))


@schema.command()
@_subject
@click.option("--version", type=click.IntRange(1), default=None, help="Which one.  [default: the newest]")
@connection_options
def show(connection: Connection, subject: str, version: int | None) -> None:
    """Show a version: its JSON Schema."""
    asyncio.run(show_one(connection, subject, version or 0))


async def show_one(connection: Connection, subject: str, version: int) -> None:
    """Shows a version; 0: the newest."""
    async with connection.open() as client:
        found = await client.schemas.get(subject, version)
    if connection.as_json:
        write_json(records.schema(found))
        return
    console().print(table(_COLUMNS, [_row(found)]))
    click.echo(printable(indented_json(found.document)))


@schema.command()
@_subject
@_document
@_model
@_compatibility
@click.option(
    "--value", type=click.File("rb"), help="A JSON file: would it be valid? Without FILE: in the newest version."
)
@connection_options
def check(
    connection: Connection,
    subject: str,
    file: IO[bytes] | None,
    model: str | None,
    compatibility: str,
    value: IO[bytes] | None,
) -> None:
    """Say what would be refused, and why.

    What `register` would say of the JSON Schema in FILE, and whether a value is valid. Nothing is changed.
    Exit code 1 if anything would be refused.
    """
    document = None if file is None and model is None else _schema(file, model)
    if document is None and value is None:
        raise click.UsageError("what is to be checked? FILE, --model or --value")
    read = None if value is None else _json(value)
    if not asyncio.run(check_one(connection, subject, document, Compatibility(compatibility), value is not None, read)):
        sys.exit(ExitCode.REFUSED)


async def check_one(
    connection: Connection,
    subject: str,
    document: AnySchema | None,
    compatibility: Compatibility,
    has_value: bool,
    value: JSON,
) -> bool:
    """Shows what would be refused; whether nothing would be."""
    async with connection.open() as client:
        checks: list[SchemaCheck] = []
        if document is not None:
            checks.append(await client.schemas.check(subject, document, compatibility=compatibility))
        if has_value:
            checks.append(await client.schemas.check_value(subject, value, schema=document))
    _show_check(connection, subject, checks)
    return all(made.is_fine for made in checks)


@schema.command()
@_subject
@_document
@_model
@_compatibility
@click.option("--version", type=click.IntRange(1), default=None, help="That it is to get.  [default: the next one]")
@connection_options
def register(
    connection: Connection,
    subject: str,
    file: IO[bytes] | None,
    model: str | None,
    compatibility: str,
    version: int | None,
) -> None:
    """Register the next version of a schema.

    FILE is a JSON Schema; `-`: standard input. The newest one again changes nothing.
    """
    document = _schema(file, model)
    asyncio.run(register_one(connection, subject, document, Compatibility(compatibility), version or 0))


async def register_one(
    connection: Connection, subject: str, document: AnySchema, compatibility: Compatibility, version: int
) -> None:
    """Registers a version; 0: the next one."""
    async with connection.open() as client:
        done = await client.schemas.register(subject, document, version=version, compatibility=compatibility)
    if connection.as_json:
        write_json({**records.schema(done), "replayed": done.replayed})
    else:
        was = " was there before" if done.replayed else ""
        click.echo(printable(f"{done.subject}: version {done.version}{was}"))


@schema.command()
@click.argument("prefix", metavar="PREFIX")
@click.option(
    "--with", "known", metavar="MODULE[:NAME]", required=True, multiple=True,
    help="Upcasters: those of a Python module, or of one name in it. May be repeated.",
)  # fmt: skip
@click.option(
    "--to", "to_version", type=click.IntRange(1), default=None, help="Version.  [default: the upcasters' last]"
)
@click.option("--branches", is_flag=True, help="All branches, not `main` alone.")
@connection_options
def migrate(
    connection: Connection, prefix: str, known: tuple[str, ...], to_version: int | None, branches: bool
) -> None:
    """Bring agents' states to a version.

    Those of agents whose names begin with PREFIX. Run again, it goes on where it was cut.
    Exit code 1 if a state was left behind; the others were not.
    """
    knowledge = [part for text in known for part in named.knowledge(text)]
    if not asyncio.run(migrate_all(connection.knowing(knowledge), prefix, to_version, with_branches=branches)):
        sys.exit(ExitCode.REFUSED)


async def migrate_all(connection: Connection, prefix: str, to_version: int | None, *, with_branches: bool) -> bool:
    """Migrates, showing how far it is on a terminal; whether no state is left behind."""
    terminal = Console(stderr=True, highlight=False)
    shows = terminal.is_terminal and not connection.as_json
    with terminal.status("migrating") if shows else nullcontext() as status:

        def progress(so_far: MigrationReport) -> None:
            if status is not None:
                status.update(printable(f"{_counts(so_far)}  {so_far.log}"))

        async with connection.open() as client:
            report = await client.schemas.migrate(prefix, to_version, branches=with_branches, progress=progress)
    _show_report(connection, report)
    return report.is_complete


def _schema(file: IO[bytes] | None, model: str | None) -> AnySchema:
    if (file is None) == (model is None):
        raise click.UsageError("either FILE or --model")
    given = named.model(model) if model is not None else _json(cast("IO[bytes]", file))
    return cast("AnySchema", given)  # the client looks what it is


def _json(file: IO[bytes]) -> JSON:
    try:
        read: JSON = orjson.loads(file.read())
    except orjson.JSONDecodeError as error:
        raise click.BadParameter(f"{file.name} is not JSON: {error}") from error
    return read


def _row(version: Schema) -> list[Text]:
    return [
        cell(version.subject),
        cell(version.version),
        cell(version.compatibility),
        cell(version.hash.hex()[:12]),
        cell(version.actor or "-"),
        cell(clock(version.time)),
    ]


def _show_check(connection: Connection, subject: str, checks: Sequence[SchemaCheck]) -> None:
    found = [("schema", problem) for made in checks for problem in made.incompatible]
    found += [("value", problem) for made in checks for problem in made.invalid]
    if connection.as_json:
        problems = [{"of": of, "path": each.path, "rule": each.rule, "message": each.message} for of, each in found]
        versions = {"version": checks[0].version, "is_registered": checks[0].is_registered}
        write_json({"subject": subject, **versions, "problems": problems})
    elif found:
        rows = [[cell(of), cell(each.path or "/"), cell(each.rule), cell(each.message)] for of, each in found]
        console().print(table(_PROBLEMS, rows))
    else:
        is_there = "is" if checks[0].is_registered else "would be"
        click.echo(printable(f"{subject}: fine; it {is_there} version {checks[0].version}"))


def _show_report(connection: Connection, report: MigrationReport) -> None:
    if connection.as_json:
        failures = [{"agent": each.agent, "branch": each.branch, **_why(each.error)} for each in report.failures]
        counts = {"migrated": report.migrated, "skipped": report.skipped, "failed": report.failed}
        write_json({**counts, "failures": failures})
        return
    click.echo(_counts(report))
    if report.failures:
        rows = [[cell(each.agent), cell(each.branch), cell(_why(each.error)["message"])] for each in report.failures]
        console().print(table(_FAILURES, rows))


def _counts(report: MigrationReport) -> str:
    return f"{report.migrated} migrated, {report.skipped} there before, {report.failed} failed"


def _why(error: Exception) -> Mapping[str, str]:
    if isinstance(error, TallystickError):
        return {"reason": str(error.reason), "message": str(error)}
    notes = getattr(error, "__notes__", [])
    return {"reason": "", "message": f"{type(error).__name__}: {error}" + "".join(f" ({note})" for note in notes)}
