"""`corral batch`: many tasks from a file, a result for each, and on again where it was interrupted."""

from __future__ import annotations

import uuid
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from corral.apps.assembly import (
    agent_options,
    choose_sandbox,
)
from corral.apps.failures import Exit, explained
from corral.apps.missing import require_tools
from corral.apps.work import Work, make_unattended, model_for, work_of

if TYPE_CHECKING:
    from corral.agents import Agent, ModelSpec, Result
    from corral.apps.ledger import Ledger
    from corral.apps.scripted import Outcome, Script
    from corral.apps.tasklist import BatchTask

__all__ = ["batch"]


@click.command()
@click.argument("tasks", type=click.Path(path_type=Path))
@agent_options
@click.option(
    "-f",
    "--file",
    "task_file",
    type=click.Path(path_type=Path),
    help="A scripted task (.yaml, .toml) or a function (.py) that every line gives inputs to.",
)
@click.option("--agent", "agent_file", type=click.Path(path_type=Path), help="An agent file, YAML, TOML or Markdown.")
@click.option("--signature", default="task -> answer", show_default=True, help="Inputs and typed outputs.")
@click.option("--results", type=click.Path(path_type=Path), help="Where results go; by default TASKS.results.jsonl.")
@click.option("--concurrency", type=click.IntRange(1, 1000), default=8, show_default=True, help="Tasks at a time.")
@click.option("--retries", type=click.IntRange(0, 10), default=1, show_default=True, help="When the model failed.")
@click.pass_context
def batch(ctx: click.Context, tasks: Path, **options: Any) -> None:
    """Run every task of TASKS, a JSON object a line: {"id": ..., "task": ...}, or the signature's inputs by name.

    A line may say what is expected: "expect": {"answer": {"contains": "hay"}}. Results are appended as tasks end.
    Started again, tasks that have a good result are left out, failed ones are tried anew, and those that were cut off
    go on from the journal without repeating what they did; a scripted task of several runs begins again. The exit
    status is 1 if some task failed.

    \b
    corral batch questions.jsonl --model openai/gpt-4o-mini --concurrency 16
    corral batch cities.jsonl -f task.yaml --agent agent.yaml
    """
    with explained(), ExitStack() as stack:
        work = work_of(ctx, options)
        model = model_for(work, options)
        from corral.apps.ledger import Ledger
        from corral.apps.tasklist import read_tasks

        results = options["results"] or tasks.with_name(f"{tasks.name}.results.jsonl")
        ledger = stack.enter_context(Ledger(results, read_tasks(tasks)))
        anyio.run(_run_all, work, ledger, model, options, stack)
    ledger.report()
    ctx.exit(Exit.ERROR if ledger.failures else Exit.DONE)


async def _run_all(
    work: Work,
    ledger: Ledger,
    model: ModelSpec | None,
    options: dict[str, Any],
    stack: ExitStack,
) -> None:
    sandbox = await choose_sandbox(options["sandbox"], options["kind"])
    try:
        agent = make_unattended(work, options, stack, model=model, signature=options["signature"], sandbox=sandbox)
        room = anyio.Semaphore(options["concurrency"])
        async with agent, anyio.create_task_group() as group:
            require_tools(agent.toolbox, agent)
            for task in ledger.todo:
                await room.acquire()
                group.start_soon(_run_one, agent, work.script, task, options["retries"], ledger, room)
    finally:
        if sandbox is not None:
            with anyio.CancelScope(shield=True):
                await sandbox.close()


async def _run_one(
    agent: Agent, script: Script | None, task: BatchTask, retries: int, ledger: Ledger, room: anyio.Semaphore
) -> None:
    from corral.agents import AgentError

    try:
        if script is not None:
            ledger.add(task, await _scripted(agent, script, task))
        else:
            ledger.add(task, await _plain(agent, task, retries, ledger))
    except AgentError as error:
        ledger.refuse(task, str(error))
    finally:
        room.release()


async def _scripted(agent: Agent, script: Script, task: BatchTask) -> Outcome:
    from corral.apps.scripted import unmet_of

    outcome = await script.run(agent, task.inputs)
    return replace(outcome, unmet=(*outcome.unmet, *unmet_of(task.expect, outcome.outputs, outcome.results)))


async def _plain(agent: Agent, task: BatchTask, retries: int, ledger: Ledger) -> Outcome:
    from corral.agents import StopReason
    from corral.apps.scripted import outcome_of, unmet_of

    result = await _continued(agent, ledger.cut_off(task))
    for _ in range(retries + 1):
        if result is not None and result.reason is not StopReason.MODEL_ERROR:
            break
        result = await _begun(agent, task, ledger)
    assert result is not None
    return outcome_of((result,), result.outputs, unmet_of(task.expect, result.outputs, (result,)))


async def _begun(agent: Agent, task: BatchTask, ledger: Ledger) -> Result:
    from corral.agents.start import Start
    from corral.apps.attached import attach

    run_id = uuid.uuid4().hex
    ledger.start(task, run_id)
    return await agent.start(None, attach(task.inputs, agent.signature.inputs, Path()), Start(run_id=run_id))


async def _continued(agent: Agent, run_id: str | None) -> Result | None:
    """The run that was cut off, gone on with; None if the journal does not have it, as it had not begun."""
    if run_id is None or agent.journal is None or run_id not in agent.journal:
        return None
    return await agent.resume(run_id)
