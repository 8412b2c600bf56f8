"""`corral memory`: what agents remember, for the person whom it is about."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import click

from corral.apps.assembly import NO_MODEL, model_of, read_settings
from corral.apps.failures import Exit, explained, fail
from corral.apps.terminal import printable

if TYPE_CHECKING:
    from corral.memory import Memory, Receipt, Recollection, Scope, SharedStore
    from corral.policy import Gate, Limits

__all__ = ["memory"]

T = TypeVar("T")
Use = Callable[["Memory", "Scope", "Gate"], Awaitable[T]]


@dataclass(frozen=True)
class Whose:
    """Whose memory it is, and the server that it shares facts through."""

    user: str
    agent: str
    shared: SharedStore | None = None


@click.group()
@click.option("--agent", default="main", show_default=True, help="Whose memory: the agent's name, or its file.")
@click.option("--user", default="local", show_default=True, help="Whose memory: the user's name.")
@click.pass_context
def memory(ctx: click.Context, agent: str, user: str) -> None:
    """See, search, add, consolidate and forget what agents remember.

    \b
    corral memory search "where does Bruno stand"
    corral memory forget "4711"
    corral memory consolidate --model openai/gpt-4o-mini
    """
    path = Path(agent)
    if path.suffix not in (".yaml", ".yml", ".toml", ".md"):
        ctx.obj = Whose(user, agent)
        return
    with explained():
        from corral.agents import AgentFile

        file = AgentFile.load(path)
    ctx.obj = Whose(user, file.name, file.shared)


as_json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable, a line of JSON each.")


@memory.command("list")
@as_json_option
@click.pass_obj
def list_memories(whose: Whose, as_json: bool) -> None:
    """List all memories, the oldest first."""

    async def use(memory: Memory, scope: Scope, gate: Gate) -> list[dict[str, Any]]:
        return await _export(memory, scope, gate)

    lines = _run(whose, use)
    for line in lines:
        click.echo(_json(line) if as_json else printable(_summary(line)))
    if not lines:
        _say_empty(whose)


@memory.command()
@click.argument("query")
@click.option("-k", type=click.IntRange(min=1), default=8, show_default=True, help="At the most.")
@click.option("--untrusted", is_flag=True, help="Also what came from tools and the web; it is only data.")
@as_json_option
@click.pass_obj
def search(whose: Whose, query: str, k: int, untrusted: bool, as_json: bool) -> None:
    """Find memories as a run would, with their trust and why they were found."""

    async def use(memory: Memory, scope: Scope, gate: Gate) -> list[Recollection]:
        action = memory.action("read", scope, arguments={"query": query})
        return await gate.perform(
            action, lambda admission: memory.recall(query, scope, k=k, untrusted=untrusted, admission=admission)
        )

    found = _run(whose, use)
    for one in found:
        trust = one.label.integrity.name.lower()
        if as_json:
            click.echo(_json({**asdict(one), "label": trust, "sources": sorted(one.label.sources)}))
            continue
        click.echo(printable(f"{one.id}  {_when(one.at)}  {one.actor}: {one.text}  ({trust}; {one.why})"))
    if not found:
        click.echo("nothing like that is remembered", err=True)


@memory.command()
@click.argument("id")
@as_json_option
@click.pass_obj
def show(whose: Whose, id: str, as_json: bool) -> None:
    """Show one memory whole: where it came from, what it was drawn from, and what it said before.

    ID is a memory's id, or the start of one.
    """

    async def use(memory: Memory, scope: Scope, gate: Gate) -> list[dict[str, Any]]:
        return await _export(memory, scope, gate)

    found = [line for line in _run(whose, use) if line["id"].startswith(id)]
    if len(found) != 1:
        many = f"{len(found)} memories begin with {id!r}: give more of the id"
        raise fail(many if found else f"no memory {id!r} here; `corral memory list` has the ids", Exit.BAD_INPUT)
    (line,) = found
    if as_json:
        click.echo(_json(line))
        return
    for name, value in _details(line):
        click.echo(printable(f"{name}: {value}"))


@memory.command()
@click.argument("fact")
@as_json_option
@click.pass_obj
def add(whose: Whose, fact: str, as_json: bool) -> None:
    """Add a fact that holds from now on."""
    from corral.policy import Label

    async def use(memory: Memory, scope: Scope, gate: Gate) -> Receipt:
        action = memory.action("write", scope, layer="long", arguments={"text": fact}, labels={"text": Label.user()})
        return await gate.perform(
            action, lambda admission: memory.learn(fact, scope, label=Label.user(), admission=admission)
        )

    ids = _run(whose, use).ids
    if not ids:
        raise fail("there is nothing to add", Exit.BAD_INPUT)
    click.echo(_json({"ids": ids}) if as_json else " ".join(ids))


@memory.command()
@click.argument("subject", required=False)
@click.option("--id", "ids", multiple=True, help="This memory; may be given several times.")
@click.option("--session", help="All that was said in this session.")
@click.option("--expired", is_flag=True, help="All that has expired.")
@click.option("--all", "everything", is_flag=True, help="All of this user's memory with this agent.")
@as_json_option
@click.pass_obj
def forget(
    whose: Whose,
    subject: str | None,
    ids: tuple[str, ...],
    session: str | None,
    expired: bool,
    everything: bool,
    as_json: bool,
) -> None:
    """Erase every copy of what contains SUBJECT, or of what the options name; say how many there were."""
    if not (subject or ids or session or expired or everything):
        raise click.UsageError("say what to forget: SUBJECT, --id, --session, --expired or --all")

    async def use(memory: Memory, scope: Scope, gate: Gate) -> Receipt:
        named = {"subject": subject, "ids": list(ids), "session": session, "expired": expired, "all": everything}
        action = memory.action("delete", scope, arguments={name: value for name, value in named.items() if value})
        return await gate.perform(
            action,
            lambda admission: memory.forget(
                subject,
                scope,
                ids=ids,
                session=session,
                expired=expired,
                everything=everything,
                admission=admission,
            ),
        )

    receipt = _run(whose, use)
    copies = {kind: count for kind, count in receipt.copies.items() if count}
    if as_json:
        click.echo(_json({"ids": receipt.ids, "copies": copies, "complete": receipt.complete}))
        return
    erased = (
        ", ".join(
            f"{count} {kind}{'s' if count > 1 and kind in ('episode', 'fact') else ''}"
            for kind, count in copies.items()
        )
        or "nothing"
    )
    left = "" if receipt.complete else "; another process is reading, so the bytes go when it is done"
    click.echo(f"erased {erased}{left}")
    if copies:
        click.echo(
            "corral: runs that said or recalled it are in the journal as before; see `corral runs prune`", err=True
        )


@memory.command()
@click.pass_obj
def export(whose: Whose) -> None:
    """Write all memories to stdout, a line of JSON each."""

    async def use(memory: Memory, scope: Scope, gate: Gate) -> list[dict[str, Any]]:
        return await _export(memory, scope, gate)

    lines = _run(whose, use)
    for line in lines:
        click.echo(_json(line))
    if not lines:
        _say_empty(whose)


@memory.command("import")
@as_json_option
@click.pass_obj
def import_memories(whose: Whose, as_json: bool) -> None:
    """Read what `export` wrote from stdin; ill-formed lines are skipped and counted."""
    lines = sys.stdin.buffer.read().decode("utf-8", "replace").splitlines()

    async def use(memory: Memory, scope: Scope, gate: Gate) -> Receipt:
        action = memory.action("write", scope, arguments={"lines": len(lines)})
        return await gate.perform(action, lambda admission: memory.import_(lines, scope, admission=admission))

    receipt = _run(whose, use)
    done = {"added": len(receipt.ids), "skipped": receipt.skipped}
    click.echo(_json(done) if as_json else ", ".join(f"{name} {count}" for name, count in done.items()))


@memory.command()
@click.option("--model", help="provider/name, such as openai/gpt-4o-mini; a cheap one may do.")
@click.option("--api-base", help="An OpenAI-compatible server, such as http://127.0.0.1:8000/v1.")
@click.option("--price", type=float, nargs=2, metavar="IN OUT", help="US dollars per million tokens.")
@click.option(
    "--most", type=click.IntRange(min=1), default=25, show_default=True, help="Model calls, of 40 turns each."
)
@click.option("--max-tokens", type=click.IntRange(min=0), help="Tokens of all model calls.")
@click.option("--max-cost", type=click.FloatRange(min=0), help="US dollars; the model's price must be known.")
@click.option("--timeout", type=click.FloatRange(min=0), help="Seconds.")
@as_json_option
@click.pass_obj
def consolidate(whose: Whose, most: int, as_json: bool, **options: Any) -> None:
    """Let a model draw facts from what was said since the last time, such as every night.

    What is done stays done, whenever it is stopped; where another process is at it, nothing is.
    """
    from corral.agents import Model
    from corral.apps.consolidation import consolidated
    from corral.policy import Limits

    spec = model_of(read_settings(), {**options, "protocol": "native"})
    if spec is None:
        click.echo(NO_MODEL, err=True)
        raise click.exceptions.Exit(Exit.BAD_INPUT)
    given = {"tokens": options["max_tokens"], "cost_usd": options["max_cost"], "seconds": options["timeout"]}
    limits = Limits.model_validate({"steps": most, **given})
    with explained():
        model = Model(spec)
    done = _run(whose, lambda memory, scope, gate: consolidated(memory, scope, gate, model, most), limits)
    click.echo(_json(done.to_json()) if as_json else printable(str(done)))
    if done.problem:
        raise fail(done.problem, done.status)


@memory.command()
@as_json_option
@click.pass_obj
def stats(whose: Whose, as_json: bool) -> None:
    """Count what is remembered."""

    async def use(memory: Memory, scope: Scope, gate: Gate) -> dict[str, Any]:
        return await memory.stats(scope)

    counts = _run(whose, use)
    if as_json:
        click.echo(_json(counts))
        return
    for name, value in counts.items():
        click.echo(f"{name}: {value}")


def _run(whose: Whose, use: Use[T], limits: Limits | None = None) -> T:
    """Use the memory below the data folder, through a gate that lets its owner do all, and writes it down."""
    from corral.memory import Memory, Scope
    from corral.policy import ChainedAudit, Gate, Limits, Policy, Redactor, SecurityPolicy

    settings = read_settings()
    owner = SecurityPolicy(resource="memory:*", actions=["read", "write", "delete"], id="owner")
    models = SecurityPolicy(resource="model:*", actions=["generate"], id="owner-models")

    async def opened() -> T:
        audit = ChainedAudit(settings.audit)
        try:
            redact = Redactor(personal=False).redact
            async with Memory(settings.memory_folder, redact=redact, shared=whose.shared) as memory:
                gate = Gate(Policy(rules=[owner, models], limits=limits or Limits()), audit=audit)
                return await use(memory, Scope(whose.user, whose.agent), gate)
        finally:
            audit.close()

    with explained():
        return anyio.run(opened)


async def _export(memory: Memory, scope: Scope, gate: Gate) -> list[dict[str, Any]]:
    from corral.policy import Admission

    async def admitted(admission: Admission) -> list[dict[str, Any]]:
        return [line async for line in memory.export(scope, admission=admission)]

    return await gate.perform(memory.action("read", scope), admitted)


def _say_empty(whose: Whose) -> None:
    click.echo(f"nothing is remembered of user {whose.user!r} with agent {whose.agent!r}", err=True)


def _summary(line: dict[str, Any]) -> str:
    kind = "" if line["kind"] == "episode" else " (fact)"
    marks = [name for name, holds in (("superseded", line["replaced_by"]), ("quarantined", _trust(line) == "untrusted"))
             if holds]  # fmt: skip
    shown = f"{line['id']}  {_when(line['at'])}  {line['actor']}{kind}: {line['text']}"
    return f"{shown}  [{', '.join(marks)}]" if marks else shown


def _details(line: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "id", line["id"]
    yield line["kind"], line["text"]
    yield "by", line["actor"]
    yield "at", _when(line["at"])
    yield "trust", _trust(line)
    yield "sources", ", ".join(line["label"]["sources"]) or "none named"
    for name in ("session", "run", "replaced_by"):
        if line[name]:
            yield name, line[name]
    if line["expires"]:
        yield "expires", _when(line["expires"])
    if line["cites"]:
        yield "drawn from", ", ".join(line["cites"])
    for change in line["history"]:
        yield f"{change['event'].lower()} {change['at']}", change["new"] or change["old"]


def _trust(line: dict[str, Any]) -> str:
    return line["label"]["integrity"]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
