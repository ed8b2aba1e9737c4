"""`tallystick serve`: one node, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import click
import uvloop

from tallystick_node.cli import logs
from tallystick_node.cli.exits import ExitCode, Failure
from tallystick_node.config.loading import load
from tallystick_node.config.settings import SETTINGS
from tallystick_node.config.values import NodeConfig
from tallystick_node.contexts.worker.parent import ParentGone, die_with
from tallystick_node.storage.errors import (
    DatabaseDamaged,
    DataFolderInUse,
    IdentityDamaged,
    JournalDamaged,
    StorageError,
)


def _options(command: Callable[..., None]) -> Callable[..., None]:
    """A flag for each row of the table of settings. Values stay text: `load` reads all places alike."""
    for setting in reversed(SETTINGS):
        default = "" if setting.default in (None, (), False) else f"  [default: {setting.default}]"
        text = setting.help + default
        if isinstance(setting.default, bool):
            flags = f"{setting.flag}/--no-{setting.name}"
            command = click.option(flags, setting.name, default=None, help=text)(command)
        else:
            command = click.option(
                setting.flag, setting.name, metavar=setting.metavar, multiple=setting.is_list, help=text
            )(command)
    return command


@click.command(context_settings={"max_content_width": 120})
@click.option(
    "--config",
    "config_file",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="TALLYSTICK_CONFIG",
    help='A TOML file with the settings below, e.g. node_id = "a".',
)
@_options
@click.option("--exit-with-parent", type=int, metavar="PID", hidden=True)
def serve(config_file: Path | None, exit_with_parent: int | None, **flags: object) -> None:
    """Run one node until SIGTERM or Ctrl-C.

    Each setting can be a flag (--node-id a), an environment variable (TALLYSTICK_NODE_ID=a) or a line of the file given
    with --config (node_id = "a"); the first found in this order counts. Without --member, the node is a cluster of
    its own.
    """
    if exit_with_parent is not None:
        _die_with(exit_with_parent)
    given = {name: value for name, value in flags.items() if value is not None and value != ()}
    config = load(given, os.environ, config_file)
    logs.set_up(config.log_level, config.log_format)
    _run(config)


def _run(config: NodeConfig) -> None:
    # Imported here: a wrong setting is said before a node's packages are loaded.
    from tallystick_node import node

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(node.serve(config))
    except StorageError as error:
        raise Failure(str(error), _code_of(error)) from error


def _code_of(error: StorageError) -> ExitCode:
    if isinstance(error, (JournalDamaged, IdentityDamaged, DatabaseDamaged)):
        return ExitCode.CORRUPT
    return ExitCode.UNAVAILABLE if isinstance(error, DataFolderInUse) else ExitCode.REFUSED


def _die_with(parent_pid: int) -> None:
    """A node loses nothing by being killed."""
    try:
        die_with(parent_pid)
    except ParentGone as error:
        raise Failure("the process that started this node is gone", ExitCode.UNAVAILABLE) from error
