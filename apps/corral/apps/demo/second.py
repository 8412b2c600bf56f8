"""The demo's second process: it shares nothing with the first but the memory's folder."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
import click

from corral.agents import ModelSpec, ReAct, Session
from corral.agents.testing import ScriptedServer
from corral.apps.demo import script
from corral.memory import Memory

__all__ = ["ask"]


async def ask(folder: Path, question: str) -> None:
    """Ask an agent whose memory is in `folder`, and print its answer."""
    with ScriptedServer(script.recall) as server:
        async with Memory(folder) as memory:
            agent = ReAct("task -> answer", lm=ModelSpec(model="openai/scripted", api_base=server.url), memory=memory)
            result = await Session(agent).run(question)
    click.echo(result.text)


if __name__ == "__main__":
    anyio.run(ask, Path(sys.argv[1]), sys.argv[2])
