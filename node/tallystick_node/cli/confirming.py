"""What cannot be taken back is asked for first: of who types, or with --yes."""

from __future__ import annotations

import sys
from typing import Final

import click

from tallystick_node.cli.exits import ExitCode, Failure
from tallystick_node.cli.printable import printable

YES: Final = click.option("--yes", is_flag=True, help="Do not ask.")


def confirm(what: str) -> None:
    """Asks whether this is to be deleted for ever.

    Raises:
        Failure: nobody types, or who does said no.
    """
    if not sys.stdin.isatty():
        raise Failure(f"{what} would be gone for ever", ExitCode.USAGE, "Say --yes if that is meant.")
    if not click.confirm(printable(f"Delete {what} for ever?"), err=True):
        raise Failure("nothing is deleted", ExitCode.REFUSED)
