"""`tallystick retention show | set | plan | run`: how much of agents' logs a namespace keeps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import click
from rich.text import Text

from tallystick import RetainedLog, RetentionInfo, RetentionPlan, RetentionPolicy
from tallystick_node.cli.amounts import duration, read_duration, read_size
from tallystick_node.cli.connection import Connection, connection_options
from tallystick_node.cli.exits import ExitCode, Failure, Group
from tallystick_node.cli.output import cell, clock, console, counted, size, table, write_json
from tallystick_node.cli.printable import printable

F = TypeVar("F", bound=Callable[..., None])
_COLUMNS = ("agent", "branch", "first", "head", "would go", "size", "first then", "held by")


def _policy_options(command: F) -> F:
    for option in (
        click.option("--archive", default="", metavar="NAME", help="Where what goes is written first; see `serve`."),
        click.option("--max-size", "max_log_bytes", callback=read_size, metavar="SIZE", help="Of a log: 64MiB."),
        click.option("--max-mutations", type=click.IntRange(1), default=None, help="The newest so many of a log stay."),
        click.option("--max-age", "max_age_s", callback=read_duration, metavar="AGE", help="Older ones go: 30d."),
    ):
        command = option(command)
    return command


@click.group(cls=Group)
def retention() -> None:
    """How much of agents' logs is kept."""


@retention.command()
@connection_options
def show(connection: Connection) -> None:
    """Show how much the namespace keeps of each log."""
    asyncio.run(show_policy(connection))


async def show_policy(connection: Connection) -> None:
    """Shows the policy."""
    async with connection.open() as client:
        info = await client.retention.get()
    _print(connection, info)


@retention.command("set")
@_policy_options
@click.option("--keep-all", is_flag=True, help="Remove nothing, which is how a namespace begins.")
@connection_options
def set_retention(
    connection: Connection,
    max_age_s: int,
    max_mutations: int | None,
    max_log_bytes: int,
    archive: str,
    *,
    keep_all: bool,
) -> None:
    """Say how much the namespace keeps of each log.

    All of it is said: what is not named has no bound. Nothing goes at once: look at `tallystick retention plan` before
    the leader's next run.
    """
    policy = RetentionPolicy(max_age_s, max_mutations or 0, max_log_bytes, archive)
    if keep_all == _is_bounded(policy) or (keep_all and archive):
        raise click.UsageError("name --max-age, --max-mutations or --max-size, or else --keep-all alone")
    asyncio.run(set_policy(connection, policy))


async def set_policy(connection: Connection, policy: RetentionPolicy) -> None:
    """Sets the policy, and shows it."""
    async with connection.open() as client:
        info = await client.retention.set(policy)
    _print(connection, info)


@retention.command()
@click.option("--prefix", default="", help="Only agents whose names begin so.")
@_policy_options
@connection_options
def plan(
    connection: Connection, prefix: str, max_age_s: int, max_mutations: int | None, max_log_bytes: int, archive: str
) -> None:
    """Show what would go of each log now, and what holds the rest. Nothing is changed. With --json: JSON Lines.

    With bounds it is what would go by them, in place of those that are set.
    """
    policy = RetentionPolicy(max_age_s, max_mutations or 0, max_log_bytes, archive)
    if archive and not _is_bounded(policy):
        raise click.UsageError("--archive goes with --max-age, --max-mutations or --max-size")
    asyncio.run(show_plan(connection, prefix, policy if _is_bounded(policy) else None))


async def show_plan(connection: Connection, prefix: str, policy: RetentionPolicy | None) -> None:
    """Shows what would go."""
    rows: list[list[Text]] = []
    mutations = size_bytes = 0
    async with connection.open() as client:
        async for each in client.retention.plan(policy, prefix=prefix):
            if connection.as_json:
                write_json(_plan_record(each), indent=False)
            mutations, size_bytes = mutations + each.mutations, size_bytes + each.size_bytes
            rows.append(_row(each))
    if connection.as_json:
        return
    if rows:
        console().print(table(_COLUMNS, rows))
    click.echo(f"{counted(mutations, 'mutation')} would go, {size(size_bytes)}")


@retention.command()
@click.option("--prefix", default="", help="Only agents whose names begin so.")
@connection_options
def run(connection: Connection, prefix: str) -> None:
    """Have the leader remove now what is due.

    It does so from time to time; this shows what went. With --json: JSON Lines. The exit code is 3 if anything that was
    due is left, for example because an archive could not be written to.
    """
    asyncio.run(run_now(connection, prefix))


async def run_now(connection: Connection, prefix: str) -> None:
    """Has the policy run, and shows what went of each log as it does."""
    mutations = failures = 0
    async with connection.open() as client:
        async for done in client.retention.run(prefix=prefix):
            mutations += done.mutations
            failures += bool(done.failure)
            if connection.as_json:
                write_json(_retained_record(done), indent=False)
            else:
                console().print(Text(printable(_told(done)), style="bold red" if done.failure else ""), soft_wrap=True)
    if not connection.as_json:
        click.echo(f"{counted(mutations, 'mutation')} went")
    if failures:
        raise Failure(
            f"of {counted(failures, 'log')} not all went that was due", ExitCode.UNAVAILABLE, "See above why."
        )


def _is_bounded(policy: RetentionPolicy) -> bool:
    return bool(policy.max_age_s or policy.max_mutations or policy.max_log_bytes)


def _print(connection: Connection, info: RetentionInfo) -> None:
    policy = info.policy
    if connection.as_json:
        write_json(
            {
                "max_age_s": policy.max_age_s,
                "max_mutations": policy.max_mutations,
                "max_log_bytes": policy.max_log_bytes,
                "archive": policy.archive,
                "actor": info.actor,
                "time": clock(info.time) if info.revision.position else None,
                "revision": str(info.revision) if info.revision.position else None,
            }
        )
        return
    bounds = [
        *([f"no older than {duration(policy.max_age_s)}"] if policy.max_age_s else []),
        *([f"the newest {counted(policy.max_mutations, 'mutation')}"] if policy.max_mutations else []),
        *([f"at most {size(policy.max_log_bytes)}"] if policy.max_log_bytes else []),
    ]
    kept = f"of each log is kept: {', '.join(bounds)}" if bounds else "of each log all is kept"
    archive = f"; what goes is archived in {policy.archive}" if policy.archive else ""
    by = f"; set by {info.actor or '-'}, {clock(info.time)}" if info.revision.position else ""
    click.echo(printable(kept + archive + by))


def _row(each: RetentionPlan) -> list[Text]:
    held = ", ".join(f"{held.hold} {held.detail} at {held.seq}" for held in each.held)
    return [
        cell(each.agent),
        cell(each.branch),
        cell(each.first_seq),
        cell(each.head_seq),
        cell(each.mutations),
        cell(size(each.size_bytes)),
        cell(each.below_seq),
        cell(held or "-", "yellow" if held else ""),
    ]


def _plan_record(each: RetentionPlan) -> dict[str, object]:
    return {
        "agent": each.agent,
        "branch": each.branch,
        "first_seq": each.first_seq,
        "head_seq": each.head_seq,
        "below_seq": each.below_seq,
        "wanted_below_seq": each.wanted_below_seq,
        "mutations": each.mutations,
        "size_bytes": each.size_bytes,
        "checkpoints": each.checkpoints,
        "held": [{"hold": held.hold, "seq": held.seq, "detail": held.detail} for held in each.held],
    }


def _retained_record(done: RetainedLog) -> dict[str, object]:
    return {
        "agent": done.agent,
        "branch": done.branch,
        "first_seq": done.first_seq,
        "mutations": done.mutations,
        "size_bytes": done.size_bytes,
        "checkpoints": done.checkpoints,
        "archived_to": done.archived_to,
        "failure": done.failure,
    }


def _told(done: RetainedLog) -> str:
    name = done.agent if done.branch == "main" else f"{done.agent}, branch {done.branch}"
    went = f"{counted(done.mutations, 'mutation')} went, {size(done.size_bytes)}; it begins at {done.first_seq}"
    archive = f"; in {done.archived_to}" if done.archived_to else ""
    failure = f"; {done.failure}" if done.failure else ""
    return f"{name}: {went}{archive}{failure}"
