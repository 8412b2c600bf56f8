"""From flags and settings to an agent: what `run` and `chat` have in common."""

from __future__ import annotations

import gc
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from corral.apps.failures import Exit, fail

if TYPE_CHECKING:
    from corral.agents import Agent, AgentFile, ModelSpec
    from corral.apps.settings import Settings
    from corral.memory import Memory
    from corral.policy import Approver, Limits, Policy, Sink
    from corral.sandbox import ProviderName, SandboxProvider
    from corral.tools import Logins, MCPServer, TokenStore, Tool, Toolbox

__all__ = [
    "LOCK",
    "NO_MODEL",
    "SANDBOXES",
    "agent_options",
    "choose_sandbox",
    "consolidate_option",
    "limits_of",
    "make_agent",
    "make_memory",
    "make_toolbox",
    "model_of",
    "read_policy",
    "read_settings",
    "setting",
    "stored_logins",
    "tell_progress",
    "token_store",
    "written_consent",
]

CommandT = TypeVar("CommandT", bound=Callable[..., Any])

_READ = "corral.settings"

LOCK = Path("tools.lock")
"""Beside the task that is run: what `corral tools lock` approved."""

SANDBOXES = ("auto", "docker", "linux", "monty")
"""Where code may run, as flags name it; corral.sandbox takes too long to import for `--help`."""

NO_MODEL = """\
corral: no model is configured. Name one in one of these ways:
  --model openai/gpt-4o-mini           with OPENAI_API_KEY set, or another provider/name with its key
  --model openai/NAME --api-base URL   for any OpenAI-compatible server, such as http://127.0.0.1:8000/v1
  CORRAL_MODEL=... CORRAL_API_BASE=... in the environment or in .env"""


def setting(name: str, otherwise: Any = None) -> Callable[[], Any]:
    """A flag's default: what is configured under `name`, read only when the flag was not given."""

    def default() -> Any:
        found = getattr(read_settings(), name)
        return otherwise if found is None else found

    return default


_OPTIONS = (
    click.option("--model", help="provider/name, such as openai/gpt-4o-mini."),
    click.option("--api-base", help="An OpenAI-compatible server, such as http://127.0.0.1:8000/v1."),
    click.option(
        "--mcp-config",
        type=click.Path(path_type=Path),
        default=setting("mcp_config"),
        help="A JSON file with mcpServers.",
    ),
    click.option(
        "--policy",
        "policy_file",
        metavar="FILE|PRESET",
        default=setting("policy"),
        help="Rules and limits, YAML or TOML; or readonly, developer, unattended, paranoid.",
    ),
    click.option(
        "--mode",
        type=click.Choice(["enforce", "plan", "unattended", "shadow"]),
        default="enforce",
        show_default=True,
        help="plan: change nothing; unattended: deny what asks; shadow: INSECURE, only note what would be refused.",
    ),
    click.option(
        "--kind",
        type=click.Choice(["react", "codeact", "both"]),
        default=setting("kind", "react"),
        show_default="react",
        help="What the model acts with: tools, Python in a sandbox, or both.",
    ),
    click.option(
        "--protocol",
        type=click.Choice(["native", "text"]),
        default=setting("protocol", "native"),
        show_default="native",
        help="How tools are offered: function calls, or text for models that have none.",
    ),
    click.option(
        "--sandbox",
        type=click.Choice(SANDBOXES),
        default=setting("sandbox", "auto"),
        show_default="auto",
        help="Where code runs; auto takes the strongest there is.",
    ),
    click.option("--max-steps", type=click.IntRange(min=0), default=setting("max_steps"), help="Model calls."),
    click.option(
        "--max-tool-calls", type=click.IntRange(min=0), default=setting("max_tool_calls"), help="Tool calls and cells."
    ),
    click.option(
        "--max-tokens", type=click.IntRange(min=0), default=setting("max_tokens"), help="Tokens of all model calls."
    ),
    click.option(
        "--max-cost",
        type=click.FloatRange(min=0),
        default=setting("max_cost"),
        help="US dollars; the model's price must be known.",
    ),
    click.option("--timeout", type=click.FloatRange(min=0), default=setting("timeout"), help="Seconds."),
    click.option("--price", type=float, nargs=2, metavar="IN OUT", help="US dollars per million tokens."),
    click.option("--yes-to", multiple=True, metavar="RESOURCE", help="Agree to what asks, such as 'tool:files/*'."),
)


def agent_options(command: CommandT) -> CommandT:
    """Adds the flags that say what an agent is made of."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def read_settings() -> Settings:
    """What is configured, or bad input; a command reads it once."""
    known = click.get_current_context().meta
    if _READ not in known:
        known[_READ] = _settings()
    return known[_READ]


def _settings() -> Settings:
    from pydantic import ValidationError

    from corral.apps.settings import Settings, check_project

    try:
        check_project()
        return Settings()
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        name = "_".join(str(part) for part in problem["loc"])
        raise fail(f"{name} (CORRAL_{name.upper()}, or in corral.toml): {problem['msg']}", Exit.BAD_INPUT) from error
    except ValueError as error:
        raise fail(str(error), Exit.BAD_INPUT) from error


def model_of(settings: Settings, options: dict[str, Any]) -> ModelSpec | None:
    """The model that flags or settings name; None if none do."""
    from corral.agents import ModelSpec, Price

    name = options["model"] or settings.model
    if not name:
        return None
    price = options["price"]
    return ModelSpec.of(
        model=name,
        api_base=options["api_base"] or settings.api_base,
        api_key=settings.api_key,
        native_tools=options["protocol"] == "native",
        price=Price(input=price[0], output=price[1]) if price else None,
    )


def read_policy(named: str | None) -> Policy:
    """The policy of a file, a preset by its name, or the safe one."""
    from corral.policy import Policy

    if named is None:
        return Policy.safe()
    # A preset's name has no dot, and a policy file's must have one.
    return Policy.load(Path(named)) if "." in Path(named).name else Policy.preset(named)


def make_toolbox(
    config: Path | None,
    *,
    strict: bool,
    looking: bool = False,
    only: Callable[[str], bool] | None = None,
    pins: Path | None = None,
    results: Path | None = None,
    tools: Sequence[Tool] = (),
) -> Toolbox:
    """The servers of an `mcpServers` file as a toolbox, not open yet; what differs from the lock file is withheld.

    Args:
        looking: Only to look at what there is: a required server may be missing like any other.
        only: Which of the servers, by name; all when None.
        tools: More of them.
        results: For a model: of very many tools it is shown few and can search, and long results are kept here.
    """
    from corral.policy import Redactor
    from corral.tools import Artifacts, Pins, Toolbox

    servers = [] if config is None else _servers(config)
    servers = [server for server in servers if only is None or only(server.name)]
    for server in servers if looking else ():
        server.required = False
    known = Pins.load(pins) if pins is not None and pins.exists() else None
    if results is None:
        return Toolbox(*servers, *tools, strict=strict, pins=known)
    kept = Artifacts(results, keep_days=7, redactor=Redactor(_secrets_of(os.environ), personal=False))
    return Toolbox(*servers, *tools, strict=strict, pins=known, max_offered=30, artifacts=kept)


def _servers(config: Path) -> list[MCPServer]:
    from corral.tools import load_mcp_config

    return load_mcp_config(config, logins=stored_logins(read_settings(), config))


def stored_logins(settings: Settings, config: Path) -> Logins:
    """The logins of `corral auth login`, for the servers of `config`."""
    from corral.tools import Logins

    advice = f"log in with `corral auth login {{server}} --mcp-config {config}`"
    return Logins(cache(partial(token_store, settings)), advice)


def token_store(settings: Settings) -> TokenStore:
    """Where logins are kept."""
    from corral.tools import open_token_store

    return open_token_store(settings.logins, settings.token_passphrase)


def consolidate_option(command: CommandT) -> CommandT:
    """Adds the flag for those whose runs remember."""
    return click.option(
        "--consolidate/--no-consolidate",
        default=setting("consolidate", False),
        show_default="no-consolidate",
        help="After the answer, let the model draw facts from what was said, once enough has gathered. It costs.",
    )(command)


def make_memory(
    settings: Settings, wanted: bool, stack: ExitStack, agent_file: AgentFile | None = None
) -> Memory | None:
    """The memory below the data folder, closed by `stack`; an agent's file may want it, too, unless a flag does not."""
    if agent_file is not None and "memory" not in _flags():
        wanted = wanted or agent_file.has_memory
    if not wanted:
        return None
    from corral.agents import run_in_background
    from corral.memory import Memory
    from corral.policy import Redactor

    # Names and addresses are what a memory is for; keys and tokens are not.
    shared = agent_file.shared if agent_file is not None else None
    memory = Memory(settings.memory_folder, redact=Redactor(personal=False).redact, shared=shared)
    stack.callback(run_in_background, memory.close)
    return memory


def make_agent(
    toolbox: Toolbox,
    settings: Settings,
    options: dict[str, Any],
    stack: ExitStack,
    *,
    model: ModelSpec | None,
    policy: Policy | None,
    signature: str = "task -> answer",
    sandbox: SandboxProvider | None = None,
    memory: Memory | None = None,
    approver: Approver | None = None,
    sinks: tuple[Sink, ...] = (),
    agent_file: AgentFile | None = None,
    folder: Path | None = None,
) -> Agent:
    """The agent that the flags or an agent file describe; `stack` closes its journal and audit.

    Args:
        agent_file: Flags that were given win over what it says; what is configured does not.
        folder: Where the files are that it names.
    """
    from corral.agents import Actions, Agent, Journal
    from corral.policy import ChainedAudit, Grants, Ledger, Limits, Mode

    # What was imported stays: without this, each full garbage collection goes through it, and takes 50 ms and more.
    if not gc.get_freeze_count():
        gc.freeze()
    kinds = {"react": Actions.TOOLS, "codeact": Actions.CODE, "both": Actions.TOOLS | Actions.CODE}
    journal = stack.enter_context(Journal(settings.journal))
    audit = ChainedAudit(settings.audit)
    stack.callback(audit.close)
    kept: dict[str, Any] = {
        "memory": memory,
        "approver": approver,
        "audit": audit,
        "mode": Mode(options.get("mode") or "enforce"),
        "grants": Grants(settings.grants),
        "sinks": sinks,
        "journal": journal,
        "secrets": _secrets_of(os.environ),
        "ledger": Ledger(settings.ledger),
        "plugins": [*(agent_file.plugins if agent_file is not None else ()), *settings.plugins],
    }
    if agent_file is not None:
        flags = _flags()
        given: dict[str, Any] = {"sandbox": sandbox, "policy": policy, "limits": limits_of(flags)}
        if "consolidate" in flags or memory is None:
            kept["consolidate"] = memory is not None and bool(options.get("consolidate"))
        if "model" in flags or agent_file.model is None:
            given["lm"] = model
        chosen = {name: value for name, value in given.items() if value is not None and value != Limits()}
        return agent_file.make(folder or Path(), logins=partial(stored_logins, settings), **kept, **chosen)
    return Agent(
        signature,
        toolbox,
        consolidate=memory is not None and bool(options.get("consolidate")),
        lm=model,
        sandbox=sandbox,
        policy=policy,
        limits=limits_of(options),
        actions=kinds[options["kind"]],
        **kept,
    )


def _secrets_of(environ: Mapping[str, str]) -> list[str]:
    """Values of variables that are secret by their names: no tool's result is to bring them before a model."""
    names = re.compile(r"(?:^|_)(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?)(?:$|_)", re.IGNORECASE)
    return [value for name, value in environ.items() if names.search(name) and len(value) >= 8]


def _flags() -> dict[str, Any]:
    """The options that were given on the command line."""
    context = click.get_current_context()
    given = click.core.ParameterSource.COMMANDLINE
    return {name: value for name, value in context.params.items() if context.get_parameter_source(name) is given}


def written_consent(patterns: tuple[str, ...]) -> Approver | None:
    """Someone who agrees to what fits `patterns`; None for none."""
    from corral.apps.approver import WrittenConsent

    try:
        return WrittenConsent(patterns) if patterns else None
    except ValueError as error:
        raise fail(f"--yes-to: {_problem(error)}", Exit.BAD_INPUT) from error


def _problem(error: ValueError) -> str:
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        return error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
    return str(error)


async def choose_sandbox(name: str, kind: str) -> SandboxProvider | None:
    """Where code runs, in the event loop that will use it; None if none runs. A missing image is made, and told of.

    Raises:
        SandboxUnavailable: There is no sandbox here.
    """
    if kind == "react":
        return None
    from corral.sandbox import choose, provider_named

    if name != "auto":
        return provider_named(cast("ProviderName", name))
    choice = await choose(build=tell_progress)
    if choice.provider.name != "docker" or "ignores" in choice.reason:
        tell_progress(f"corral: code runs in {choice.reason}")
    return choice.provider


def tell_progress(line: str) -> None:
    """A line on stderr, for a person who waits."""
    click.secho(line, err=True, dim=True)


def limits_of(options: dict[str, Any]) -> Limits:
    from corral.policy import Limits

    names = {
        "steps": "max_steps",
        "tool_calls": "max_tool_calls",
        "tokens": "max_tokens",
        "cost_usd": "max_cost",
        "seconds": "timeout",
    }
    return Limits.model_validate({name: options[flag] for name, flag in names.items() if options.get(flag) is not None})
