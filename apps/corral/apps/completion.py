"""`corral completion`: the script that completes commands and flags in a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from corral.apps.failures import Exit, fail

__all__ = ["completion"]


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script that completes commands and flags in SHELL.

    \b
    corral completion bash > ~/.local/share/bash-completion/completions/corral
    corral completion zsh  > ~/.zfunc/_corral
    corral completion fish > ~/.config/fish/completions/corral.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise fail(f"{shell} is not known here", Exit.BAD_INPUT)
    click.echo(kind(ctx.find_root().command, {}, "corral", "_CORRAL_COMPLETE").source())
