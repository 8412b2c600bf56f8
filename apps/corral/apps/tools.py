"""`corral tools`: what is behind an `mcpServers` file, and a call by hand."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import anyio
import click

from corral.apps.assembly import LOCK, make_toolbox, read_policy, setting, written_consent
from corral.apps.failures import Exit, explained, fail
from corral.apps.missing import Missing
from corral.apps.terminal import printable

if TYPE_CHECKING:
    from corral.agents.toolcalls import Outcome
    from corral.tools import Tool, Toolbox

__all__ = ["tools"]

T = TypeVar("T")

DEFAULT = Path("mcp.json")


def _config(ctx: click.Context, parameter: click.Parameter, given: Path | None) -> Path:
    """The file that is configured, or else the one that `corral mcp add` writes."""
    found = given or setting("mcp_config", DEFAULT)()
    if given is None and not found.exists():
        raise click.UsageError(f"there is no {found} here; give --mcp-config FILE, or make one with `corral mcp add`")
    return found


_CONFIG = click.option(
    "--mcp-config",
    type=click.Path(path_type=Path),
    callback=_config,
    help="A JSON file with mcpServers; by default what is configured, or mcp.json.",
)

_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")


@click.group()
def tools() -> None:
    """List and call the tools of MCP servers.

    \b
    corral tools list --mcp-config mcp.json
    corral tools call time_get_current_time '{"timezone": "UTC"}' --mcp-config mcp.json --yes-to 'tool:time/*'
    """


@tools.command("list")
@_CONFIG
@_JSON
@click.pass_context
def list_tools(ctx: click.Context, mcp_config: Path, as_json: bool) -> None:
    """List all tools; servers that do not start are named on stderr, and the exit status is then 1."""

    async def show(toolbox: Toolbox) -> Exit:
        for tool in toolbox.tools:
            click.echo(json.dumps(_as_json(tool)) if as_json else _line(tool))
        if not toolbox.tools:
            click.echo("corral: there are no tools", err=True)
        Missing().tell(toolbox)
        _tell_changed(toolbox)
        return Exit.ERROR if toolbox.failures else Exit.DONE

    ctx.exit(_with_toolbox(mcp_config, show, strict=False))


@tools.command()
@click.argument("name")
@_CONFIG
@_JSON
def show(name: str, mcp_config: Path, as_json: bool) -> None:
    """Show one tool: its signature as code sees it, and its schema."""

    async def shown(toolbox: Toolbox) -> None:
        Missing().tell(toolbox)
        tool = _find(toolbox, name)
        if as_json:
            click.echo(json.dumps(_as_json(tool) | {"output_schema": tool.output_schema, "icons": list(tool.icons)}))
            return
        click.echo(printable(tool.signature()))
        click.echo(f"\n{tool.resource}  effect {tool.effect.value}{'  read-only' if tool.read_only else ''}")
        click.echo(json.dumps(tool.input_schema, indent=2, ensure_ascii=False))

    _with_tool(mcp_config, name, shown)


@tools.command()
@click.argument("name")
@click.argument("arguments", default="{}")
@_CONFIG
@click.option("--policy", "policy_file", metavar="FILE|PRESET", help="Rules, YAML or TOML.")
@click.option("--yes-to", multiple=True, metavar="RESOURCE", help="Agree to what asks, such as 'tool:files/*'.")
@_JSON
@click.pass_context
def call(
    ctx: click.Context,
    name: str,
    arguments: str,
    mcp_config: Path,
    as_json: bool,
    policy_file: str | None,
    yes_to: tuple[str, ...],
) -> None:
    """Call a tool with ARGUMENTS, a JSON object, through the gate; print what it returned."""

    async def called(toolbox: Toolbox) -> Outcome:
        from corral.apps.bench import Bench

        Missing().tell(toolbox)
        _find(toolbox, name)
        async with Bench(toolbox, policy, approver) as bench:
            return await bench.call(name, given)

    with explained():
        policy = read_policy(policy_file)
        approver = written_consent(yes_to)
    try:
        given: object = json.loads(arguments)
    except ValueError as error:
        raise fail(f"the arguments are not JSON: {error}", Exit.BAD_INPUT) from error
    outcome = _with_tool(mcp_config, name, called)
    if as_json:
        said = {"outcome": outcome.kind, "text": outcome.text, "value": outcome.value}
        click.echo(json.dumps(said, ensure_ascii=False, default=str))
    elif outcome.text:
        click.echo(printable(outcome.text), err=outcome.is_error)
    else:
        click.echo("corral: it returned nothing", err=True)
    ctx.exit({"ok": Exit.DONE, "denied": Exit.DENIED}.get(outcome.kind, Exit.ERROR))


@tools.command()
@click.argument("query")
@_CONFIG
@click.option("-k", type=click.IntRange(min=1), default=5, show_default=True, help="At the most.")
@_JSON
@click.pass_context
def search(ctx: click.Context, query: str, mcp_config: Path, k: int, as_json: bool) -> None:
    """Find tools by words of their names, descriptions and parameters; the exit status is 1 if there is none."""

    async def found(toolbox: Toolbox) -> Exit:
        Missing().tell(toolbox)
        tools = toolbox.search(query, k)
        for tool in tools:
            click.echo(json.dumps(_as_json(tool)) if as_json else _line(tool))
        if not tools:
            click.echo(f"corral: none of {len(toolbox)} tools fits these words; try others", err=True)
        return Exit.DONE if tools else Exit.ERROR

    ctx.exit(_with_toolbox(mcp_config, found, strict=False))


@tools.command("lock")
@_CONFIG
@click.option("--file", type=click.Path(path_type=Path), default="tools.lock", show_default=True)
def lock_tools(mcp_config: Path, file: Path) -> None:
    """Approve the definitions of all tools as they are now, and write them to a lock file.

    A run in a folder with tools.lock withholds every tool that changed since.
    """
    from corral.tools import lock

    async def locked(toolbox: Toolbox) -> int:
        if not toolbox.tools:
            raise fail(f"{mcp_config} has no tools to lock; a lock of none would withhold all", Exit.BAD_INPUT)
        return len(lock(toolbox.tools, file).definitions)

    click.echo(f"{file}: {_with_toolbox(mcp_config, locked, strict=True)} tools")


@tools.command("diff")
@_CONFIG
@click.option("--file", type=click.Path(path_type=Path), default="tools.lock", show_default=True)
@_JSON
@click.pass_context
def diff_tools(ctx: click.Context, mcp_config: Path, file: Path, as_json: bool) -> None:
    """Show how tools differ from the lock file; exit status 1 if any does."""
    from corral.tools import Change, diff

    if not file.exists():
        advice = f"corral tools lock --mcp-config {mcp_config}" + ("" if file == LOCK else f" --file {file}")
        raise fail(f"there is no {file}; approve the tools as they are now with `{advice}`", Exit.BAD_INPUT)

    async def compared(toolbox: Toolbox) -> tuple[Change, ...]:
        return diff(toolbox.tools, file)

    changes = _with_toolbox(mcp_config, compared, strict=True)
    for change in changes:
        if as_json:
            said = {"resource": change.resource, "kind": change.kind, "lines": list(change.lines)}
            click.echo(json.dumps(said, ensure_ascii=False))
        else:
            click.echo(printable("\n".join((f"{change.kind} {change.resource}", *change.lines))))
    if not changes:
        click.echo(f"corral: all tools are as they stand in {file}", err=True)
    ctx.exit(Exit.ERROR if changes else Exit.DONE)


def _with_tool(config: Path, name: str, use: Callable[[Toolbox], Awaitable[T]]) -> T:
    """As `_with_toolbox`, with the servers alone that the tool may be of, if it is of one of these."""

    async def opened() -> T:
        from corral.tools.names import spell

        few = make_toolbox(config, strict=False, looking=True, only=lambda server: name.startswith(spell(server, "")))
        async with few:
            if name in few:
                return await use(few)
        async with make_toolbox(config, strict=False, looking=True) as toolbox:
            return await use(toolbox)

    with explained():
        return anyio.run(opened)


def _with_toolbox(config: Path, use: Callable[[Toolbox], Awaitable[T]], *, strict: bool) -> T:
    async def opened() -> T:
        async with make_toolbox(config, strict=strict, looking=True) as toolbox:
            return await use(toolbox)

    with explained():
        return anyio.run(opened)


def _tell_changed(toolbox: Toolbox) -> None:
    """What runs in this folder withhold of the tools that are listed."""
    from corral.tools import Pins

    if not LOCK.exists():
        return
    withheld = [change.resource for change in Pins.load(LOCK).diff(toolbox.tools) if change.kind != "removed"]
    for resource in withheld:
        told = f"{resource} is not as {LOCK} has it, and runs here withhold it; see `corral tools diff`"
        click.echo(f"corral: {printable(told)}", err=True)


def _find(toolbox: Toolbox, name: str) -> Tool:
    tool = toolbox.get(name)
    if tool is None:
        near = toolbox.suggest(name)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise fail(f"there is no tool {name!r}{hint}", Exit.BAD_INPUT)
    return tool


def _line(tool: Tool) -> str:
    first = tool.description.strip().splitlines()[0] if tool.description.strip() else ""
    return printable(f"{tool.name}  {first}")


def _as_json(tool: Tool) -> dict[str, object]:
    return {
        "name": tool.name,
        "resource": tool.resource,
        "description": tool.description,
        "title": tool.title,
        "effect": tool.effect.value,
        "read_only": tool.read_only,
        "input_schema": tool.input_schema,
    }
