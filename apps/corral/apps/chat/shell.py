"""`!command`: a command of the person's own shell, only where a rule allows it."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress

import anyio

from corral.policy import Action, Admission, Denied, Gate, Label

__all__ = ["run_command", "why_not"]

_RESOURCE = "tool:local/shell"
_MOST_BYTES = 100_000


async def run_command(command: str, gate: Gate) -> tuple[str, int]:
    """Run a command in the person's shell; its output, both streams in order, and its exit status.

    Cancelling it kills the command and what it started.

    Args:
        gate: One that asks nobody: a command runs only where a rule allows "tool:local/shell".

    Raises:
        Denied: No rule does.
    """
    arguments = {"command": command}
    action = Action(_RESOURCE, "call", "agent:bench", arguments=arguments, labels={"command": Label.user()})

    async def effect(admission: Admission) -> tuple[str, int]:
        admission.claim(_RESOURCE, "call", arguments)
        return await _run(command)

    return await gate.perform(action, effect)


def why_not(error: Denied) -> str:
    """Why a command was refused, for the person who typed it: nobody is asked about it, although somebody is there."""
    reason = error.judgement.reason.partition("; nobody can be asked")[0]
    return (
        f"denied: {error.action.verb} {error.action.resource}: {reason}; "
        f"a command that you type is not asked about: a rule must allow {error.action.resource}"
    )


async def _run(command: str) -> tuple[str, int]:
    process = await asyncio.create_subprocess_shell(
        command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    assert process.stdout is not None
    output = bytearray()
    cut = False
    try:
        while piece := await process.stdout.read(65_536):
            cut = cut or len(output) + len(piece) > _MOST_BYTES
            output += piece[: _MOST_BYTES - len(output)]
        status = await process.wait()
    except BaseException:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with anyio.CancelScope(shield=True), anyio.move_on_after(5):
            await process.stdout.read()
            await process.wait()
        raise
    return output.decode("utf-8", "replace") + (f"\n… cut after {_MOST_BYTES} bytes" if cut else ""), status
