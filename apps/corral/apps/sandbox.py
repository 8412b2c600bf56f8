"""`corral sandbox`: the place where code runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import click

from corral.apps.assembly import choose_sandbox, tell_progress
from corral.apps.failures import Exit, explained, fail
from corral.apps.terminal import printable

if TYPE_CHECKING:
    from corral.sandbox import AttackOutcome, Execution, Flavour

__all__ = ["sandbox"]

_NAME = click.option(
    "--sandbox", "name", type=click.Choice(["auto", "docker", "monty"]), default="auto", show_default=True
)


@click.group()
def sandbox() -> None:
    """Build, try and look at the sandbox that code runs in."""


@sandbox.command()
@click.option("--flavour", type=click.Choice(["slim", "data"]), default="slim", show_default=True,
              help="slim: the standard library; data: numpy, pandas, matplotlib too.")  # fmt: skip
def build(flavour: Flavour) -> None:
    """Make the sandbox's image, from a public Python image or, where no registry answers, from Debian packages."""
    from corral.sandbox import build as build_image

    with explained():
        click.echo(anyio.run(build_image, tell_progress, flavour))


@sandbox.command("list")
def list_containers() -> None:
    """List the sandbox containers of all Corral processes."""
    from corral.sandbox import running

    with explained():
        for each in anyio.run(running):
            orphan = "  its process is gone; `corral sandbox prune` removes it" if each.orphan else ""
            click.echo(f"{each.id}  {each.status}  {each.image}  {each.label}{orphan}")


@sandbox.command()
def prune() -> None:
    """Remove containers whose process is gone, and images of older versions."""
    from corral.sandbox import prune as prune_all

    with explained():
        gone = anyio.run(prune_all)
    click.echo(f"removed {len(gone.containers)} containers and {len(gone.images)} images")


@sandbox.command()
@click.pass_context
def check(ctx: click.Context) -> None:
    """Attack the Docker sandbox as hostile code would; exit status 1 if one attack gets through."""
    from corral.sandbox import DockerProvider
    from corral.sandbox import check as attack_all

    async def attack() -> list[AttackOutcome]:
        async with DockerProvider() as provider:
            return await attack_all(provider, progress=_show)

    with explained():
        outcomes = anyio.run(attack)
    held = Counter(outcome.held for outcome in outcomes)
    click.echo(f"{held[True]} of {len(outcomes)} attacks held")
    ctx.exit(Exit.DONE if held[True] == len(outcomes) else Exit.ERROR)


@sandbox.command("run")
@click.argument("file", type=click.Path(path_type=Path))
@_NAME
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), default=60.0, show_default=True)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Where figures and tables are written.")
@click.pass_context
def run_file(ctx: click.Context, file: Path, name: str, timeout: float, out: Path | None) -> None:
    """Run a Python file as one cell; it has no tools."""
    try:
        code = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise fail(f"{file}: the file can't be read: {problem}", Exit.BAD_INPUT) from error
    with explained():
        execution = anyio.run(_run, code, name, timeout)
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            for artifact in execution.artifacts:
                target = out / Path(artifact.name).name
                target.write_bytes(artifact.data)
                click.echo(f"wrote {target}", err=True)
    if execution.output:
        click.echo(printable(execution.output), nl=False)
    if execution.value is not None:
        click.echo(printable(str(execution.value)))
    if execution.error is not None:
        click.echo(printable(execution.error.traceback or execution.error.message), err=True)
    ctx.exit(Exit.ERROR if execution.error else Exit.DONE)


async def _run(code: str, name: str, timeout: float) -> Execution:
    """One cell, through a gate that lets its owner run it and writes it down."""
    from corral.agents.effects import Effects
    from corral.agents.steps import InlineSteps
    from corral.apps.assembly import read_settings
    from corral.policy import ChainedAudit, Gate, Policy, SecurityPolicy
    from corral.sandbox import Host, SandboxUnavailable

    provider = await choose_sandbox(name, "codeact")
    if provider is None:
        raise SandboxUnavailable("no sandbox was chosen")
    audit = ChainedAudit(read_settings().audit)
    owner = SecurityPolicy(resource="code:python", actions=["execute"], id="owner")
    effects = Effects(Gate(Policy(rules=[owner]), audit=audit), InlineSteps("sandbox"), "agent:bench", "user:local")
    try:
        async with await provider.open() as session:
            return await effects.execute(session, code, timeout, Host())
    finally:
        audit.close()
        with anyio.CancelScope(shield=True):
            await provider.close()


def _show(outcome: AttackOutcome) -> None:
    attack = outcome.attack
    click.echo(
        printable(f"{'held' if outcome.held else 'FAIL'}  {attack.kind.value}: {attack.name}: {outcome.seen}"[:160])
    )
