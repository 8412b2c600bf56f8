"""A farm hand: an agent that is asked about one tool and denied another, behind `corral mcp serve`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from corral.agents.testing import Call, Reply, ScriptedServer

DONE = "I have done what I may"
_BARN = '''
from corral.tools import tool

@tool
def brush(animal: str) -> str:
    """Brush an animal."""
    return f"{animal} shines"

@tool
def sell(animal: str) -> str:
    """Sell an animal."""
    return f"{animal} is sold"
'''
_AGENT = """
version: 1
name: hand
signature: task -> answer
instructions: Look after the animals.
model: {{model: openai/m, api_base: {url}, api_key: none}}
tools: {{functions: ["barn_of_the_test:brush", "barn_of_the_test:sell"]}}
policy:
  rules:
    - {{resource: "model:*", actions: [generate]}}
    - {{resource: "tool:local/brush", actions: [call], effect: ask}}
    - {{resource: "tool:local/sell", actions: [call], effect: deny, reason: "nothing is sold here"}}
"""
_POLICY = """
rules:
  - {resource: 'agent:hand', actions: [delegate]}
  - {resource: 'agent:stranger', actions: [delegate], effect: deny, reason: 'strangers stay outside'}
"""


@contextmanager
def hired(folder: Path) -> Generator[Path]:
    """The folder with all that `command` names, while the model answers."""
    script = [
        Reply(calls=[Call("brush", {"animal": "Bella"})]),
        Reply(calls=[Call("sell", {"animal": "Bella"})]),
        DONE,
    ]
    with ScriptedServer(script * 4) as model:
        hand = _AGENT.format(url=model.url)
        (folder / "barn_of_the_test.py").write_text(_BARN)
        (folder / "hand.yaml").write_text(hand)
        (folder / "stranger.yaml").write_text(hand.replace("name: hand", "name: stranger"))
        (folder / "policy.yaml").write_text(_POLICY)
        yield folder


def environment(folder: Path) -> dict[str, str]:
    home = {"HOME": str(folder), "CORRAL_HOME": str(folder / "data"), "PYTHONPATH": str(folder)}
    return {"PATH": os.environ["PATH"], **home}


def command(folder: Path, *args: str) -> list[str]:
    named = ["--agent", str(folder / "hand.yaml"), "--policy", str(folder / "policy.yaml")]
    return [sys.executable, "-m", "corral.apps", "mcp", "serve", *named, *args]


def observed(folder: Path, tool: str) -> list[dict[str, Any]]:
    """The outcomes of a tool, in the audit that the server wrote."""
    records = [json.loads(line) for line in (folder / "data" / "audit.jsonl").read_text().splitlines()]
    flat = [record.get("record", record) for record in records]
    return [one for one in flat if one.get("resource") == f"tool:local/{tool}" and one.get("entry") != "intent"]
