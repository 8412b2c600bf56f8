"""`corral doctor`: what works here, and what to do about what does not."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import click

from corral.apps.assembly import read_settings, stored_logins
from corral.apps.failures import Exit

if TYPE_CHECKING:
    from corral.sandbox import SandboxProvider

__all__ = ["doctor"]

LEAST_FREE_GB = 0.1


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `needed` says whether agents can't do without it."""

    name: str
    ok: bool
    text: str
    needed: bool = False


@click.command()
@click.option("--mcp-config", type=click.Path(path_type=Path), help="Start its servers, and list their tools.")
@click.pass_context
def doctor(ctx: click.Context, mcp_config: Path | None) -> None:
    """Say what works on this machine, and what to do about what does not.

    The exit status is 1 if something that agents can't do without is missing.
    """
    findings = anyio.run(_collect, mcp_config)
    ctx.exit(Exit.ERROR if any(not finding.ok and finding.needed for finding in findings) else Exit.DONE)


async def _collect(mcp_config: Path | None) -> list[Finding]:
    findings: list[Finding] = []
    async for finding in _look(mcp_config):
        click.echo(f"{'ok  ' if finding.ok else 'FAIL' if finding.needed else '--  '} {finding.name}: {finding.text}")
        findings.append(finding)
    return findings


async def _look(mcp_config: Path | None) -> AsyncIterator[Finding]:
    yield Finding("python", sys.version_info >= (3, 11), sys.version.split()[0], needed=True)
    yield _dspy()
    yield _project()
    yield _model()
    for finding in _kept():
        yield finding
    yield _starters()
    async for finding in _sandboxes():
        yield finding
    if mcp_config is not None:
        async for finding in _servers(mcp_config):
            yield finding


def _dspy() -> Finding:
    import dspy

    return Finding("dspy", True, dspy.__version__, needed=True)


def _project() -> Finding:
    from corral.apps.settings import PROJECT

    read_settings()  # what is wrong in it has been said by now
    text = (
        "corral.toml of this folder is read; see `corral config show`"
        if Path(PROJECT).exists()
        else "there is no corral.toml here; `corral init` makes one"
    )
    return Finding("project", True, text)


def _kept() -> Iterator[Finding]:
    """Whether what runs leave behind can be kept."""
    from corral.agents import AgentError, Journal

    settings = read_settings()
    there = next(folder for folder in (settings.home.absolute(), *settings.home.absolute().parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        yield Finding("home", False, f"{settings.home} can't be written; set CORRAL_HOME", needed=True)
        return
    free = shutil.disk_usage(there).free / 1e9
    yield Finding("home", free > LEAST_FREE_GB, f"{settings.home}, {free:.1f} GB free", needed=True)
    if settings.journal.exists():
        try:
            with Journal(settings.journal) as journal:
                yield Finding("journal", True, f"{len(journal.runs())} runs")
        except AgentError as error:
            yield Finding("journal", False, str(error), needed=True)


def _starters() -> Finding:
    """What servers of MCP are usually started with."""
    missing = [name for name in ("uvx", "npx") if shutil.which(name) is None]
    return Finding(
        "mcp starters", not missing, f"missing: {', '.join(missing)}" if missing else "uvx and npx are there"
    )


def _model() -> Finding:
    from corral.agents import DefinitionError, Model, ModelSpec
    from corral.agents.engine import key_variables

    settings = read_settings()
    if settings.model is None:
        return Finding("model", False, "none is configured; set CORRAL_MODEL, or give --model to each command")
    try:
        spec = ModelSpec.of(model=settings.model, api_base=settings.api_base, api_key=settings.api_key)
        variables = key_variables(Model(spec).lm)
    except DefinitionError as error:
        return Finding("model", False, str(error))
    where = f" at {settings.api_base}" if settings.api_base else ""
    if variables and not any(os.environ.get(name) for name in variables):
        return Finding("model", False, f"{settings.model}{where} has no key; set {' or '.join(variables)}")
    return Finding("model", True, f"{settings.model}{where}")


async def _sandboxes() -> AsyncIterator[Finding]:
    from corral.sandbox import LinuxProvider, MontyProvider, probe

    found = await probe()
    if found.ok:
        held = ", ".join(f"{name} {value}" for name, value in sorted(found.in_force.items()))
        yield Finding("docker", True, f"engine {found.engine}; in force: {held}")
    else:
        ignored = f"the engine ignores limits on {', '.join(found.ignored)}" if found.ignored else ""
        yield Finding("docker", False, found.problem or ignored)
    for warning in found.warnings:
        yield Finding("docker engine", False, warning)
    linux = LinuxProvider()
    how = "under bubblewrap" if linux.has_bubblewrap else "held by Landlock and seccomp alone; install bubblewrap"
    tried = [await _try("linux", linux, how), await _try("monty", MontyProvider(), "a subset of Python")]
    usable = found.ok or any(finding.ok for finding in tried)
    for finding in tried:
        yield finding if usable else replace(finding, needed=True)


async def _try(name: str, provider: SandboxProvider, how: str) -> Finding:
    from corral.sandbox import SandboxError

    try:
        async with provider, await provider.open() as session:
            execution = await session.execute("1 + 1", timeout=5)
    except (SandboxError, ImportError) as error:
        return Finding(name, False, str(error))
    works = execution.value == 2
    return Finding(name, works, f"runs code, {how}" if works else "gave a wrong answer")


async def _servers(path: Path) -> AsyncIterator[Finding]:
    from corral.tools import Toolbox, ToolError, load_mcp_config

    try:
        servers = load_mcp_config(path, logins=stored_logins(read_settings(), path))
    except ToolError as error:
        yield Finding("mcp", False, str(error), needed=True)
        return
    for server in servers:
        server.required = False  # those that work are told, too
    async with Toolbox(*servers) as toolbox:
        for name, problem in toolbox.failures.items():
            yield Finding(f"mcp {name}", False, problem, needed=True)
        for server in servers:
            if server.name not in toolbox.failures:
                names = [tool.name for tool in toolbox.tools if tool.resource.startswith(f"tool:{server.name}/")]
                yield Finding(f"mcp {server.name}", True, f"{len(names)} tools: {', '.join(names)}")
