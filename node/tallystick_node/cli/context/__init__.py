"""`tallystick context ...`: shared documents, from the shell.

| file | commands |
|---|---|
| `decided` | `list`, `create`, `describe`, `delete` |
| `content` | `show`, `set`, `blame`, `who` |
| `past` | `log`, `overlaps`, `versions`, `save`, `restore` |
| `upkeep` | `verify`, `compact` |

Rules of this package:
- What shows something asks nodes, and makes no replica. Numbers, sizes and histories are of the node that answers:
  `-e` with one node says which.
- What edits does it as the actor that `--actor` names.
"""

from __future__ import annotations

import click

from tallystick_node.cli.context import content, decided, past, upkeep
from tallystick_node.cli.exits import Group


@click.group(cls=Group)
def context() -> None:
    """Documents that agents share."""


for _command in (*decided.COMMANDS, *content.COMMANDS, *past.COMMANDS, *upkeep.COMMANDS):
    context.add_command(_command)
