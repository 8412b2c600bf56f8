"""What a command line asks for: a script and an agent from files, or what the flags say."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from corral.apps.assembly import (
    LOCK,
    NO_MODEL,
    make_agent,
    make_toolbox,
    model_of,
    read_policy,
    read_settings,
    written_consent,
)
from corral.apps.failures import Exit
from corral.apps.missing import Missing

if TYPE_CHECKING:
    from corral.agents import Agent, AgentFile, ModelSpec
    from corral.apps.scripted import Script
    from corral.policy import Sink

__all__ = ["Work", "make_unattended", "model_for", "work_of"]

SCRIPTS = (".py", ".yaml", ".yml", ".toml")


@dataclass(frozen=True)
class Work:
    """What a command line asks for.

    Attributes:
        script: What `--file` holds, if it is no plain text.
        agent: The agent that a file describes, instead of the flags.
        folder: Where the files are that it names.
    """

    script: Script | None
    agent: AgentFile | None
    folder: Path


def work_of(ctx: click.Context, options: dict[str, Any]) -> Work:
    """The work that `--file` and `--agent` describe; an agent that is named by a flag wins.

    Raises:
        DefinitionError: A file can't be read, or something in it is unknown or wrong.
    """
    path: Path | None = options["task_file"]
    script = _script(path) if path is not None and path.suffix in SCRIPTS else None
    agent, folder = _agent(options["agent_file"], script, path)
    if agent is not None:
        _refuse_beside_agent(ctx)
        _find_functions_in(folder)
    return Work(script, agent, folder)


def _script(path: Path) -> Script:
    from corral.apps.scripted import load_script

    return load_script(path)


def _agent(path: Path | None, script: Script | None, script_path: Path | None) -> tuple[AgentFile | None, Path]:
    if path is not None:
        from corral.agents import AgentFile

        return AgentFile.load(path), path.parent
    if script is None or script_path is None:
        return None, Path()
    return script.agent(script_path.parent), script_path.parent


def _refuse_beside_agent(ctx: click.Context) -> None:
    """Flags that say what an agent file says already are a mistake."""
    for name in ("signature", "json_schema", "kind", "mcp_config"):
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            flag = f"--{name.replace('_', '-')}"
            raise click.UsageError(f"{flag} can't be given beside an agent's file; write it into the file")


def _find_functions_in(folder: Path) -> None:
    """Look in `folder` first for the modules that a file in it names."""
    place = str(folder.resolve())
    if place not in sys.path:
        sys.path.insert(0, place)


def model_for(work: Work, options: dict[str, Any]) -> ModelSpec | None:
    """The model of flags and settings; None where the agent's file has one.

    Raises:
        click.exceptions.Exit: There is none at all; how to name one was said on stderr.
    """
    model = model_of(read_settings(), options)
    if model is None and (work.agent is None or work.agent.model is None):
        click.echo(NO_MODEL, err=True)
        raise click.exceptions.Exit(Exit.BAD_INPUT)
    return model


def make_unattended(
    work: Work,
    options: dict[str, Any],
    stack: ExitStack,
    *,
    model: ModelSpec | None,
    sinks: tuple[Sink, ...] = (),
    **given: Any,
) -> Agent:
    """The agent for `work` where nobody can be asked; `stack` closes what it needs.

    What it must do without is said on stderr.

    Args:
        given: What else `make_agent` takes.
    """
    missing = Missing()
    by_file = work.agent is not None and options["policy_file"] is None
    agent = make_agent(
        make_toolbox(options["mcp_config"], strict=False, pins=LOCK, results=read_settings().results),
        read_settings(),
        options,
        stack,
        model=model,
        policy=None if by_file else read_policy(options["policy_file"]),
        approver=written_consent(options["yes_to"]),
        agent_file=work.agent,
        folder=work.folder,
        sinks=(*sinks, missing),
        **given,
    )
    stack.callback(lambda: missing.tell(agent.toolbox))  # what came later
    return agent
