"""What of many or changing tools a model is offered, step by step."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import anyio

from corral.agents import CodeAct, Journal, ReAct
from corral.agents.testing import Call, Reply, scripted_lm
from corral.policy import Policy, SecurityPolicy
from corral.sandbox import MontyProvider
from corral.tools import FunctionTools, MCPServer, Observation, StdioServer, Tool, Toolbox, tool

ALLOW = Policy(rules=[SecurityPolicy(resource="*", actions=["*"])])
LIVELY = Path(__file__).parents[1] / "tools" / "servers" / "lively.py"


@tool
def mine() -> str:
    """The program's own."""
    return "mine"


def many(number: int = 40) -> FunctionTools:
    async def run(arguments: dict[str, Any]) -> Observation:
        return Observation("milked")

    animals = ["cow", *(f"animal{place}" for place in range(number - 1))]
    tools = [Tool(f"milk_{one}", f"tool:farm/milk_{one}", run, description=f"Milk the {one}.") for one in animals]
    return FunctionTools(*tools, name="farm")


def offered(request: Any) -> list[str]:
    return [function.name for function in request.tools]


async def test_a_model_is_offered_few_of_many_tools_and_what_it_finds_from_then_on() -> None:
    script = [
        Reply(calls=[Call("search_tools", {"query": "milk the cow", "limit": 1})]),
        Reply(calls=[Call("milk_cow")]),
        "done",
    ]
    lm, engine = scripted_lm(script)
    agent = ReAct("task -> answer", [mine, many()], lm=lm, policy=ALLOW)
    async with agent:
        assert (await agent.run("Milk her")).ok
        assert [offered(request) for request in engine.requests] == [
            ["mine", "search_tools"],
            ["mine", "milk_cow", "search_tools"],
            ["mine", "milk_cow", "search_tools"],
        ]
        assert "milked" in str(engine.requests[2].messages[-1])
        lm2, engine2 = scripted_lm(["done"])
        assert (await ReAct("task -> answer", agent.toolbox, lm=lm2, policy=ALLOW).run("Another run")).ok
        assert offered(engine2.requests[0]) == ["mine", "search_tools"]


async def test_a_resumed_run_is_offered_what_it_had_found(tmp_path: Path) -> None:
    search = Reply(calls=[Call("search_tools", {"query": "milk the cow", "limit": 1})])

    with Journal(tmp_path / "runs.sqlite3") as journal:
        lm, _ = scripted_lm([search, Reply("too late", delay=30)])
        with anyio.move_on_after(1):
            await ReAct("task -> answer", [many()], lm=lm, policy=ALLOW, journal=journal).run("?")
        (record,) = journal.runs()
        lm, engine = scripted_lm(["done"])
        result = await ReAct("task -> answer", [many()], lm=lm, policy=ALLOW, journal=journal).resume(record["run_id"])
    assert result.ok
    assert offered(engine.requests[0]) == ["milk_cow", "search_tools"]


async def test_code_may_search_and_call_what_it_finds() -> None:
    code = "found = search_tools(query='milk the cow', limit=1)\nprint(found, milk_cow())"
    lm, engine = scripted_lm([Reply(calls=[Call("python", {"code": code})]), "done"])
    agent = CodeAct("task -> answer", [many()], lm=lm, policy=ALLOW, sandbox=MontyProvider())
    assert (await agent.run("Milk her")).ok
    assert "def milk_cow" not in engine.requests[0].system
    assert "def search_tools" in engine.requests[0].system
    assert "['milk_cow'] milked" in str(engine.requests[1].messages[-1])
    assert "def milk_cow" in engine.requests[1].system


async def test_a_server_whose_list_grows_in_a_run_is_heard() -> None:
    source = MCPServer("lively", StdioServer(sys.executable, (str(LIVELY),)))
    script = [Reply(calls=[Call("lively_grow", {})]), Reply(calls=[Call("lively_work", {})]), "done"]
    lm, engine = scripted_lm(script)
    await ReAct("task -> answer", Toolbox(source), lm=lm, policy=ALLOW).run("Grow")
    assert "lively_grown" not in offered(engine.requests[0])
    assert "lively_grown" in offered(engine.requests[2])
