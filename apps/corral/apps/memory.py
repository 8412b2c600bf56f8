"""`corral memory`: what agents remember, for the person whom it is about."""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import click

from corral.apps.assembly import read_settings
from corral.apps.failures import Exit, explained, fail
from corral.apps.terminal import printable

if TYPE_CHECKING:
    from corral.memory import Memory, Receipt, Scope
    from corral.policy import Gate

__all__ = ["memory"]

T = TypeVar("T")
Use = Callable[["Memory", "Scope", "Gate"], Awaitable[T]]


@click.group()
@click.option("--agent", default="main", show_default=True, help="Whose memory: the agent's name.")
@click.option("--user", default="local", show_default=True, help="Whose memory: the user's name.")
@click.pass_context
def memory(ctx: click.Context, agent: str, user: str) -> None:
    """See, search, add and forget what agents remember.

    \b
    corral memory search "where does Bruno stand"
    corral memory forget "4711"
    """
    ctx.obj = (user, agent)


@memory.command("list")
@click.pass_obj
def list_memories(whose: tuple[str, str]) -> None:
    """List all memories, the oldest first."""

    async def use(memory: Memory, scope: Scope, gate: Gate) -> None:
        for line in await _export(memory, scope, gate):
            click.echo(printable(_summary(line)))

    _run(whose, use)


@memory.command()
@click.argument("query")
@click.option("-k", type=click.IntRange(min=1), default=8, show_default=True, help="At the most.")
@click.pass_obj
def search(whose: tuple[str, str], query: str, k: int) -> None:
    """Find memories as a run would."""

    async def use(memory: Memory, scope: Scope, gate: Gate) -> None:
        action = memory.action("read", scope, arguments={"query": query})
        found = await gate.perform(action, lambda admission: memory.recall(query, scope, k=k, admission=admission))
        for one in found:
            click.echo(printable(f"{one.id}  {_when(one.at)}  {one.actor}: {one.text}  ({one.why})"))

    _run(whose, use)


@memory.command()
@click.argument("fact")
@click.pass_obj
def add(whose: tuple[str, str], fact: str) -> None:
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
    click.echo(" ".join(ids))


@memory.command()
@click.argument("subject")
@click.pass_obj
def forget(whose: tuple[str, str], subject: str) -> None:
    """Erase every copy of what contains SUBJECT; say how many there were."""

    async def use(memory: Memory, scope: Scope, gate: Gate) -> Receipt:
        action = memory.action("delete", scope, arguments={"subject": subject})
        return await gate.perform(action, lambda admission: memory.forget(subject, scope, admission=admission))

    receipt = _run(whose, use)
    erased = ", ".join(f"{count} {kind}" for kind, count in receipt.copies.items() if count) or "nothing"
    left = "" if receipt.complete else "; another process is reading, so the bytes go when it is done"
    click.echo(f"erased {erased}{left}")


@memory.command()
@click.pass_obj
def export(whose: tuple[str, str]) -> None:
    """Write all memories to stdout, a line of JSON each."""

    async def use(memory: Memory, scope: Scope, gate: Gate) -> None:
        for line in await _export(memory, scope, gate):
            click.echo(json.dumps(line, ensure_ascii=False))

    _run(whose, use)


@memory.command("import")
@click.pass_obj
def import_memories(whose: tuple[str, str]) -> None:
    """Read what `export` wrote from stdin; ill-formed lines are skipped and counted."""
    lines = sys.stdin.buffer.read().decode("utf-8", "replace").splitlines()

    async def use(memory: Memory, scope: Scope, gate: Gate) -> Receipt:
        action = memory.action("write", scope, arguments={"lines": len(lines)})
        return await gate.perform(action, lambda admission: memory.import_(lines, scope, admission=admission))

    receipt = _run(whose, use)
    click.echo(f"added {len(receipt.ids)}, skipped {receipt.skipped}")


@memory.command()
@click.pass_obj
def stats(whose: tuple[str, str]) -> None:
    """Count what is remembered."""

    async def use(memory: Memory, scope: Scope, gate: Gate) -> dict[str, Any]:
        return await memory.stats(scope)

    for name, value in _run(whose, use).items():
        click.echo(f"{name}: {value}")


def _run(whose: tuple[str, str], use: Use[T]) -> T:
    """Use the memory below the data folder, through a gate that lets its owner do all, and writes it down."""
    from corral.memory import Memory, Scope
    from corral.policy import ChainedAudit, Gate, Policy, SecurityPolicy

    settings = read_settings()
    user, agent = whose
    owner = SecurityPolicy(resource="memory:*", actions=["read", "write", "delete"], id="owner")

    async def opened() -> T:
        audit = ChainedAudit(settings.audit)
        try:
            async with Memory(settings.memory_folder) as memory:
                return await use(memory, Scope(user, agent), Gate(Policy(rules=[owner]), audit=audit))
        finally:
            audit.close()

    with explained():
        return anyio.run(opened)


async def _export(memory: Memory, scope: Scope, gate: Gate) -> list[dict[str, Any]]:
    from corral.policy import Admission

    async def admitted(admission: Admission) -> list[dict[str, Any]]:
        return [line async for line in memory.export(scope, admission=admission)]

    return await gate.perform(memory.action("read", scope), admitted)


def _summary(line: dict[str, Any]) -> str:
    return f"{line.get('id', '')}  {_when(line.get('at', 0.0))}  {line.get('actor', 'fact')}: {line.get('text', '')}"


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
