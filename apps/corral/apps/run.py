"""`corral run`: one task, from an argument or stdin, to its answer."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from corral.apps.failures import Exit, explained, fail

if TYPE_CHECKING:
    from corral.agents import Agent, ModelSpec, Result
    from corral.apps.settings import Settings
    from corral.policy import Limits, Policy, Sink
    from corral.sandbox import SandboxProvider
    from corral.tools import Toolbox

__all__ = ["run"]

NO_MODEL = """\
corral: no model is configured. Name one in one of these ways:
  --model openai/gpt-4o-mini           with OPENAI_API_KEY set, or another provider/name with its key
  --model openai/NAME --api-base URL   for any OpenAI-compatible server, such as http://127.0.0.1:8000/v1
  CORRAL_MODEL=... CORRAL_API_BASE=... in the environment or in .env"""


@click.command()
@click.argument("task", required=False)
@click.option("--model", help="provider/name, such as openai/gpt-4o-mini.")
@click.option("--api-base", help="An OpenAI-compatible server, such as http://127.0.0.1:8000/v1.")
@click.option(
    "--mcp-config", type=click.Path(path_type=Path), help="A JSON file with mcpServers, as other clients use."
)
@click.option("--policy", "policy_file", type=click.Path(path_type=Path), help="Rules and limits, YAML or TOML.")
@click.option("--kind", type=click.Choice(["react", "codeact", "both"]), default="react", show_default=True,
              help="What the model acts with: tools, Python in a sandbox, or both.")  # fmt: skip
@click.option("--protocol", type=click.Choice(["native", "text"]), default="native", show_default=True,
              help="How tools are offered: function calls, or text for models that have none.")  # fmt: skip
@click.option("--sandbox", type=click.Choice(["auto", "docker", "monty"]), default="auto", show_default=True)
@click.option("--signature", default="task -> answer", show_default=True, help="Inputs and typed outputs.")
@click.option("--max-steps", type=click.IntRange(min=0), help="Model calls.")
@click.option("--max-tool-calls", type=click.IntRange(min=0), help="Tool calls and cells.")
@click.option("--max-tokens", type=click.IntRange(min=0), help="Tokens of all model calls.")
@click.option("--max-cost", type=click.FloatRange(min=0), help="US dollars; needs a model whose price is known.")
@click.option("--timeout", type=click.FloatRange(min=0), help="Seconds.")
@click.option("--price", type=float, nargs=2, metavar="IN OUT", help="US dollars per million tokens of the model.")
@click.option("--yes-to", multiple=True, metavar="RESOURCE", help="Agree to what asks, such as 'tool:files/*'.")
@click.option("--output-format", type=click.Choice(["text", "json", "stream-json"]), default="text", show_default=True)
@click.pass_context
def run(ctx: click.Context, task: str | None, **options: Any) -> None:
    """Run one task and print its answer.

    TASK is the task's text; without it, or with "-", it is read from stdin.

    \b
    corral run "Which file is the largest?" --mcp-config mcp.json --policy policy.yaml
    git log -5 | corral run --kind codeact --model openai/m --api-base http://127.0.0.1:8000/v1
    """
    with explained():
        text = _task(task)
        settings = _settings()
        spec = _model(settings, options)
        with ExitStack() as stack:
            agent = _agent(spec, settings, options, stack)
            result = _run(agent, text)
    _print_result(result, options["output_format"])
    ctx.exit(_status(result))


def _task(argument: str | None) -> str:
    if argument is not None and argument != "-":
        return argument
    if sys.stdin is None or sys.stdin.isatty():
        raise fail("there is no task; give one as an argument, or pipe one in", Exit.BAD_INPUT)
    text = sys.stdin.buffer.read().decode("utf-8", "replace").strip()
    if not text:
        raise fail("there is no task; stdin was empty", Exit.BAD_INPUT)
    return text


def _settings() -> Settings:
    from pydantic import ValidationError

    from corral.apps.settings import Settings

    try:
        return Settings()
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        name = "CORRAL_" + "_".join(str(part) for part in problem["loc"]).upper()
        raise fail(f"{name}: {problem['msg']}", Exit.BAD_INPUT) from error


def _model(settings: Settings, options: dict[str, Any]) -> ModelSpec:
    from corral.agents import ModelSpec, Price

    name = options["model"] or settings.model
    if not name:
        click.echo(NO_MODEL, err=True)
        raise click.exceptions.Exit(Exit.BAD_INPUT)
    price = options["price"]
    return ModelSpec.of(
        model=name,
        api_base=options["api_base"] or settings.api_base,
        api_key=settings.api_key,
        native_tools=options["protocol"] == "native",
        price=Price(input=price[0], output=price[1]) if price else None,
    )


def _agent(spec: ModelSpec, settings: Settings, options: dict[str, Any], stack: ExitStack) -> Agent:
    from corral.agents import Actions, Agent, Journal
    from corral.apps.approver import WrittenConsent
    from corral.policy import FileAudit

    kinds = {"react": Actions.TOOLS, "codeact": Actions.CODE, "both": Actions.TOOLS | Actions.CODE}
    try:
        approver = WrittenConsent(options["yes_to"]) if options["yes_to"] else None
    except ValueError as error:
        raise fail(f"--yes-to: {error}", Exit.BAD_INPUT) from error
    policy = _policy(options["policy_file"])
    toolbox = _toolbox(options["mcp_config"])
    journal = stack.enter_context(Journal(settings.journal))
    audit = FileAudit(settings.audit)
    stack.callback(audit.close)
    return Agent(
        options["signature"],
        toolbox,
        lm=spec,
        sandbox=_sandbox(options["sandbox"], options["kind"], stack),
        policy=policy,
        approver=approver,
        limits=_limits(options),
        audit=audit,
        sinks=[journal, *_watchers(options["output_format"])],
        actions=kinds[options["kind"]],
    )


def _policy(path: Path | None) -> Policy | None:
    from corral.policy import Policy

    return None if path is None else Policy.load(path)


def _toolbox(config: Path | None) -> Toolbox:
    from corral.tools import Toolbox, load_mcp_config

    # A script that lacks its tools should stop, not do something else.
    return Toolbox(*(load_mcp_config(config) if config is not None else []), strict=True)


def _sandbox(name: str, kind: str, stack: ExitStack) -> SandboxProvider | None:
    if kind == "react" or name == "auto":
        return None
    from corral.agents import run_in_background
    from corral.sandbox import DockerProvider, MontyProvider

    provider: SandboxProvider = DockerProvider() if name == "docker" else MontyProvider()
    stack.callback(lambda: run_in_background(provider.close))
    return provider


def _limits(options: dict[str, Any]) -> Limits:
    from corral.policy import Limits

    names = {
        "steps": "max_steps",
        "tool_calls": "max_tool_calls",
        "tokens": "max_tokens",
        "cost_usd": "max_cost",
        "seconds": "timeout",
    }
    return Limits.model_validate({name: options[flag] for name, flag in names.items() if options[flag] is not None})


def _watchers(output_format: str) -> list[Sink]:
    from corral.apps.terminal import Progress

    if output_format == "stream-json":
        return [_JsonLines()]
    return [Progress()] if sys.stderr is not None and sys.stderr.isatty() else []


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
            _print_outputs(outputs)
        if not result.ok:
            click.echo(f"corral: {result.detail or _why(result)}", err=True)


def _print_outputs(outputs: dict[str, Any]) -> None:
    from corral.apps.terminal import printable

    text = next(iter(outputs.values())) if len(outputs) == 1 else outputs
    shown = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False, indent=None)
    click.echo(printable(shown) if sys.stdout.isatty() else shown)


def _why(result: Result) -> str:
    return f"the run ended at its limit on {result.reason.value}" if result.reason.is_limit else result.reason.value


def _status(result: Result) -> Exit:
    from corral.agents import StopReason

    if result.ok:
        return Exit.DONE
    if result.reason.is_limit:
        return Exit.LIMIT
    return Exit.DENIED if result.reason is StopReason.DENIED else Exit.ERROR
