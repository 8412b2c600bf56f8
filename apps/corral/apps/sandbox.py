"""`corral sandbox`: the place where code runs."""

from __future__ import annotations

import codeop
import re
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import click

from corral.apps.assembly import SANDBOXES, choose_sandbox, tell_progress
from corral.apps.failures import Exit, explained, fail
from corral.apps.terminal import printable

if TYPE_CHECKING:
    from corral.sandbox import AttackOutcome, Execution, Flavour, SandboxProvider

__all__ = ["sandbox"]

_NAME = click.option("--sandbox", "name", type=click.Choice(SANDBOXES), default="auto", show_default=True)

_TIMEOUT = click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), default=60.0, show_default=True, help="Seconds of a cell."
)

_IMAGE = click.option("--image", type=click.Choice(["slim", "data"]), default="slim", show_default=True,
                      help="data has numpy, pandas, matplotlib and Pillow.")  # fmt: skip

_PACKAGES = click.option(
    "--package",
    "packages",
    multiple=True,
    help="What code can import beside, as pip takes it; wheels only. Repeatable.",
)

_MISSING = re.compile(r"ModuleNotFoundError: No module named '([\w.]+)'")
_IN_DATA = ("numpy", "pandas", "matplotlib", "PIL")


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
@_NAME
@click.pass_context
def check(ctx: click.Context, name: str) -> None:
    """Attack the sandbox as hostile code would; exit status 1 if one attack gets through.

    Monty, which runs no CPython, is not attacked.
    """
    from corral.sandbox import ATTACKS, promised
    from corral.sandbox import check as attack_all

    if name == "monty":
        raise fail("the attacks are made for CPython; there is nothing to check in Monty", Exit.BAD_INPUT)

    async def attack() -> list[AttackOutcome]:
        async with await _chosen(name) as provider:
            return await attack_all(provider, promised(provider), progress=_show)

    with explained():
        outcomes = anyio.run(attack)
    held = Counter(outcome.held for outcome in outcomes)
    click.echo(f"{held[True]} of {len(outcomes)} attacks held")
    if left := len(ATTACKS) - len(outcomes):
        click.echo(f"{left} more use up what sessions without a container share; they are not promised to be held here")
    ctx.exit(Exit.DONE if held[True] == len(outcomes) else Exit.ERROR)


@sandbox.command("run")
@click.argument("file", type=click.Path(path_type=Path))
@_NAME
@_IMAGE
@_PACKAGES
@_TIMEOUT
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Where figures and tables are written.")
@click.pass_context
def run_file(
    ctx: click.Context,
    file: Path,
    name: str,
    image: Flavour,
    packages: tuple[str, ...],
    timeout: float,
    out: Path | None,
) -> None:
    """Run a Python file as one cell; it has no tools."""
    try:
        code = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise fail(f"{file}: the file can't be read: {problem}", Exit.BAD_INPUT) from error

    async def run() -> Execution:
        async with _opened(name, image, packages) as (_, execute):
            return await execute(code, timeout)

    with explained():
        execution = anyio.run(run)
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            for artifact in execution.artifacts:
                target = out / Path(artifact.name).name
                target.write_bytes(artifact.data)
                click.echo(f"wrote {target}", err=True)
    _tell(execution, image)
    ctx.exit(Exit.ERROR if execution.error else Exit.DONE)


@sandbox.command()
@_NAME
@_IMAGE
@_PACKAGES
@_TIMEOUT
def shell(name: str, image: Flavour, packages: tuple[str, ...], timeout: float) -> None:
    """Type Python into one session. An empty line ends a block, Ctrl-D the shell."""

    async def run() -> None:
        async with _opened(name, image, packages) as (where, execute):
            click.echo(f"a session in {where}; Ctrl-D ends it", err=True)
            async for cell in _typed():
                _tell(await execute(cell, timeout), image)

    with explained():
        anyio.run(run)


async def _typed() -> AsyncGenerator[str]:
    """What is typed, a statement at a time."""
    read = _prompting() if sys.stdin.isatty() else _reading
    lines: list[str] = []
    while (line := await read("... " if lines else ">>> ")) is not None:
        lines.append(line)
        if line.strip() or len(lines) > 1:
            if _is_whole("\n".join(lines)):
                yield "\n".join(lines)
                lines.clear()
        else:
            lines.clear()
    if lines:
        yield "\n".join(lines)


def _is_whole(source: str) -> bool:
    try:
        return codeop.compile_command(source, symbol="single") is not None
    except (SyntaxError, ValueError, OverflowError):
        return True  # the session says what is wrong, and takes what only it can: top-level await, several statements


def _prompting() -> Callable[[str], Awaitable[str | None]]:
    from prompt_toolkit import PromptSession

    session: PromptSession[str] = PromptSession()

    async def read(prompt: str) -> str | None:
        try:
            return await session.prompt_async(prompt)
        except EOFError:
            return None

    return read


async def _reading(prompt: str) -> str | None:
    line = await anyio.to_thread.run_sync(sys.stdin.readline)
    return line.removesuffix("\n") if line else None


async def _chosen(name: str) -> SandboxProvider:
    from corral.sandbox import SandboxUnavailable

    provider = await choose_sandbox(name, "codeact")
    if provider is None:
        raise SandboxUnavailable("no sandbox was chosen")
    return provider


async def _with_packages(name: str, image: Flavour, packages: tuple[str, ...]) -> SandboxProvider:
    """The sandbox that is asked for; only Docker has images, and packages that were chosen."""
    if image == "slim" and not packages:
        return await _chosen(name)
    if name not in ("auto", "docker"):
        raise fail(f"--image and --package are for Docker; code runs in {name} here", Exit.BAD_INPUT)
    from corral.sandbox import DockerProvider, Packages, image_name

    # Whoever types the command may have what it names: it runs in the container alone.
    names = [re.split(r"[^\w.-]", package, maxsplit=1)[0] for package in packages]
    try:
        return DockerProvider(image=image_name(image), packages=Packages(packages, allowed=names) if packages else None)
    except ValueError as error:
        raise fail(str(error), Exit.BAD_INPUT) from error


@asynccontextmanager
async def _opened(
    name: str, image: Flavour, packages: tuple[str, ...]
) -> AsyncGenerator[tuple[str, Callable[[str, float], Awaitable[Execution]]]]:
    """A session's name, and what runs a cell in it, through a gate that lets its owner run it and writes it down."""
    from corral.agents.effects import Effects
    from corral.agents.steps import InlineSteps
    from corral.apps.assembly import read_settings
    from corral.policy import ChainedAudit, Gate, Policy, SecurityPolicy
    from corral.sandbox import Host

    provider = await _with_packages(name, image, packages)
    audit = ChainedAudit(read_settings().audit)
    owner = SecurityPolicy(resource="code:python", actions=["execute"], id="owner")
    effects = Effects(Gate(Policy(rules=[owner]), audit=audit), InlineSteps("sandbox"), "agent:bench", "user:local")
    try:
        async with await provider.open() as session:

            async def execute(code: str, timeout: float) -> Execution:
                return await effects.cells.execute(session, code, timeout, Host())

            yield f"{session.name} {session.id}", execute
    finally:
        audit.close()
        with anyio.CancelScope(shield=True):
            await provider.close()


def _tell(execution: Execution, image: Flavour) -> None:
    if execution.output:
        click.echo(printable(execution.output), nl=not execution.output.endswith("\n"))
    if execution.value is not None:
        click.echo(printable(str(execution.value)))
    if (error := execution.error) is not None:
        # Of a cell that was stopped, the traceback shows how, which is no news of the cell's.
        shown = error.message if error.kind.value == "timeout" else error.traceback or error.message
        click.echo(printable(shown), err=True)
        if missing := _MISSING.fullmatch(error.message):
            click.echo(f"corral: {_advice(missing[1].partition('.')[0], image)}", err=True)


def _advice(module: str, image: Flavour) -> str:
    """What to do for a module that is not there."""
    if module in sys.stdlib_module_names:
        return f"{module} is of the standard library, and this sandbox does not have it; --sandbox docker may"
    if module in _IN_DATA and image == "slim":
        return f"{module} is in Docker's data image: --image data, which `corral sandbox build --flavour data` makes"
    return f"the sandbox has no {module}; --package NAME adds a package by its name on PyPI"


def _show(outcome: AttackOutcome) -> None:
    attack = outcome.attack
    click.echo(
        printable(f"{'held' if outcome.held else 'FAIL'}  {attack.kind.value}: {attack.name}: {outcome.seen}"[:160])
    )
