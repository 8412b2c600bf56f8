"""`corral run`: one task, from an argument or stdin, to its answer."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from corral.apps.assembly import (
    agent_options,
    choose_sandbox,
    consolidate_option,
    make_memory,
    read_settings,
    setting,
)
from corral.apps.failures import Exit, explained, fail
from corral.apps.missing import require_tools
from corral.apps.piped import read_text, with_stdin
from corral.apps.report import content_of, print_outcome, status_of, watchers
from corral.apps.schema import read_schema
from corral.apps.work import Work, make_unattended, model_for, work_of

if TYPE_CHECKING:
    from corral.agents import Agent
    from corral.apps.scripted import Outcome, Script
    from corral.sandbox import SandboxProvider

__all__ = ["perform", "run"]

_PATIENCE = 60.0
"""Seconds that a command stays after its answer, for a consolidation."""


@click.command()
@click.argument("task", required=False)
@agent_options
@click.option("-p", "--prompt", help="The task's text, for those who have it in their fingers; as TASK.")
@click.option(
    "-f",
    "--file",
    "task_file",
    type=click.Path(path_type=Path),
    help="The task from a file: text, a scripted task (.yaml, .toml), or a function task(agent, ...) (.py).",
)
@click.option("--input", "inputs", multiple=True, metavar="NAME=VALUE", help="An input of the signature or the file.")
@click.option(
    "-i",
    "--image",
    "images",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A picture to go with the task.",
)
@click.option("--signature", default="task -> answer", show_default=True, help="Inputs and typed outputs.")
@click.option("--agent", "agent_file", type=click.Path(path_type=Path), help="An agent file, YAML, TOML or Markdown.")
@click.option("--json-schema", type=click.Path(path_type=Path), help="The answer is JSON that fits this schema.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Write the answer, or the file that it is, to this one.",
)
@click.option(
    "--memory/--no-memory",
    default=setting("memory", False),
    show_default="no-memory",
    help="Recall before, remember after.",
)
@consolidate_option
@click.option("--output-format", type=click.Choice(["text", "json", "stream-json"]), default="text", show_default=True)
@click.pass_context
def run(ctx: click.Context, task: str | None, **options: Any) -> None:
    """Run one task and print its answer.

    TASK is the task's text; without it, or with "-", it is read from stdin. Text that is piped in beside a TASK is
    added to it as a marked block.

    \b
    corral run "Which file is the largest?" --mcp-config mcp.json --policy policy.yaml
    git log -5 | corral run "What changed?" --model openai/m --api-base http://127.0.0.1:8000/v1
    corral run "What does it cost?" --image receipt.jpg
    corral run -f task.yaml --input city=Zurich --output-format json
    """
    if options["json_schema"] and ctx.get_parameter_source("signature") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--json-schema says what the answer is, and --signature does, too; give one of them")
    with explained(), ExitStack() as stack:
        work = work_of(ctx, options)
        script = _script(task, options, work)
        _check_output(options["output"])
        result = perform(script, work, options, stack)
        print_outcome(result, options["output_format"])
        if options["output"] is not None and result.outputs is not None:
            options["output"].write_bytes(content_of(result.outputs))
    ctx.exit(status_of(result))


def perform(script: Script, work: Work, options: dict[str, Any], stack: ExitStack) -> Outcome:
    """What a script comes to with the agent that flags, settings or a file describe; `stack` closes what is opened."""
    model = model_for(work, options)
    agent = make_unattended(
        work,
        options,
        stack,
        model=model,
        signature=read_schema(options["json_schema"]) if options["json_schema"] else options["signature"],
        sandbox=_sandbox(options, stack),
        memory=make_memory(read_settings(), options["memory"], stack, work.agent),
        sinks=watchers(options["output_format"]),
    )
    from corral.agents import run_in_background
    from corral.apps.scripted import read_inputs

    inputs = read_inputs(options["inputs"])

    # It is left with the stack, after the answer was printed: leaving waits for a consolidation.
    stack.enter_context(agent)
    stack.callback(_wait_for_consolidation, agent)
    require_tools(agent.toolbox, agent)
    return run_in_background(lambda: script.run(agent, inputs))


def _wait_for_consolidation(agent: Agent) -> None:
    """Let it come to its end, now that the answer is printed: for some seconds, or until Ctrl-C."""
    from corral.agents import run_in_background

    try:
        run_in_background(lambda: agent.consolidated(_PATIENCE))
    except KeyboardInterrupt:
        click.echo("corral: memory: stopped; a later run goes on from there", err=True)


def _check_output(path: Path | None) -> None:
    """Whether the answer can be written, before anything is paid for."""
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise fail(f"-o {path}: there is no such folder, or it is one", Exit.BAD_INPUT)


def _script(argument: str | None, options: dict[str, Any], work: Work) -> Script:
    """What is to be run, from the one place that says it."""
    from corral.apps.scripted import Prompt

    path: Path | None = options["task_file"]
    if sum(given is not None for given in (argument, options["prompt"], path)) > 1:
        raise click.UsageError("give the task once: as TASK, with --prompt, or with --file")
    if work.script is not None:
        if options["images"]:
            raise click.UsageError("--image belongs to a task's text; a scripted task names its pictures as inputs")
        return work.script
    text = read_text(path) if path is not None else options["prompt"] if argument is None else argument
    return Prompt(with_stdin(text), options["images"])


def _sandbox(options: dict[str, Any], stack: ExitStack) -> SandboxProvider | None:
    from corral.agents import run_in_background

    provider = run_in_background(lambda: choose_sandbox(options["sandbox"], options["kind"]))
    if provider is not None:
        stack.callback(run_in_background, provider.close)
    return provider
