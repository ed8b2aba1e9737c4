"""`tallystick completion SHELL`: the script that a shell reads to complete our commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from tallystick_node.cli.exits import ExitCode, Failure


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    bash:  eval "$(tallystick completion bash)"        in ~/.bashrc
    zsh:   eval "$(tallystick completion zsh)"         in ~/.zshrc
    fish:  tallystick completion fish > ~/.config/fish/completions/tallystick.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise Failure(f"no completion for {shell}", ExitCode.USAGE)
    click.echo(kind(ctx.find_root().command, {}, "tallystick", "_TALLYSTICK_COMPLETE").source())
