"""What the commands on contexts are given: a name, who acts, a point in the past."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime
from typing import Final, TypeAlias

import click

import tallystick
from tallystick.errors import TallystickError
from tallystick_node.cli.connection import DEFAULT_ENDPOINTS

At: TypeAlias = int | datetime | str
"""A point in the past: a number, a time, a version."""

_COMPLETE_S: Final = 1.0
_COMPLETED: Final = 100
_NUMBER_DIGITS: Final = 18


def _complete(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """The contexts' names, for the shell; nothing if nobody answers at once."""
    endpoints = str(ctx.params.get("endpoints") or DEFAULT_ENDPOINTS)
    namespace = str(ctx.params.get("namespace") or "default")

    async def ask() -> list[str]:
        names: list[str] = []
        async with (
            tallystick.connect(endpoints, namespace=namespace, timeout_s=_COMPLETE_S) as client,
            contextlib.aclosing(client.contexts(prefix=incomplete)) as infos,
        ):
            async for info in infos:
                names.append(info.name)
                if len(names) == _COMPLETED:
                    break
        return names

    with contextlib.suppress(TallystickError, OSError):
        return asyncio.run(ask())
    return []


NAME: Final = click.argument("name", metavar="CONTEXT", shell_complete=_complete)
ACTOR: Final = click.option(
    "--actor", default="cli", show_default=True, envvar="TALLYSTICK_ACTOR", help="Who does it, for the record."
)
LIMIT: Final = click.IntRange(1, 100_000)


def parse_at(text: str) -> At:
    """A number of a node's update log, a time (ISO 8601; UTC unless it says otherwise), or the name of a version.

    `version:NAME` is a version, whatever it looks like. UsageError for what is none of these.
    """
    if text.startswith("version:"):
        return _version(text.removeprefix("version:"))
    if text.isascii() and text.isdigit() and len(text) <= _NUMBER_DIGITS:
        if int(text) == 0:
            raise click.UsageError("updates are numbered from 1 on")
        return int(text)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return _version(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _version(name: str) -> str:
    if not name:
        raise click.UsageError("--at is a number, a time or the name of a version")
    return name
