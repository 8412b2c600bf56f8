"""`corral config`: where each setting comes from."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click

from corral.apps.assembly import read_settings

__all__ = ["config"]


@click.group()
def config() -> None:
    """See what is configured, and where it comes from."""


@config.command()
def show() -> None:
    """Show every setting with its value and its source, and what that overrides.

    The weakest first: CORRAL_... variables, corral.toml, .env, and then the flags of a command.
    """
    settings = read_settings()
    for name in type(settings).model_fields:
        *weaker, source = ["default", *_sources(name)]
        over = ", ".join(weaker[1:])
        # A secret shows as stars.
        click.echo(f"{name} = {getattr(settings, name)}  ({source}{f'; overrides {over}' if over else ''})")


def _sources(name: str) -> Iterator[str]:
    """Where it is set, the weakest first."""
    from dotenv import dotenv_values

    from corral.apps.settings import DOTENV, PROJECT

    variable = f"CORRAL_{name.upper()}"
    if os.environ.get(variable):
        yield f"environment, {variable}"
    if Path(PROJECT).exists() and name in tomllib.loads(Path(PROJECT).read_text(encoding="utf-8")):
        yield PROJECT
    if Path(DOTENV).exists() and dotenv_values(DOTENV).get(variable):
        yield DOTENV
