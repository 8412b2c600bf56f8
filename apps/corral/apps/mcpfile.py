"""The `mcpServers` file on the command line: entries added, listed, and tried."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import anyio
import click

from corral.apps.assembly import read_settings, setting, stored_logins
from corral.apps.failures import Exit, explained, fail
from corral.apps.terminal import printable

if TYPE_CHECKING:
    from corral.tools import MCPServer

__all__ = ["add", "check", "list_servers"]

_CONFIG = click.option(
    "--mcp-config",
    type=click.Path(path_type=Path),
    default=setting("mcp_config", Path("mcp.json")),
    show_default="mcp.json",
    help="A JSON file with mcpServers.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("--url", help="Of a server over HTTP, instead of a command.")
@click.option("--sse", is_flag=True, help="It speaks the older HTTP+SSE.")
@click.option("--header", "headers", multiple=True, metavar="NAME=VALUE", help="Secrets as ${VARIABLE}.")
@click.option("--env", multiple=True, metavar="NAME=VALUE", help="Secrets as ${VARIABLE}.")
@click.option("--login", is_flag=True, help="A person consents in a browser.")
@click.option("--trust", is_flag=True, help="Believe its hints of what only reads.")
@click.option("--required", is_flag=True, help="Nothing runs without it; otherwise runs do without its tools.")
@click.option("--replace", is_flag=True, help="Of an entry that is there already.")
@_CONFIG
def add(name: str, command: tuple[str, ...], mcp_config: Path, replace: bool, **options: Any) -> None:
    """Add a server to the file, which is made if there is none.

    \b
    corral mcp add time -- uvx mcp-server-time
    corral mcp add farm --url https://farm.example/mcp --header 'Authorization=Bearer ${FARM_TOKEN}'
    """
    from corral.tools import ToolConfigError, load_mcp_config

    if bool(command) == bool(options["url"]):
        raise fail("give a command after --, or --url", Exit.BAD_INPUT)
    entry = _entry(command, options)
    data = _read(mcp_config)
    servers = cast("dict[str, Any]", data.setdefault("mcpServers", {}))
    if name in servers and not replace:
        raise fail(f"{mcp_config} has a server {name!r} already; --replace takes its place", Exit.BAD_INPUT)
    servers[name] = entry
    draft = mcp_config.with_name(f".{mcp_config.name}.new")
    with explained():
        try:
            draft.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            load_mcp_config(draft)  # what can't be read is not put there
            draft.replace(mcp_config)
        except ToolConfigError as error:
            place = error.place.replace(draft.name, mcp_config.name)
            raise ToolConfigError(place, f"{error.problem} (nothing was added)") from error
        finally:
            draft.unlink(missing_ok=True)
    click.echo(f"{mcp_config}: added {name}; try it with `corral mcp check {name}`")


@click.command("list")
@_CONFIG
@_JSON
def list_servers(mcp_config: Path, as_json: bool) -> None:
    """List the servers of the file; none is started."""
    servers = cast("dict[str, dict[str, Any]]", _read(mcp_config, must_exist=True).get("mcpServers") or {})
    for name, entry in servers.items():
        where = (
            entry.get("url") or entry.get("serverUrl") or " ".join([entry.get("command", ""), *entry.get("args", [])])
        )
        off = "  (disabled)" if entry.get("disabled") else ""
        said = {"name": name, "where": where, "disabled": bool(entry.get("disabled"))}
        click.echo(json.dumps(said) if as_json else printable(f"{name}  {where}{off}"))
    if not servers:
        click.echo(f"corral: {mcp_config} names no servers; add one with `corral mcp add`", err=True)


@click.command()
@click.argument("names", nargs=-1)
@_CONFIG
@_JSON
@click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), default=30.0, show_default=True, help="Seconds."
)
@click.pass_context
def check(ctx: click.Context, names: tuple[str, ...], mcp_config: Path, as_json: bool, timeout: float) -> None:
    """Start or reach each server, and list its tools; the exit status is 1 if one fails."""
    from corral.tools import load_mcp_config

    with explained():
        servers = load_mcp_config(
            mcp_config, connect_timeout=timeout, logins=stored_logins(read_settings(), mcp_config)
        )
    known = [server.name for server in servers]
    if unknown := [name for name in names if name not in known]:
        raise fail(f"{mcp_config} has no server {unknown[0]!r}; it has {', '.join(known) or 'none'}", Exit.BAD_INPUT)
    chosen = [server for server in servers if server.name in names or not names]
    if not chosen:
        click.echo(f"corral: {mcp_config} names no servers; add one with `corral mcp add`", err=True)
    reports = anyio.run(_try_all, chosen)
    for report in reports:
        click.echo(json.dumps(report, ensure_ascii=False) if as_json else printable(_line(report)))
    ctx.exit(Exit.DONE if all(report["ok"] for report in reports) else Exit.ERROR)


async def _try_all(servers: list[MCPServer]) -> list[dict[str, Any]]:
    reports: dict[str, dict[str, Any]] = {}

    async def one(server: MCPServer) -> None:
        reports[server.name] = await _try(server)

    async with anyio.create_task_group() as group:
        for server in servers:
            group.start_soon(one, server)
    return [reports[server.name] for server in servers]


async def _try(server: MCPServer) -> dict[str, Any]:
    from corral.tools import ToolError

    start = time.perf_counter()
    try:
        async with server:
            tools = await server.tools()
            prompts = await server.prompts()
            return {
                "name": server.name,
                "ok": True,
                "tools": [tool.name for tool in tools],
                "prompts": [prompt.name for prompt in prompts],
                "left_out": dict(server.left_out),
                "seconds": round(time.perf_counter() - start, 3),
            }
    except ToolError as error:
        return {
            "name": server.name,
            "ok": False,
            "problem": str(error),
            "seconds": round(time.perf_counter() - start, 3),
        }


def _line(report: dict[str, Any]) -> str:
    if not report["ok"]:
        return f"{report['name']}  failed: {report['problem'].removeprefix(report['name'] + ': ')}"
    left_out = "".join(f"\n  left out: {name}: {why}" for name, why in report["left_out"].items())
    prompts = f", {len(report['prompts'])} prompts" if report["prompts"] else ""
    return f"{report['name']}  ok: {len(report['tools'])} tools{prompts}, {report['seconds']:.2f} s{left_out}"


def _entry(command: tuple[str, ...], options: dict[str, Any]) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    if command:
        entry["command"] = command[0]
        entry["args"] = list(command[1:])
        if options["env"]:
            entry["env"] = _pairs(options["env"], "--env")
        beside = [f"--{key}" for key in ("headers", "sse", "login") if options[key]]
    else:
        entry["type"] = "sse" if options["sse"] else "http"
        entry["url"] = options["url"]
        if options["headers"]:
            entry["headers"] = _pairs(options["headers"], "--header")
        if options["login"]:
            entry["login"] = True
        beside = ["--env"] if options["env"] else []
    if beside:
        raise fail(f"{beside[0]} does not go with {'a command' if command else '--url'}", Exit.BAD_INPUT)
    entry |= {key: True for key in ("trust", "required") if options[key]}
    return entry


def _pairs(given: tuple[str, ...], flag: str) -> dict[str, str]:
    """Names and values; a value that must be secret stands in the environment, not in the file."""
    from corral.tools.address import carries_secrets

    pairs: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise fail(f"{flag} takes NAME=VALUE, not {text.partition('=')[0]!r}", Exit.BAD_INPUT)
        if carries_secrets(name, "") and "${" not in value:
            raise fail(f"{flag} {name}: write a secret as ${{VARIABLE}}, and set that variable", Exit.BAD_INPUT)
        pairs[name] = value
    return pairs


def _read(path: Path, *, must_exist: bool = False) -> dict[str, Any]:
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        if must_exist:
            raise fail(f"there is no {path}; make one with `corral mcp add`", Exit.BAD_INPUT) from None
        return {}
    except (OSError, ValueError) as error:
        raise fail(f"{path}: this can't be read as JSON: {error}", Exit.BAD_INPUT) from error
    if not isinstance(data, dict) or not isinstance(cast("dict[str, Any]", data).get("mcpServers", {}), dict):
        raise fail(f'{path}: expected {{"mcpServers": {{...}}}}', Exit.BAD_INPUT)
    return cast("dict[str, Any]", data)
