"""`tallystick status`: every node of the cluster at a glance."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence

import click
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

import tallystick
from tallystick import ContextsStatus, EndpointStatus, NodeStatus, Reason, Role
from tallystick.errors import REASONS
from tallystick_node.cli.connection import Connection, connection_options
from tallystick_node.cli.exits import NOBODY, ExitCode, Failure
from tallystick_node.cli.output import cell, console, size, table, write_json
from tallystick_node.cli.printable import printable

_COLUMNS = (
    "node", "endpoint", "role", "term", "commit", "applied", "durable", "lag",
    "journal", "database", "disk free", "agents", "contexts", "watchers", "alarms",
)  # fmt: skip
_ASK_S = 2.0


@click.command()
@click.option("--watch", is_flag=True, help="Ask again and again, until Ctrl-C.")
@click.option("--interval", "interval_s", type=click.FloatRange(0.1, 3600), default=1.0, metavar="SECONDS",
              show_default=True, help="How often, with --watch.")  # fmt: skip
@connection_options
def status(connection: Connection, watch: bool, interval_s: float) -> None:
    """Show how each node does. The exit code is 3 if the cluster has no leader."""
    if watch:
        asyncio.run(_watch(connection, interval_s))
    else:
        asyncio.run(_once(connection))


async def _once(connection: Connection) -> None:
    async with connection.open() as client:
        found = await _ask(client, connection)
    if connection.as_json:
        write_json([to_json(one) for one in found])
    else:
        console().print(view(found))
    if not any(one.status for one in found):
        raise Failure("no node answers", ExitCode.UNAVAILABLE, NOBODY)
    if not _leaders(found):
        raise Failure(
            "the cluster has no leader", ExitCode.UNAVAILABLE, "Start the nodes that are down: a majority elects one."
        )


async def _watch(connection: Connection, interval_s: float) -> None:
    async with connection.open() as client:
        found = await _ask(client, connection)
        if connection.as_json:
            while True:
                write_json([to_json(one) for one in found], indent=False)
                await asyncio.sleep(interval_s)
                found = await _ask(client, connection)
        with Live(view(found), console=console(), auto_refresh=False) as live:
            while True:
                await asyncio.sleep(interval_s)
                found = await _ask(client, connection)
                live.update(view(found), refresh=True)


async def _ask(client: tallystick.Client, connection: Connection) -> list[EndpointStatus]:
    """All that can be asked, by node. Default endpoints that no node of the cluster has are no news."""
    found = await client.statuses(timeout_s=min(connection.timeout_s, _ASK_S))
    members = {member.client_endpoint for one in found if one.status for member in one.status.members}
    if members and not connection.endpoints_given:
        found = tuple(one for one in found if one.status or one.endpoint in members)
    return sorted(found, key=lambda one: (_name(one, found), one.endpoint))


def _name(one: EndpointStatus, found: Sequence[EndpointStatus]) -> str:
    """Its node id; of one that does not answer, the id by which others know it."""
    if one.status is not None:
        return one.status.node_id
    for other in found:
        for member in other.status.members if other.status else ():
            if member.client_endpoint == one.endpoint:
                return member.node_id
    return "?"


def _leaders(found: Sequence[EndpointStatus]) -> list[NodeStatus]:
    return [one.status for one in found if one.status is not None and one.status.role is Role.LEADER]


def view(found: Sequence[EndpointStatus]) -> Group:
    """A table for people, and below it what is wrong."""
    answers = [one.status for one in found if one.status is not None]
    head = max((answer.commit_index for answer in answers), default=0)
    learners = _learners(found)
    rows = [
        _row(one.endpoint, one.status, head, is_learner=one.status.node_id in learners)
        if one.status
        else _red_row(one, found)
        for one in found
    ]
    parts: list[Table | Text] = [table(_COLUMNS, rows)]
    if not _leaders(found):
        parts.append(Text("no leader", style="bold red"))
    digests = {(answer.applied_index, answer.state_digest) for answer in answers}
    parts += [_alarm(answer, alarm) for answer in answers for alarm in answer.alarms]
    if len(digests) > len({answer.applied_index for answer in answers}):
        parts.append(Text("replicas differ: nodes at one applied index have other digests", style="bold red"))
    return Group(*parts)


def _learners(found: Sequence[EndpointStatus]) -> frozenset[str]:
    """Who counts for no majority: as the leader says, or else whoever answers."""
    witnesses = _leaders(found) or [one.status for one in found if one.status is not None]
    return frozenset(member.node_id for answer in witnesses for member in answer.members if member.is_learner)


def _alarm(answer: NodeStatus, alarm: str) -> Text:
    """An alarm with what to do about it: a code, and behind a colon the node that it is about if it is another."""
    node_id, why = answer.node_id, answer.retention.failure if answer.retention is not None else ""
    code, _, about = alarm.partition(":")
    if code == "DIVERGED":
        who = about or node_id
        text = f"{code}: the state of {who} is not what a majority has. Stop {who}, keep its folder, and replace it."
    elif code == "ARCHIVE":
        text = f"{code}: retention cannot write to the archive {about}, and removes nothing that goes there. {why}"
    elif code in Reason.__members__:
        text = f"{alarm}. {REASONS[Reason(code)].advice}"
    else:
        text = alarm
    return Text(printable(f"{node_id}: {text}"), style="bold red")


def _row(endpoint: str, answer: NodeStatus, head: int, *, is_learner: bool) -> list[Text]:
    lag = max(0, head - answer.applied_index)
    leads = answer.role is Role.LEADER
    return [
        cell(answer.node_id),
        cell(endpoint),
        cell(
            "learner" if is_learner else answer.role,
            "bold green" if leads else "" if answer.role is Role.FOLLOWER and not is_learner else "yellow",
        ),
        cell(answer.term),
        cell(answer.commit_index),
        cell(answer.applied_index),
        cell(answer.durable_index),
        cell(lag, "yellow" if lag else ""),
        cell(size(answer.journal_size_bytes)),
        cell(size(answer.database_size_bytes)),
        cell(size(answer.disk_free_bytes)),
        cell(answer.agents),
        _contexts(answer.contexts),
        cell(answer.watchers),
        cell(", ".join(answer.alarms) or "-", "bold red" if answer.alarms else ""),
    ]


def _contexts(contexts: ContextsStatus | None) -> Text:
    """How many; with what wants a look: a worker that is down, what was set aside because it killed one."""
    if contexts is None:
        return cell("-")
    if not contexts.is_up:
        return cell("down", "bold red")
    if contexts.set_aside:
        return cell(f"{contexts.documents}, {contexts.set_aside} set aside", "yellow")
    return cell(contexts.documents)


def _red_row(one: EndpointStatus, found: Sequence[EndpointStatus]) -> list[Text]:
    texts = [_name(one, found), one.endpoint, "unreachable", *["-"] * (len(_COLUMNS) - 4), _why(one)]
    return [cell(text, "red") for text in texts]


def _why(one: EndpointStatus) -> str:
    return "" if one.error is None else str(one.error.reason)


def to_json(one: EndpointStatus) -> dict[str, object]:
    """For programs: the endpoint, and either `status` or `error` (the other is null)."""
    answer: dict[str, object] | None = None
    if one.status is not None:
        answer = dataclasses.asdict(one.status)
        answer["revision"] = str(one.status.revision)
        answer["state_digest"] = one.status.state_digest.hex()
    error = None if one.error is None else {"reason": str(one.error.reason), "message": one.error.message}
    return {"endpoint": one.endpoint, "status": answer, "error": error}
