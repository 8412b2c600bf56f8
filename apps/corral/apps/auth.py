"""`corral auth`: log in to MCP servers and authorization servers, see the logins, and end them."""

from __future__ import annotations

import json
import os
import sys
import time
import webbrowser
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from corral.apps.assembly import read_settings, setting, token_store
from corral.apps.failures import Exit, fail
from corral.apps.targets import Target, Targets
from corral.apps.terminal import printable

if TYPE_CHECKING:
    from corral.tools.login import Login

__all__ = ["auth"]

_CONFIG = click.option(
    "--mcp-config",
    type=click.Path(path_type=Path),
    default=setting("mcp_config"),
    help="A JSON file with mcpServers.",
)


@click.group()
def auth() -> None:
    """Log in to MCP servers and authorization servers, see the logins, and end them.

    Runs use these logins and ask nobody. They are kept in the system's keyring where there is one (corral[keyring]),
    else in files that are encrypted: with CORRAL_TOKEN_PASSPHRASE, or with a key that lies beside them.

    \b
    corral auth login farm --mcp-config mcp.json
    corral auth login https://auth.example --client-id me --scope herd:read --device
    """


@auth.command()
@click.argument("target", metavar="SERVER_OR_ISSUER")
@_CONFIG
@click.option("--device", is_flag=True, help="By a short code, typed on any device.")
@click.option("--no-browser", is_flag=True, help="Only print where to log in.")
@click.option("--client-id", help="Where a URL is given: as whom the program is known there.")
@click.option("--scope", "scopes", multiple=True, help="What to ask for; may be given more than once.")
@click.option("--resource", help="The API that an issuer's token is for.")
@click.option("--timeout", type=click.FloatRange(min=0), default=300.0, show_default=True, help="Seconds to wait.")
def login(
    target: str,
    mcp_config: Path | None,
    device: bool,
    no_browser: bool,
    client_id: str | None,
    scopes: tuple[str, ...],
    resource: str | None,
    timeout: float,
) -> None:
    """Log in to a server of the mcpServers file by its name, or to an issuer or MCP server by its URL.

    The page to be opened is printed, and opened where there is a browser. What comes back comes to this machine: if
    your browser runs on another one, use --device.
    """

    async def begin() -> None:
        from corral.tools import DeviceCode

        targets = _targets(mcp_config)
        found = await targets.of_url(target, client_id, scopes, resource) if "://" in target else targets.find(target)
        grant = DeviceCode(None, _show_code, timeout) if device else None
        kept = await found.login(grant, partial(_show_page, not no_browser), timeout, scopes)
        if kept is None:
            click.echo(f"{printable(found.name)} wants no login")
            return
        targets.remember(found)
        click.echo(f"logged in to {printable(found.name)}{_until(kept)}")

    _run(begin)


@auth.command()
@click.argument("target", metavar="[SERVER_OR_ISSUER]", required=False)
@_CONFIG
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_context
def status(ctx: click.Context, target: str | None, mcp_config: Path | None, as_json: bool) -> None:
    """Show the logins: which there are, until when, for what. The exit status is 1 if one is missing.

    No server is asked: what was ended elsewhere is found out when it is used.
    """

    async def shown() -> bool:
        targets = _targets(mcp_config)
        chosen = targets.all() if target is None else [targets.find(target)]
        if not chosen and not as_json:
            click.echo("corral: nothing here needs a login", err=True)
        states = [_state(each) for each in chosen]
        for each in states:
            line = f"{each['name']}  {each['state']}{each['until']}{each['scopes']}"
            click.echo(json.dumps(each) if as_json else printable(line))
        return all(each["ok"] for each in states)

    ctx.exit(Exit.DONE if _run(shown) else Exit.ERROR)


@auth.command()
@click.argument("target", metavar="[SERVER_OR_ISSUER]", required=False)
@_CONFIG
@click.option("--all", "everything", is_flag=True, help="End all logins.")
def logout(target: str | None, mcp_config: Path | None, everything: bool) -> None:
    """Forget a login, and end it at the server where that can be told."""
    if (target is None) is not everything:
        raise fail("say which login to end, or --all", Exit.BAD_INPUT)

    async def end() -> None:
        from corral.tools import TokenError

        targets = _targets(mcp_config)
        problems: list[str] = []
        for each in targets.all() if target is None else [targets.find(target)]:
            kept = each.kept
            targets.remember(each, forget=True)
            if kept.token is None:
                if target is not None:
                    click.echo(f"{printable(each.name)}: nobody is logged in")
                continue
            try:
                told = await each.logout()
                click.echo(f"logged out of {printable(each.name)}{'' if told else _left(kept)}")
            except TokenError as error:
                problems.append(f"{each.name}: forgotten here, but not ended at the server: {error.problem}")
        if problems:
            raise fail("; ".join(problems), Exit.ERROR)

    _run(end)


def _run(work: Callable[[], Any]) -> Any:
    """Run it; failures end as everywhere, without importing the rooms that have no part in a login."""
    from corral.tools import TokenError, ToolError

    try:
        return anyio.run(work)
    except (TokenError, OSError) as error:  # what the world did, and not what was written
        raise fail(printable(str(error)), Exit.ERROR) from error
    except ToolError as error:
        raise fail(printable(str(error)), Exit.BAD_INPUT) from error


def _targets(config: Path | None) -> Targets:
    settings = read_settings()
    return Targets(config, settings, cache(partial(token_store, settings)))


def _show_page(opens: bool, url: str) -> None:
    click.echo(f"Log in on this page:\n\n    {printable(url)}\n", err=True)
    if opens and _has_browser():
        webbrowser.open(url)


def _show_code(url: str, code: str) -> None:
    click.echo(
        f"Log in on this page, on any device:\n\n    {printable(url)}\n\nThe code is {printable(code)}", err=True
    )


def _has_browser() -> bool:
    """A browser of a desktop: one that runs in the terminal would write over what is said there."""
    if os.environ.get("BROWSER") or sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _state(target: Target) -> dict[str, Any]:
    kept = target.kept
    token = kept.token
    about: dict[str, Any] = {"name": target.name, "ok": True, "until": "", "scopes": ""}
    if not target.has_person:
        return about | {"state": "needs no person"}
    if token is not None:
        about["scopes"] = f"  {token.scope}" if token.scope else ""
        about["until"] = _until(kept)
    if token is None:
        return about | {"ok": False, "state": "nobody is logged in"}
    if token.is_usable:
        return about | {"state": "logged in"}
    if token.refresh is not None:
        return about | {"state": "logged in", "until": ", renewed when it is used"}
    return about | {"ok": False, "state": "the login has ended", "until": ""}


def _until(kept: Login) -> str:
    token = kept.token
    if token is None or token.expires_at is None:
        return ""
    if token.refresh is not None:
        return ", renewed when it is used"
    return f" until {time.strftime('%Y-%m-%d %H:%M', time.localtime(token.expires_at))}"


def _left(kept: Login) -> str:
    """What is said where the server has no way to be told."""
    token = kept.token
    until = "" if token is None or token.expires_at is None else _until_only(token.expires_at)
    return f" here; the server can't be told, and would take the token{until}"


def _until_only(expires_at: float) -> str:
    return f" until {time.strftime('%H:%M:%S', time.localtime(expires_at))}"
