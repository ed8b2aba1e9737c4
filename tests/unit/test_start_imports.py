"""What a start does not load: a node's start, twice over for its worker, is mostly imports."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

import click
import pytest
from click.testing import CliRunner

from tallystick_node.cli import main

LATER: Final = "jsonschema jsonschema_rs rich prometheus_client websockets"
"""With the first schema, the first table that is drawn, the HTTP port."""


def _loaded(code: str, names: str) -> set[str]:
    """Which of these modules are loaded after this code, in a process of its own."""
    program = f"import sys\n{code}\nprint(*(name for name in {names!r}.split() if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("import tallystick_node.cli.serve, tallystick_node.node", LATER),
        ("import tallystick_node.contexts.worker.__main__", f"{LATER} grpc click"),
        ("import tallystick_node.cli.status, tallystick_node.cli.agent", "pysyncobj pycrdt sqlite3 uvloop"),
        ("import tallystick_node.cli", f"{LATER} grpc asyncio pysyncobj pycrdt sqlite3 uvloop"),
    ],
    ids=["node", "worker", "client's commands", "help"],
)
def test_no_start_loads_what_it_may_never_need(code: str, names: str) -> None:
    assert _loaded(code, names) == set()


def test_help_says_of_each_command_what_the_command_says() -> None:
    shown = CliRunner().invoke(main, ["--help"]).stdout
    context = click.Context(main)
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        assert f"{name} {command.get_short_help_str(limit=200)}" in " ".join(shown.split())
