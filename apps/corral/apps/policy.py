"""`corral policy`: look at a policy before it is let loose."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from corral.apps.assembly import make_toolbox, read_policy
from corral.apps.failures import Exit, explained, fail
from corral.apps.terminal import printable

if TYPE_CHECKING:
    from corral.policy import Policy
    from corral.tools import Toolbox

__all__ = ["policy"]

_FILE = click.Path(path_type=Path)


@click.group()
def policy() -> None:
    """Check, explain, test, compare and export policies: files, or presets such as unattended.

    \b
    corral policy check policy.yaml
    corral policy explain policy.yaml call tool:mail/send --arg to=ann@example.org
    """


@policy.command()
@click.argument("file", metavar="FILE|PRESET")
@click.option("--mcp-config", type=click.Path(path_type=Path), help="Hold its manifests against these servers' tools.")
@click.pass_context
def check(ctx: click.Context, file: str, mcp_config: Path | None) -> None:
    """Say what is odd about FILE: shadowed, contradictory, unreachable, expired rules. Exit status 1 if any.

    With the servers at hand, also what a manifest describes and no server has, and which tools have no manifest: what
    the policy can't explain about those, it takes for untrusted.
    """
    from corral.policy import PolicyFileError
    from corral.policy import check as find

    with explained():
        try:
            read = read_policy(file)
        except PolicyFileError as error:
            raise fail("\n".join(error.all), Exit.BAD_INPUT) from error
        found = [str(finding) for finding in find(read)]
        if mcp_config is not None:
            found += anyio.run(_held_against, read, make_toolbox(mcp_config, strict=True))
    for finding in found:
        click.echo(printable(finding))
    if not found:
        click.echo("nothing odd")
    ctx.exit(Exit.ERROR if found else Exit.DONE)


async def _held_against(read: Policy, toolbox: Toolbox) -> list[str]:
    """What the policy's manifests and the servers' tools disagree about."""
    async with toolbox:
        tools = {tool.resource for tool in toolbox.tools}
    servers = {resource.partition("/")[0].removeprefix("tool:") for resource in tools}
    manifests = read.provenance.manifests
    described = {f"tool:{server}/{name}" for server, manifest in manifests.items() for name in manifest.tools}
    return [
        *(f"provenance.manifests: there is no server {server}" for server in sorted(manifests.keys() - servers)),
        *(
            f"provenance.manifests.{server}: the server has no tool {name}"
            for server in sorted(manifests.keys() & servers)
            for name in manifests[server].missing({tool.removeprefix(f"tool:{server}/") for tool in tools})
        ),
        *(f"{tool}: no manifest describes it" for tool in sorted(tools - described)),
    ]


@policy.command()
@click.argument("file", metavar="FILE|PRESET")
@click.argument("verb")
@click.argument("resource")
@click.option("--arg", "arguments", multiple=True, metavar="NAME=VALUE", help="An argument; JSON, or else text.")
@click.option("--principal", default="agent:main", show_default=True)
@click.option("--user", default="user:local", show_default=True)
@click.option("--read-only", is_flag=True, help="As if it were declared to change nothing.")
@click.pass_context
def explain(
    ctx: click.Context,
    file: str,
    verb: str,
    resource: str,
    arguments: tuple[str, ...],
    principal: str,
    user: str,
    read_only: bool,
) -> None:
    """Say what FILE says of one action, which rule decided, and what would change it.

    The exit status is 0 where it is allowed, 3 where it is denied or a person is asked.
    """
    from corral.policy import Action, Verdict
    from corral.policy import explain as explanation

    with explained():
        loaded = read_policy(file)
    try:
        action = Action(resource, verb, principal, user, dict(map(_argument, arguments)), read_only=read_only)
    except ValueError as error:
        raise fail(str(error), Exit.BAD_INPUT) from error
    said = explanation(loaded, action)
    click.echo(printable(str(said)))
    ctx.exit(Exit.DONE if said.judgement.verdict is Verdict.ALLOW else Exit.DENIED)


@policy.command()
@click.argument("file", metavar="FILE|PRESET")
@click.argument("cases", type=_FILE)
@click.pass_context
def test(ctx: click.Context, file: str, cases: Path) -> None:
    """Judge the actions in CASES by FILE, and compare with what each expects. Exit status 1 if one differs."""
    from corral.policy import read_cases, run_cases

    with explained():
        results = run_cases(read_policy(file), read_cases(cases))
    for result in results:
        click.echo(printable(str(result)))
    failed = sum(not result.passed for result in results)
    click.echo(f"{len(results) - failed} passed, {failed} failed")
    ctx.exit(Exit.ERROR if failed else Exit.DONE)


@policy.command()
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@click.pass_context
def diff(ctx: click.Context, old: str, new: str) -> None:
    """Say what NEW judges otherwise than OLD. Exit status 1 if it lets more happen."""
    from corral.policy import diff as changes_of
    from corral.policy import diff_settings

    with explained():
        before, now = read_policy(old), read_policy(new)
    changes = [*changes_of(before, now), *diff_settings(before, now)]
    for change in changes:
        click.echo(printable(str(change)))
    if not changes:
        click.echo("no difference was found")
    ctx.exit(Exit.ERROR if any(change.is_looser for change in changes) else Exit.DONE)


@policy.command()
@click.argument("file", metavar="FILE|PRESET")
@click.option("--cedar", "cedar", is_flag=True, required=True, help="As Cedar policies.")
def export(file: str, cedar: bool) -> None:
    """Write FILE for other engines to stdout."""
    from corral.policy import to_cedar

    with explained():
        click.echo(to_cedar(read_policy(file)))


@policy.command()
@click.argument("run")
@click.option("--yaml", "yaml", is_flag=True, help="As YAML; without, it is TOML.")
def learn(run: str, yaml: bool) -> None:
    """Propose rules from what RUN did, for a person to edit; RUN is the start of a run's id."""
    from corral.apps.runs import find_run, open_journal
    from corral.policy import as_yaml, propose_rules

    with open_journal() as journal:
        events = list(journal.events(find_run(journal, run)))
    proposed = propose_rules(_actions_of(events))
    click.echo(as_yaml(proposed) if yaml else proposed)


@policy.command()
@click.argument("server")
@click.option("--mcp-config", type=click.Path(path_type=Path), required=True, help="A JSON file with mcpServers.")
@click.option("--yaml", "yaml", is_flag=True, help="As YAML; without, it is TOML.")
def manifest(server: str, mcp_config: Path, yaml: bool) -> None:
    """Propose a manifest of the tools of SERVER, for a person to edit: what they do, and what their arguments mean."""
    from corral.agents import run_in_background
    from corral.policy import as_yaml, propose_manifest

    async def tools(box: Any) -> list[Any]:
        async with box:
            return [tool for tool in box.tools if tool.resource.startswith(f"tool:{server}/")]

    with explained():
        toolbox = make_toolbox(mcp_config, strict=True)
        found = run_in_background(lambda: tools(toolbox))
    if not found:
        raise fail(f"{mcp_config} has no server {server!r} with tools", Exit.BAD_INPUT)
    named = [(tool.resource.partition("/")[2], tool.schema_hash, tool.input_schema, tool.read_only) for tool in found]
    proposed = propose_manifest(named)
    click.echo(as_yaml(proposed) if yaml else proposed)


def _actions_of(events: list[dict[str, Any]]) -> list[Any]:
    """The actions that a run's events tell of: its model calls, its cells and its tool calls."""
    from corral.policy import Action

    started = next((event for event in events if event["type"] == "RunStarted"), None)
    if started is None:
        return []
    principal = f"agent:{started['agent']}"
    resources = {event["call_id"]: event for event in events if event["type"] == "ToolCalled"}
    actions = [Action(f"model:{started['model']}", "generate", principal)]
    actions += [Action("code:python", "execute", principal) for event in events if event["type"] == "CellStarted"]
    for event in events:
        called = resources.get(event.get("call_id", ""))
        if event["type"] == "ToolReturned" and called is not None and event["label"]["sources"]:
            # What a tool returned names its resource as the source; a call that never ran has none.
            resource = event["label"]["sources"][0]
            if resource.startswith("tool:"):
                actions.append(Action(resource, "call", principal, arguments=called["arguments"]))
    return actions


def _argument(written: str) -> tuple[str, Any]:
    name, equals, value = written.partition("=")
    if not name or not equals:
        raise fail(f"--arg {written!r} is not NAME=VALUE", Exit.BAD_INPUT)
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
