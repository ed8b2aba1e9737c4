"""Waiting for a learner: it is shown how it gets on, and made a voter when it has the log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import click

import tallystick
from tallystick import MemberInfo, Unavailable
from tallystick.errors import Reason
from tallystick_node.cli.exits import ExitCode, Failure

CAUGHT_UP_ENTRIES: Final = 64
"""A lag up to this is that of a member at work; whether it may be promoted, the leader decides."""

_POLL_S: Final = 0.5


async def wait(
    client: tallystick.Client, node_id: str, *, within_s: float, promotes: bool, say: Callable[[str], None]
) -> tuple[MemberInfo, ...]:
    """The members, once this one has caught up, and is a voter if that was asked for.

    Raises:
        Failure: it is no member any more, or has not caught up in time.
    """
    try:
        async with asyncio.timeout(within_s):
            while True:
                members = await _look(client, node_id, say)
                if members is not None and not promotes:
                    return members
                if members is not None and await _promoted(client, node_id):
                    return await client.members.list()
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        raise Failure(
            f"{node_id} has not caught up within {within_s:g} s; it is a learner",
            ExitCode.UNAVAILABLE,
            f"It goes on by itself. Later: tallystick member promote {node_id}",
        ) from None


async def _look(client: tallystick.Client, node_id: str, say: Callable[[str], None]) -> tuple[MemberInfo, ...] | None:
    """The members, if this one has caught up."""
    try:
        members = await client.members.list()
    except Unavailable:
        say("no leader answers")
        return None
    found = next((one for one in members if one.node_id == node_id), None)
    if found is None:
        raise Failure(f"{node_id} is no member any more", ExitCode.REFUSED)
    if not found.connected:
        say("not connected: does it run, with --join?")
        return None
    say(f"lag {found.lag_entries}")
    return members if found.lag_entries is not None and found.lag_entries <= CAUGHT_UP_ENTRIES else None


async def _promoted(client: tallystick.Client, node_id: str) -> bool:
    """Whether it was promoted; not while it lacks too much."""
    try:
        await client.members.promote(node_id)
    except Unavailable as error:
        if error.reason is not Reason.LEARNER_BEHIND:
            raise
        return False
    return True


def teller(node_id: str) -> Callable[[str], None]:
    """Says on stderr what is new, a line each."""
    said = ""

    def say(text: str) -> None:
        nonlocal said
        if text != said:
            click.echo(f"{node_id}: {text}", err=True)
        said = text

    return say
