"""How the command line ends: one exit code per kind of failure, one sentence per failure.

| code | meaning |
|---|---|
| 0 | done |
| 1 | refused: not found, in conflict, denied, a file that cannot be used; unchanged, it will be refused again |
| 2 | usage: a wrong flag, argument or setting |
| 3 | unavailable: no leader, no node, a port in use; trying again may help |
| 4 | undecided: the outcome of a write is not known |
| 5 | corrupt: stored data is damaged |
| 130 | stopped by Ctrl-C |

Rules of this file: a traceback is for bugs only. What is expected to go wrong is said in one sentence on stderr.
"""

from __future__ import annotations

import errno
import sys
from enum import IntEnum
from typing import IO, Any, Final

import click

from tallystick.errors import Corrupt, Reason, TallystickError, Unavailable, Undecided
from tallystick_node.cli.printable import printable
from tallystick_node.config.values import ConfigError

NOBODY: Final = "Start nodes (`tallystick dev` runs three here), or name those that run with --endpoints."


class ExitCode(IntEnum):
    """The table above."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    UNAVAILABLE = 3
    UNDECIDED = 4
    CORRUPT = 5
    INTERRUPTED = 130


class Failure(click.ClickException):
    """An expected failure: a sentence for people and the code to leave with."""

    def __init__(self, message: str, exit_code: ExitCode, advice: str = "") -> None:
        super().__init__(message)
        self.code = exit_code
        self.advice = advice

    @property
    def exit_code(self) -> int:  # type: ignore[override]  # a constant of the class in click
        """What click leaves with."""
        return int(self.code)

    def show(self, file: IO[Any] | None = None) -> None:
        """Writes it to stderr, the advice on a line of its own."""
        click.echo(f"tallystick: {printable(self.message)}", file=file or sys.stderr)
        if self.advice:
            click.echo(f"  {printable(self.advice)}", file=file or sys.stderr)


def failure_for(error: TallystickError | ConfigError | OSError) -> Failure:
    """The failure that an expected exception means."""
    if isinstance(error, ConfigError):
        return Failure(str(error), ExitCode.USAGE)
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        code = ExitCode.UNAVAILABLE if error.errno == errno.EADDRINUSE else ExitCode.REFUSED
        return Failure(f"{where}{error.strerror or error}", code)
    return Failure(str(error), _code_of(error), NOBODY if error.reason == Reason.UNREACHABLE else error.advice)


def _code_of(error: TallystickError) -> ExitCode:
    if isinstance(error, Unavailable):
        return ExitCode.UNAVAILABLE
    if isinstance(error, Undecided):
        return ExitCode.UNDECIDED
    if isinstance(error, Corrupt):
        return ExitCode.CORRUPT
    return ExitCode.REFUSED


class Group(click.Group):
    """A command group that turns expected exceptions into failures, for the commands below it."""

    def invoke(self, ctx: click.Context) -> object:
        """Runs the command; raises Failure for what is expected to go wrong."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # click ends quietly: who read us has gone
        except (TallystickError, ConfigError, OSError) as error:
            raise failure_for(error) from error
        except KeyboardInterrupt:
            raise click.exceptions.Exit(ExitCode.INTERRUPTED) from None
