"""`tallystick member list | add | promote | remove | lead`: who is of the cluster, and who leads it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Sequence
from typing import Final

import click

import tallystick
from tallystick import MemberInfo, TallystickError
from tallystick_node.cli import catching_up
from tallystick_node.cli.connection import DEFAULT_ENDPOINTS, Connection, connection_options
from tallystick_node.cli.exits import ExitCode, Failure, Group
from tallystick_node.cli.output import cell, console, table, write_json

_COLUMNS: Final = ("node", "role", "votes", "clients", "peers", "lag", "connected")
_COMPLETE_S: Final = 1.0


@click.group(cls=Group)
def member() -> None:
    """Who is of the cluster, and who leads it."""


@member.command("list")
@connection_options
def list_members(connection: Connection) -> None:
    """List voters and learners, as the leader sees them."""
    asyncio.run(_list(connection))


async def _list(connection: Connection) -> None:
    async with connection.open() as client:
        _show(connection, await client.members.list())


def _show(connection: Connection, members: Sequence[MemberInfo]) -> None:
    if connection.as_json:
        write_json([dataclasses.asdict(one) for one in members])
        return
    rows = [
        [
            cell(one.node_id),
            cell("leader" if one.is_leader else "follower", "bold green" if one.is_leader else ""),
            cell("learner" if one.is_learner else "voter", "yellow" if one.is_learner else ""),
            cell(one.client_endpoint),
            cell(one.peer_endpoint),
            cell("-" if one.lag_entries is None else one.lag_entries, "yellow" if one.lag_entries else ""),
            cell("yes" if one.connected else "no", "" if one.connected else "red"),
        ]
        for one in members
    ]
    console().print(table(_COLUMNS, rows))


def _complete(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """The members' ids, for the shell; nothing if nobody answers at once."""
    endpoints = ctx.params.get("endpoints") or DEFAULT_ENDPOINTS

    async def ask() -> list[str]:
        async with tallystick.connect(str(endpoints), namespace="default", timeout_s=_COMPLETE_S) as client:
            return [one.node_id for one in (await client.status()).members]

    with contextlib.suppress(TallystickError, OSError):
        return [node_id for node_id in asyncio.run(ask()) if node_id.startswith(incomplete)]
    return []


_NODE_ID = click.argument("node_id", metavar="NODE", shell_complete=_complete)


@member.command()
@click.argument("node_id", metavar="NODE")
@click.option("--client", "client_endpoint", metavar="HOST:PORT", required=True, help="Where clients reach it.")
@click.option("--peer", "peer_endpoint", metavar="HOST:PORT", required=True, help="Where the other nodes reach it.")
@click.option("--wait", is_flag=True, help="Wait until it has caught up, then make it a voter.")
@click.option("--learner", is_flag=True, help="With --wait: leave it a learner.")
@click.option(
    "--within", "within_s", type=click.FloatRange(1, 86_400), default=600.0, show_default=True,
    metavar="SECONDS", help="Give up waiting after this long; it stays a learner.",
)  # fmt: skip
@connection_options
def add(
    connection: Connection,
    node_id: str,
    client_endpoint: str,
    peer_endpoint: str,
    wait: bool,
    learner: bool,
    within_s: float,
) -> None:
    """Add a node as a learner. It was started with `tallystick serve --join`.

    A learner is sent the log and counts for no majority. With --wait it becomes a voter once it has caught up;
    without, `tallystick member promote` makes it one.
    """
    asyncio.run(
        _add(connection, node_id, (client_endpoint, peer_endpoint), wait=wait, learner=learner, within_s=within_s)
    )


async def _add(
    connection: Connection, node_id: str, endpoints: tuple[str, str], *, wait: bool, learner: bool, within_s: float
) -> None:
    async with connection.open() as client:
        members = await client.members.add(node_id, client_endpoint=endpoints[0], peer_endpoint=endpoints[1])
        if wait:
            say = catching_up.teller(node_id)
            members = await catching_up.wait(client, node_id, within_s=within_s, promotes=not learner, say=say)
        _show(connection, members)
    if not wait and not connection.as_json:
        click.echo(f"{node_id} is a learner; once its lag is small: tallystick member promote {node_id}", err=True)


@member.command()
@_NODE_ID
@connection_options
def promote(connection: Connection, node_id: str) -> None:
    """Make a learner a voter. Refused while it lacks much of the log."""
    asyncio.run(_promote(connection, node_id))


async def _promote(connection: Connection, node_id: str) -> None:
    async with connection.open() as client:
        _show(connection, await client.members.promote(node_id))


@member.command()
@_NODE_ID
@click.option("--yes", is_flag=True, help="Even if too few of the voters left are connected.")
@connection_options
def remove(connection: Connection, node_id: str, yes: bool) -> None:
    """Take a node out of the cluster, running or not.

    Refused without --yes if the voters that are left and connected would be no majority: nothing could be decided any
    more.
    """
    asyncio.run(_remove(connection, node_id, yes=yes))


async def _remove(connection: Connection, node_id: str, *, yes: bool) -> None:
    async with connection.open() as client:
        if not yes:
            check_majority(await client.members.list(), node_id)
        left = await client.members.remove(node_id)
        _show(connection, left)
    voters = sum(not one.is_learner for one in left)
    if voters < 3 and not connection.as_json:
        click.echo(f"{voters} voter{'s' if voters > 1 else ''} left: no failure is survived", err=True)


def check_majority(members: Sequence[MemberInfo], node_id: str) -> None:
    """Refuses to remove a voter where the connected ones of those left would be no majority.

    Raises:
        Failure: it would be lost.
    """
    if all(one.is_learner for one in members if one.node_id == node_id):
        return  # no voter: majorities stay as they are
    left = [one for one in members if one.node_id != node_id and not one.is_learner]
    connected = sum(one.connected for one in left)
    if 2 * connected <= len(left):
        raise Failure(
            f"without {node_id} there are {len(left)} voters, {connected} of them connected: nothing could be decided",
            ExitCode.REFUSED,
            "Start the others first, or add and promote a node; --yes removes it nevertheless.",
        )


@member.command()
@click.argument("node_id", metavar="[NODE]", required=False, shell_complete=_complete)
@connection_options
def lead(connection: Connection, node_id: str | None) -> None:
    """Hand leadership over.

    To this voter, or to whoever has most of the log. Nothing is lost, nobody waits for long.
    """
    asyncio.run(_lead(connection, node_id))


async def _lead(connection: Connection, node_id: str | None) -> None:
    async with connection.open() as client:
        leader = await client.members.transfer_leadership(node_id)
    if connection.as_json:
        write_json({"leader_id": leader})
    else:
        click.echo(f"{leader} leads")
