"""`corral sandbox`: the place where code runs."""

from __future__ import annotations

import anyio
import click

from corral.apps.assembly import tell_progress
from corral.apps.failures import explained

__all__ = ["sandbox"]


@click.group()
def sandbox() -> None:
    """Build and look at the sandbox that code runs in."""


@sandbox.command()
def build() -> None:
    """Make the sandbox's image, from a public Python image or, where no registry answers, from Debian packages."""
    from corral.sandbox import build as build_image

    with explained():
        click.echo(anyio.run(build_image, tell_progress))
