"""`corral init`: a small project that works."""

from __future__ import annotations

from pathlib import Path

import click

from corral.apps.failures import Exit, fail

__all__ = ["init"]

SETTINGS = """\
# Settings of this project; `corral config show` says where each value comes from. Keys belong into .env.
# model = "openai/gpt-4o-mini"
# api_base = "http://127.0.0.1:8000/v1"
policy = "policy.yaml"
max_steps = 20
"""

AGENT = """\
# An agent: corral run --agent agent.yaml "How many words are in: to be or not to be"
name: clerk
signature: "task -> answer"
instructions: Do the task. Count words with the tool, never by yourself.
tools:
  functions: ["words:word_count"]
  # mcp: [mcp.json]
policy: policy.yaml
limits: {steps: 10, seconds: 60}
"""

WORDS = '''\
"""Tools of our own: a function with types and a docstring is one."""

from corral.tools import tool


@tool(effect="read")
def word_count(text: str) -> int:
    """Count the words of a text."""
    return len(text.split())
'''

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

TASK = """\
# A task with what is expected of it: corral run -f task.yaml
agent: agent.yaml
inputs: {text: to be or not to be}
task: "How many words are in: ${text}"
expect:
  answer: {contains: "6"}
  run.tool_calls: {min: 1}
limits: {steps: 5}
"""

TEST = '''\
"""The agent with a scripted model: everything but its replies is real."""

from corral.agents import AgentFile
from corral.agents.testing import Call, Reply, scripted_lm


def test_the_agent_counts_words():
    lm, engine = scripted_lm([Reply(calls=[Call("word_count", {"text": "to be"})]), "There are 2."])
    result = AgentFile.load("agent.yaml").make(lm=lm).run_sync("How many words are in: to be")
    assert result.outputs == {"answer": "There are 2."}
    assert result.tool_calls == 1
'''

FILES = {
    "corral.toml": SETTINGS,
    "agent.yaml": AGENT,
    "words.py": WORDS,
    "policy.yaml": POLICY,
    "mcp.json": MCP,
    "task.yaml": TASK,
    "test_agent.py": TEST,
}

NEXT = """\
Next, in {folder}:
  python -m pytest                          # the agent, with a scripted model
  corral policy check policy.yaml
  corral tools list --mcp-config mcp.json   # an MCP server's; uvx comes with uv
  corral chat --mcp-config mcp.json         # without a model: /tools, /call, /code
With a model in corral.toml, and its key in the environment:
  corral run --agent agent.yaml "How many words are in: to be or not to be"
  corral run -f task.yaml
"""


@click.command()
@click.argument("folder", default=".", type=click.Path(file_okay=False, path_type=Path))
def init(folder: Path) -> None:
    """Make a small working project in FOLDER: an agent, a tool, a policy, an MCP configuration, a task, a test.

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
