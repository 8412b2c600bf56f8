"""`corral init`: a small project that works."""

from __future__ import annotations

from pathlib import Path

import click

from corral.apps.failures import Exit, fail

__all__ = ["init"]

POLICY = """\
# What agents of this project may do. What no rule mentions is denied.
version: 1
rules:
  - {resource: "model:*", actions: [generate]}
  - {resource: "code:python", actions: [execute]}
  - {resource: "tool:local/word_count", actions: [call]}
  - resource: "tool:time/*"
    actions: [call]
    effect: ask
    reason: a first rule that asks a person
limits: {steps: 20, seconds: 120}
"""

MCP = """\
{
  "mcpServers": {
    "time": {"command": "uvx", "args": ["mcp-server-time", "--local-timezone", "UTC"]}
  }
}
"""

AGENT = '''\
"""An agent with a tool of its own: python agent.py openai/gpt-4o-mini "How many words are in: to be or not to be"."""

import sys

from corral.agents import ReAct
from corral.policy import Policy
from corral.tools import tool


@tool(effect="read")
def word_count(text: str) -> int:
    """Count the words of a text."""
    return len(text.split())


def make(lm) -> ReAct:
    """The agent; `lm` is a model's name, such as "openai/gpt-4o-mini", or a ModelSpec."""
    return ReAct("task -> answer", [word_count], lm=lm, policy=Policy.load("policy.yaml"))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit('usage: python agent.py MODEL TASK, such as openai/gpt-4o-mini "How many words are in: to be"')
    result = make(sys.argv[1]).run_sync(sys.argv[2])
    print(result.text or result.detail)
'''

TEST = '''\
"""The agent with a scripted model: everything but its replies is real."""

from agent import make

from corral.agents.testing import Call, Reply, scripted_lm


def test_the_agent_counts_words():
    lm, engine = scripted_lm([Reply(calls=[Call("word_count", {"text": "to be"})]), "There are 2."])
    result = make(lm).run_sync("How many words are in: to be")
    assert result.outputs == {"answer": "There are 2."}
    assert result.tool_calls == 1
'''

FILES = {"policy.yaml": POLICY, "mcp.json": MCP, "agent.py": AGENT, "test_agent.py": TEST}

NEXT = """\
Next, in {folder}:
  pytest                                     the agent, with a scripted model
  corral chat --policy policy.yaml           without a model: /tools, /call, /code
  python agent.py openai/gpt-4o-mini "How many words are in: to be or not to be"
  corral chat --mcp-config mcp.json          an MCP server, if uv is installed
"""


@click.command()
@click.argument("folder", default=".", type=click.Path(file_okay=False, path_type=Path))
def init(folder: Path) -> None:
    """Make a small working project in FOLDER: an agent, its policy, an MCP configuration, a test.

    Files that exist are never touched; if one does, nothing is written.
    """
    there = [name for name in FILES if (folder / name).exists()]
    if there:
        raise fail(f"{folder} has {', '.join(there)} already; nothing was written", Exit.BAD_INPUT)
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
        click.echo(f"wrote {folder / name}")
    click.echo(NEXT.format(folder=folder.resolve()))
