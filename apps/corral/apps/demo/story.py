"""The demo's four acts."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from anyio import to_thread

from corral.agents import Agent, CodeAct, ModelSpec, ReAct, Session
from corral.agents.testing import ScriptedServer
from corral.apps.demo import script
from corral.apps.demo.narrator import Narrator
from corral.memory import Memory
from corral.policy import ChainedAudit, Policy
from corral.sandbox import AutoProvider
from corral.tools import Endpoint, HttpTools, MCPServer, OAuthClient, StdioServer, Toolbox, ToolError
from corral.tools.testing import LoopbackOAuth

__all__ = ["tell"]

POLICY = Path(__file__).with_name("policy.yaml")


async def tell(folder: Path, with_policy: bool) -> None:
    """Tell the story; everything that it opens is closed when it returns, however it does."""
    narrator = Narrator()
    narrator.say(
        "The model's replies are scripted. Everything else is real: the MCP server, the OAuth server and its API,"
    )
    narrator.say("the sandbox, the policy, the memory and the second process.")
    policy = Policy.load(POLICY) if with_policy else Policy.safe()
    audit = ChainedAudit(folder / "audit.jsonl")
    try:
        with LoopbackOAuth() as farm:
            await _act_1(narrator, farm)
            barn = MCPServer("barn", StdioServer(sys.executable, ("-m", "corral.apps.demo.barn")))
            async with (
                Toolbox(barn, _herd(farm, farm.client_secret), strict=True) as toolbox,
                AutoProvider(build=narrator.progress) as sandbox,
            ):
                common: dict[str, Any] = {"policy": policy, "audit": audit, "sinks": [narrator], "approver": narrator}
                await _act_2(narrator, toolbox, common)
                await _act_3(narrator, toolbox, sandbox, common)
            await _act_4(narrator, folder / "memory", common)
    finally:
        audit.close()
    _epilogue(narrator, audit.path, with_policy)


async def _act_1(narrator: Narrator, farm: LoopbackOAuth) -> None:
    narrator.act("1  An API behind OAuth: first with a wrong secret, on purpose, then with the right one")
    try:
        async with Toolbox(_herd(farm, "not-the-secret"), strict=True) as toolbox:
            narrator.say(f"tools of the API: {', '.join(tool.name for tool in toolbox)}")
            await _try_token(farm, "not-the-secret", narrator)
            await _try_token(farm, farm.client_secret, narrator)
    except ToolError as error:
        narrator.say(f"  x {error}", "bold red")


async def _try_token(farm: LoopbackOAuth, secret: str, narrator: Narrator) -> None:
    """Fetch a token with `secret`, and say what the server answered; the secret itself is never shown."""
    try:
        await _auth(farm, secret).token()
    except ToolError as error:
        narrator.say(f"  x {farm.requests[-1]}: {error}", "red")
    else:
        narrator.say(f"  < {farm.requests[-1]}: a token", "green")


async def _act_2(narrator: Narrator, toolbox: Toolbox, common: dict[str, Any]) -> None:
    narrator.act("2  A ReAct agent with discovered tools, held by a policy")
    narrator.say(f"discovered: {', '.join(tool.name for tool in toolbox)}")
    with ScriptedServer(script.tools) as model:
        agent = ReAct("task -> answer", toolbox, lm=_model(model), name="shepherd", **common)
        await _turn(agent, narrator, "Can the sheep go out today? Note what you decide. We could give Flora away.")


async def _act_3(narrator: Narrator, toolbox: Toolbox, sandbox: AutoProvider, common: dict[str, Any]) -> None:
    narrator.act("3  A CodeAct agent: its Python runs in the sandbox, its calls pass the gate")
    with ScriptedServer(script.code) as model:
        agent = CodeAct("task -> hay_kg: float", toolbox, lm=_model(model), sandbox=sandbox, name="reckoner", **common)
        await _turn(agent, narrator, "How much hay do our animals need in a day?")


async def _act_4(narrator: Narrator, folder: Path, common: dict[str, Any]) -> None:
    narrator.act("4  Memory that another process finds")
    with ScriptedServer(script.recall) as model:
        async with Memory(folder) as memory:
            agent = ReAct("task -> answer", lm=_model(model), memory=memory, **common)
            await _turn(agent, narrator, "The vet comes on Thursdays at nine.")
    question = "When does the vet come?"
    narrator.say(f"a second process is asked: {question}")
    command = [sys.executable, "-m", "corral.apps.demo.second", str(folder), question]
    done = await to_thread.run_sync(
        lambda: subprocess.run(command, capture_output=True, text=True, check=True, timeout=60), abandon_on_cancel=True
    )
    narrator.say(f"  = {done.stdout.strip()}", "bold")


def _epilogue(narrator: Narrator, audit: Path, with_policy: bool) -> None:
    narrator.act("What the audit says")
    entries: Counter[str] = Counter()
    for line in audit.read_text().splitlines():
        record = json.loads(line)
        entries[record["entry"]] += 1
        if record["entry"] == "refusal":
            narrator.say(f"  refused by rule {record['rule']}: {record['verb']} {record['resource']}", "red")
    narrator.say(f"  {entries['intent']} effects, each written down before and after; {entries['refusal']} refused")
    if with_policy:
        narrator.say("`corral demo --without-policy` shows what the policy held back.", "bright_black")


async def _turn(agent: Agent, narrator: Narrator, task: str) -> None:
    narrator.say(f"you: {task}", "bold")
    await Session(agent, stream_text=True).run(task)


def _model(server: ScriptedServer) -> ModelSpec:
    return ModelSpec(model="openai/scripted", api_base=server.url)


def _auth(farm: LoopbackOAuth, secret: str) -> OAuthClient:
    return OAuthClient(
        farm.token_url, farm.client_id, secret, scopes=["herd:read", "herd:write"], resource=farm.api_url
    )


def _herd(farm: LoopbackOAuth, secret: str) -> HttpTools:
    return HttpTools(
        "herd",
        farm.api_url,
        Endpoint("animals", "GET", "/animals", "The animals, or those of a species.", {"species": str | None}),
        Endpoint("note", "POST", "/notes", "Write a note for the vet.", {"text": str}),
        Endpoint("remove", "DELETE", "/animals/{name}", "Give an animal away.", {"name": str}),
        auth=_auth(farm, secret),
    )
