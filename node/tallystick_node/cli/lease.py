"""`tallystick lease list | show | release`: who may write which agent's log, and taking that away."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import click

from tallystick import LeaseChange, LeaseInfo
from tallystick_node.cli import records
from tallystick_node.cli.branches import branch_option
from tallystick_node.cli.connection import Connection, connection_options
from tallystick_node.cli.exits import Group
from tallystick_node.cli.output import cell, clock, console, table, write_json

_COLUMNS = ("agent", "branch", "lease", "epoch", "holder", "ttl", "since")
_STYLES = {LeaseChange.ACQUIRED: "green", LeaseChange.EXPIRED: "red", LeaseChange.RELEASED: ""}


@click.group(cls=Group)
def lease() -> None:
    """Who may write which agent's log."""


@lease.command("list")
@click.option("--prefix", default="", help="Only agents whose names begin so.")
@click.option("--held", is_flag=True, help="Only leases that are held now.")
@connection_options
def list_leases(connection: Connection, prefix: str, *, held: bool) -> None:
    """List leases, those that ended too. An expired one was left by a holder that stopped. With --json: JSON Lines."""
    asyncio.run(_list(connection, prefix, only_held=held))


async def _list(connection: Connection, prefix: str, *, only_held: bool) -> None:
    async with connection.open() as client:
        infos = [info async for info in client.leases(prefix=prefix) if info.is_held or not only_held]
    if connection.as_json:
        for info in infos:
            write_json(records.lease(info), indent=False)
        return
    _show(infos)


@lease.command()
@click.argument("name", metavar="AGENT")
@branch_option
@connection_options
def show(connection: Connection, name: str, branch: str) -> None:
    """Show the lease of an agent."""
    asyncio.run(show_one(connection, name, branch))


async def show_one(connection: Connection, name: str, branch: str) -> None:
    """Shows the lease of a branch of an agent."""
    async with connection.open() as client:
        info = await client.agent(name, branch=branch).describe_lease()
    _print(connection, info)


@lease.command()
@click.argument("name", metavar="AGENT")
@click.option("--epoch", type=click.IntRange(1), required=True, help="The lease that is meant; `show` tells it.")
@branch_option
@connection_options
def release(connection: Connection, name: str, epoch: int, branch: str) -> None:
    """End a lease, whoever holds it. The next one need not wait for its time, and its holder writes no more."""
    asyncio.run(release_one(connection, name, epoch, branch))


async def release_one(connection: Connection, name: str, epoch: int, branch: str) -> None:
    """Ends the lease of a branch of an agent."""
    async with connection.open() as client:
        info = await client.agent(name, branch=branch).release_lease(epoch)
    _print(connection, info)


def _print(connection: Connection, info: LeaseInfo) -> None:
    if connection.as_json:
        write_json(records.lease(info))
    elif info.change is None:
        click.echo(f"the lease of {info.agent} was never acquired")
    else:
        _show([info])


def _show(infos: Sequence[LeaseInfo]) -> None:
    rows = [
        [
            cell(info.agent),
            cell(info.branch),
            cell("held" if info.is_held else info.change or "-", _STYLES[info.change] if info.change else ""),
            cell(info.epoch),
            cell(info.holder),
            cell(f"{info.ttl_ms / 1000:g} s"),
            cell(clock(info.since)),
        ]
        for info in infos
    ]
    console().print(table(_COLUMNS, rows))
