"""The command line: `tallystick serve | dev | status | agent | team | lease | retention | ...`: see `_COMMANDS`.

Rules of this package:
- A command reads its options, calls the client or the node, and shows what came. It decides nothing about agents' logs.
- Whatever shows something for people can show it to programs: `--json`.
- How commands end is in `exits`; what may reach a terminal is in `output`.
"""

from __future__ import annotations

import importlib
import os
from typing import Final

import click

# gRPC's C core chats on stderr about every closed connection; what matters reaches us as errors. It reads this when it
# is loaded, so it stands before the first import that loads it.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
# Its handlers of a fork abort in the child now and then, before the worker is there; nothing that we fork uses gRPC.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from tallystick._version import __version__
from tallystick_node.cli.exits import Group

_COMMANDS: Final = {
    "serve": "Run one node until SIGTERM or Ctrl-C.",
    "dev": "Run a cluster on this machine until Ctrl-C.",
    "status": "Show how each node does.",
    "agent": "What agents did and know.",
    "team": "Several agents at once: where they were together, and back to there.",
    "lease": "Who may write which agent's log.",
    "retention": "How much of agents' logs is kept.",
    "schema": "What events and states must look like.",
    "context": "Documents that agents share.",
    "payload": "Large values, stored once and named in what agents store.",
    "verify": "Whether what is kept is what was decided.",
    "member": "Who is of the cluster, and who leads it.",
    "certs": "Make a CA and certificates, for development.",
    "completion": "Print the completion script for SHELL.",
}
"""The commands, and what `tallystick --help` says of each: it loads none of them."""


class _LazyGroup(Group):
    """Imports a command when it is run: `serve` must not wait for what only `certs` uses, nor `--help` for all."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(_COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """See click."""
        with formatter.section("Commands"):
            formatter.write_dl(tuple(_COMMANDS.items()))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        command = getattr(importlib.import_module(f"{__name__}.{cmd_name}"), cmd_name)
        if not isinstance(command, click.Command):
            raise TypeError(f"{cmd_name} is no command")
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tallystick")
def main() -> None:
    """A replicated state store for AI agents.

    `tallystick dev` runs a cluster here; `tallystick status` shows how it does.
    """
