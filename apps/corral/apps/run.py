"""`corral run`: one task, from an argument or stdin, to its answer."""

from __future__ import annotations

import json
import os
import stat
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from corral.apps.assembly import (
    LOCK,
    NO_MODEL,
    agent_options,
    choose_sandbox,
    make_agent,
    make_memory,
    make_toolbox,
    model_of,
    read_policy,
    read_settings,
    setting,
    written_consent,
)
from corral.apps.failures import Exit, explained, fail
from corral.apps.schema import read_schema
from corral.apps.terminal import printable
from corral.apps.work import Work, work_of

if TYPE_CHECKING:
    from corral.agents import Result
    from corral.apps.scripted import Outcome, Script
    from corral.policy import Sink
    from corral.sandbox import SandboxProvider

__all__ = ["run"]


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
@click.option("--signature", default="task -> answer", show_default=True, help="Inputs and typed outputs.")
@click.option("--agent", "agent_file", type=click.Path(path_type=Path), help="An agent file, YAML, TOML or Markdown.")
@click.option("--json-schema", type=click.Path(path_type=Path), help="The answer is JSON that fits this schema.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the answer to this file, too.")
@click.option(
    "--memory/--no-memory",
    default=setting("memory", False),
    show_default="no-memory",
    help="Recall before, remember after.",
)
@click.option("--output-format", type=click.Choice(["text", "json", "stream-json"]), default="text", show_default=True)
@click.pass_context
def run(ctx: click.Context, task: str | None, **options: Any) -> None:
    """Run one task and print its answer.

    TASK is the task's text; without it, or with "-", it is read from stdin. Text that is piped in beside a TASK is
    added to it as a marked block.

    \b
    corral run "Which file is the largest?" --mcp-config mcp.json --policy policy.yaml
    git log -5 | corral run "What changed?" --model openai/m --api-base http://127.0.0.1:8000/v1
    corral run -f task.yaml --input city=Zurich --output-format json
    """
    if options["json_schema"] and ctx.get_parameter_source("signature") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--json-schema says what the answer is, and --signature does, too; give one of them")
    with explained(), ExitStack() as stack:
        work = work_of(ctx, options)
        script = _script(task, options, work)
        _check_output(options["output"])
        result = _outcome(script, work, options, stack)
    _print(result, options["output_format"])
    if options["output"] is not None and result.outputs is not None:
        with explained():
            options["output"].write_text(_answer(result.outputs) + "\n", encoding="utf-8")
    ctx.exit(_status(result))


def _outcome(script: Script, work: Work, options: dict[str, Any], stack: ExitStack) -> Outcome:
    settings = read_settings()
    model = model_of(settings, options)
    if model is None and work.agent is None:
        click.echo(NO_MODEL, err=True)
        raise click.exceptions.Exit(Exit.BAD_INPUT)
    by_file = work.agent is not None and options["policy_file"] is None
    signature = read_schema(options["json_schema"]) if options["json_schema"] else options["signature"]
    agent = make_agent(
        # Strict: a script that lacks its tools should stop, not do something else.
        make_toolbox(options["mcp_config"], strict=True, pins=LOCK),
        settings,
        options,
        stack,
        model=model,
        policy=None if by_file else read_policy(options["policy_file"]),
        signature=signature,
        agent_file=work.agent,
        folder=work.folder,
        sandbox=_sandbox(options, stack),
        approver=written_consent(options["yes_to"]),
        memory=make_memory(settings, options["memory"], stack),
        sinks=_watchers(options["output_format"]),
    )
    from corral.agents import run_in_background
    from corral.apps.scripted import read_inputs

    inputs = read_inputs(options["inputs"])
    return run_in_background(lambda: script.run(agent, inputs))


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
        return work.script
    text = _read(path) if path is not None else options["prompt"] if argument is None else argument
    return Prompt(_with_stdin(text))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise fail(f"{path}: the file can't be read: {problem}", Exit.BAD_INPUT) from error


def _with_stdin(text: str | None) -> str:
    """The task's text; what is piped in is all of it, or a block beside it."""
    if text is not None and text != "-":
        # Bytes that are no UTF-8 reach Python as lone surrogates, which nothing can be sent with.
        said = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").strip()
        piped = _piped() if _is_pipe() else ""
        # What is inside must not be able to end the block.
        block = piped.replace("</stdin", "<\\/stdin")
        said = f"{said}\n\n<stdin>\n{block}\n</stdin>" if piped else said
    elif sys.stdin is None or sys.stdin.isatty():
        raise fail("there is no task; give one as an argument, or pipe one in", Exit.BAD_INPUT)
    else:
        said = _piped()
    if not said:
        raise fail("there is no task; its text is empty", Exit.BAD_INPUT)
    return said


def _piped() -> str:
    return sys.stdin.buffer.read().decode("utf-8", "replace").strip()


def _is_pipe() -> bool:
    """Whether text is piped in, or redirected from a file; a terminal, /dev/null and a closed stdin are neither."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (AttributeError, OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode)


def _sandbox(options: dict[str, Any], stack: ExitStack) -> SandboxProvider | None:
    from corral.agents import run_in_background

    provider = run_in_background(lambda: choose_sandbox(options["sandbox"], options["kind"]))
    if provider is not None:
        stack.callback(run_in_background, provider.close)
    return provider


def _watchers(output_format: str) -> tuple[Sink, ...]:
    from corral.apps.terminal import Progress

    if output_format == "stream-json":
        return (_JsonLines(),)
    return (Progress(quiet=not sys.stderr.isatty()),)


class _JsonLines:
    """Every event as a line of JSON on stdout."""

    def emit(self, event: Any) -> None:
        from pydantic_core import to_json

        click.echo(to_json(event.to_json(), fallback=str).decode())


def _print(outcome: Outcome, output_format: str) -> None:
    if output_format == "json":
        click.echo(json.dumps(_summary(outcome), ensure_ascii=False))
    elif output_format == "text" and outcome.outputs is not None:
        shown = _answer(outcome.outputs)
        click.echo(printable(shown) if sys.stdout.isatty() else shown)
    for problem in () if output_format == "json" else outcome.problems:
        click.echo(f"corral: {problem}", err=True)


def _summary(outcome: Outcome) -> dict[str, Any]:
    """One object; of several turns, what they came to together and each by itself."""
    runs = [_run_summary(result) for result in outcome.results]
    if len(runs) == 1 and not outcome.unmet:
        return runs[0]
    return {"ok": outcome.ok, "outputs": outcome.outputs, "unmet": list(outcome.unmet), "runs": runs}


def _run_summary(result: Result) -> dict[str, Any]:
    from pydantic_core import to_jsonable_python

    usage = result.usage
    return {
        "run_id": result.run_id,
        "reason": result.reason.value,
        "outputs": to_jsonable_python(result.outputs, fallback=str),
        "text": result.text,
        "detail": result.detail,
        "steps": result.steps,
        "tool_calls": result.tool_calls,
        "seconds": round(result.seconds, 3),
        "usage": {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens,
                  "cached_tokens": usage.cached_tokens, "cost_usd": usage.cost_usd},
    }  # fmt: skip


def _answer(outputs: dict[str, Any]) -> str:
    """The one output's text, or JSON."""
    value = next(iter(outputs.values())) if len(outputs) == 1 else outputs
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _status(outcome: Outcome) -> Exit:
    from corral.agents import StopReason

    for result in outcome.results:
        if not result.ok:
            limit = Exit.LIMIT if result.reason.is_limit else Exit.ERROR
            return Exit.DENIED if result.reason is StopReason.DENIED else limit
    return Exit.DONE if outcome.ok else Exit.ERROR
