"""`corral run`: one task, from an argument or stdin, to its answer."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

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

if TYPE_CHECKING:
    from corral.agents import Agent, Result
    from corral.policy import Sink
    from corral.sandbox import SandboxProvider

__all__ = ["run"]


@click.command()
@click.argument("task", required=False)
@agent_options
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

    TASK is the task's text; without it, or with "-", it is read from stdin.

    \b
    corral run "Which file is the largest?" --mcp-config mcp.json --policy policy.yaml
    git log -5 | corral run --kind codeact --model openai/m --api-base http://127.0.0.1:8000/v1
    """
    with explained(), ExitStack() as stack:
        text = _task(task)
        _check_output(options["output"])
        settings = read_settings()
        model = model_of(settings, options)
        if model is None and options["agent_file"] is None:
            click.echo(NO_MODEL, err=True)
            raise click.exceptions.Exit(Exit.BAD_INPUT)
        by_file = options["agent_file"] is not None and options["policy_file"] is None
        policy = None if by_file else read_policy(options["policy_file"])
        signature = read_schema(options["json_schema"]) if options["json_schema"] else options["signature"]
        # Strict: a script that lacks its tools should stop, not do something else.
        toolbox = make_toolbox(options["mcp_config"], strict=True, pins=LOCK)
        approver = written_consent(options["yes_to"])
        sandbox = _sandbox(options, stack)
        agent = make_agent(
            toolbox,
            settings,
            options,
            stack,
            model=model,
            policy=policy,
            signature=signature,
            sandbox=sandbox,
            approver=approver,
            memory=make_memory(settings, options["memory"], stack),
            sinks=_watchers(options["output_format"]),
        )
        result = _run(agent, text)
    _print_result(result, options["output_format"])
    if options["output"] is not None and result.outputs is not None:
        with explained():
            options["output"].write_text(_answer(result.outputs) + "\n", encoding="utf-8")
    ctx.exit(_status(result))


def _check_output(path: Path | None) -> None:
    """Whether the answer can be written, before anything is paid for."""
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise fail(f"-o {path}: there is no such folder, or it is one", Exit.BAD_INPUT)


def _task(argument: str | None) -> str:
    if argument is not None and argument != "-":
        # Bytes that are no UTF-8 reach Python as lone surrogates, which nothing can be sent with.
        return argument.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if sys.stdin is None or sys.stdin.isatty():
        raise fail("there is no task; give one as an argument, or pipe one in", Exit.BAD_INPUT)
    text = sys.stdin.buffer.read().decode("utf-8", "replace").strip()
    if not text:
        raise fail("there is no task; stdin was empty", Exit.BAD_INPUT)
    return text


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


def _run(agent: Agent, text: str) -> Result:
    from corral.agents import DefinitionError

    names = list(agent.signature.inputs)
    if len(names) != 1:
        raise DefinitionError(f"a task on the command line is one input; the signature has {', '.join(names)}")
    return agent.run_sync(text)


def _print_result(result: Result, output_format: str) -> None:
    from pydantic_core import to_jsonable_python

    outputs: Any = to_jsonable_python(result.outputs, fallback=str)
    if output_format == "json":
        usage = result.usage
        summary = {
            "run_id": result.run_id,
            "reason": result.reason.value,
            "outputs": outputs,
            "text": result.text,
            "detail": result.detail,
            "steps": result.steps,
            "tool_calls": result.tool_calls,
            "seconds": round(result.seconds, 3),
            "usage": {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens,
                      "cached_tokens": usage.cached_tokens, "cost_usd": usage.cost_usd},
        }  # fmt: skip
        click.echo(json.dumps(summary, ensure_ascii=False))
    elif output_format == "text":
        if outputs is not None:
            shown = _answer(outputs)
            click.echo(printable(shown) if sys.stdout.isatty() else shown)
        if not result.ok:
            click.echo(f"corral: {result.detail or _why(result)}", err=True)


def _answer(outputs: dict[str, Any]) -> str:
    """The one output's text, or JSON."""
    from pydantic_core import to_jsonable_python

    value = next(iter(outputs.values())) if len(outputs) == 1 else outputs
    return value if isinstance(value, str) else json.dumps(to_jsonable_python(value, fallback=str), ensure_ascii=False)


def _why(result: Result) -> str:
    return f"the run ended at its limit on {result.reason.value}" if result.reason.is_limit else result.reason.value


def _status(result: Result) -> Exit:
    from corral.agents import StopReason

    if result.ok:
        return Exit.DONE
    if result.reason.is_limit:
        return Exit.LIMIT
    return Exit.DENIED if result.reason is StopReason.DENIED else Exit.ERROR
