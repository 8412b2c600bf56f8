"""`corral config`: where each setting comes from."""

from __future__ import annotations

import os

import click

from corral.apps.assembly import read_settings

__all__ = ["config"]


@click.group()
def config() -> None:
    """See what is configured, and where it comes from."""


@config.command()
def show() -> None:
    """Show every setting with its value and its source; flags of a command come before all of them."""
    settings = read_settings()
    for name in type(settings).model_fields:
        variable = f"CORRAL_{name.upper()}"
        if name not in settings.model_fields_set:
            source = "default"
        else:
            source = f"environment, {variable}" if variable in os.environ else ".env"
        # A secret shows as stars.
        click.echo(f"{name} = {getattr(settings, name)}  ({source})")
