"""What is kept of rendered turns is what a whole rendering gives; pins what this leans on in DSPy's vendored lm15."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import dspy
import pytest
from dspy._vendor.lm15.providers.openai_chat import OpenAIChatLM
from dspy.lm15 import (
    CacheConfig,
    Config,
    FunctionTool,
    ImagePart,
    Message,
    Request,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolResultPart,
)

from corral.agents import Model, ModelSpec, ReAct, module_tool
from corral.agents.rendering import keep_rendered, rendering_once
from corral.agents.testing import Call, Reply, ScriptedServer
from corral.tools import tool

TALK = (
    Message.user("the task"),
    Message.assistant([ThinkingPart("hm"), TextPart("a"), ToolCallPart(id="1", name="f", input={"x": [1, {"é": 0}]})]),
    Message("tool", (ToolResultPart(id="1", name="f", content=(TextPart("no"),), is_error=True),)),
    Message.developer("mind this"),
    Message.user([TextPart("look"), ImagePart(media_type="image/png", url="https://example.org/a.png")]),
    Message.assistant([ToolCallPart(id="2", name="f", input={}), ToolCallPart(id="3", name="f", input={"x": 1})]),
    Message("tool", tuple(ToolResultPart(id=n, name="f", content=(TextPart("ok"),)) for n in "23")),
    Message.assistant("done"),
)


class Counting(OpenAIChatLM):
    """Notes how many messages it was asked to render, each time."""

    def _build_messages(self, request: Request, compat: Any, **more: Any) -> list[dict[str, Any]]:
        LOG.append(len(request.messages))
        return super()._build_messages(request, compat, **more)


LOG: list[int] = []


def client() -> Any:
    made = Counting(api_key="x")
    keep_rendered(made)
    LOG.clear()
    return made


def whole(request: Request) -> bytes:
    return OpenAIChatLM(api_key="x").build_request(request, stream=False).body


def request(*messages: Message, **more: Any) -> Request:
    return Request(model="m", messages=messages, system=more.pop("system", "be good"), **more)


def test_turns_that_were_rendered_before_are_the_same_on_the_wire() -> None:
    kept = client()
    with rendering_once():
        for count in range(1, len(TALK) + 1):
            asked = request(*TALK[:count])
            assert kept.build_request(asked, stream=False).body == whole(asked)
    assert [number for number in LOG if number] == [1] * len(TALK)  # each message once


def test_what_stands_before_the_turns_may_change_between_them() -> None:
    kept, tools = client(), (FunctionTool("f", "A tool.", {"type": "object"}),)
    with rendering_once():
        for asked in (request(*TALK), request(*TALK, system="be better", tools=tools), request(*TALK, system=None)):
            assert kept.build_request(asked, stream=False).body == whole(asked)


@pytest.mark.parametrize("later", [TALK[:3], TALK[1:], (Message.user("a summary"), *TALK[5:], *TALK)])
def test_another_conversation_is_rendered_whole(later: tuple[Message, ...]) -> None:
    kept = client()
    with rendering_once():
        kept.build_request(request(*TALK), stream=False)
        assert kept.build_request(request(*later), stream=False).body == whole(request(*later))
    assert LOG[-2:] == [len(later), 0]


def test_an_equal_message_is_not_taken_for_the_one_that_was_rendered() -> None:
    kept, said = client(), Message.user("hi")
    again = replace(said)
    assert said == again
    with rendering_once():
        for message in (said, again):
            kept.build_request(request(message), stream=False)
    assert [number for number in LOG if number] == [1, 1]


def test_one_clients_turns_are_no_other_clients() -> None:
    one, other = client(), OpenAIChatLM(api_key="x", compat="groq")
    keep_rendered(other)
    asked = request(*TALK)
    with rendering_once():
        one.build_request(asked, stream=False)
        plain = OpenAIChatLM(api_key="x", compat="groq").build_request(asked, stream=False).body
        assert other.build_request(asked, stream=False).body == plain


@pytest.mark.parametrize("where", [CacheConfig(prefix="stable"), CacheConfig(prefix_until_index=0)])
def test_a_breakpoint_of_the_prompt_cache_is_where_it_would_be(where: CacheConfig) -> None:
    kept = client()
    marked, plain = request(*TALK, config=Config(cache=where)), request(*TALK)
    assert b"breakpoint" in whole(marked)
    with rendering_once():
        for asked in (plain, marked, plain):
            assert kept.build_request(asked, stream=False).body == whole(asked)


def test_outside_of_a_run_nothing_is_kept() -> None:
    kept = client()
    for _ in range(2):
        kept.build_request(request(*TALK), stream=False)
    assert LOG[0] == LOG[1] == len(TALK)


async def test_what_a_module_asks_does_not_have_the_runs_turns_rendered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[Message] = []
    build_messages: Any = OpenAIChatLM._build_messages

    def counting(self: Any, request: Request, compat: Any, **more: Any) -> Any:
        rendered.extend(request.messages)
        return build_messages(self, request, compat, **more)

    monkeypatch.setattr(OpenAIChatLM, "_build_messages", counting)

    def script(body: dict[str, Any], number: int) -> Reply:
        if "tools" not in body:
            return Reply("[[ ## answer ## ]]\nyes\n\n[[ ## completed ## ]]")
        turns = len(body["messages"])
        return Reply(calls=[Call("echo", {"question": str(turns)})]) if turns < 10 else Reply("done")

    with ScriptedServer(script) as server:
        model = Model(ModelSpec.of(model="openai/m", api_base=server.url, api_key="x"))
        predict, signature = dspy.Predict("question -> answer"), "question -> answer"
        echo = module_tool(predict, signature, name="echo", lm=model, effect="read")
        result = await ReAct(signature, [echo], lm=model).run("go")
        await model.close()
    assert result.outputs == {"answer": "done"}
    assert len(server.bodies) == 9
    for message in result.messages[:-1]:
        assert sum(message is one for one in rendered) == 1


NAMES = ("ann", "bob", "cleo")


async def test_runs_at_the_same_time_send_their_own_turns() -> None:
    @tool(effect="read")
    async def look(what: str) -> str:
        """Look something up."""
        await asyncio.sleep(0)
        return f"seen {what}"

    def script(body: dict[str, Any], number: int) -> Reply:
        name = next(name for name in NAMES if name in json.dumps(body["messages"]))
        turns = len(body["messages"])
        return Reply(calls=[Call("look", {"what": f"{name}{turns}"})]) if turns < 12 else Reply(f"bye {name}")

    with ScriptedServer(script) as server:
        model = ModelSpec.of(model="openai/m", api_base=server.url, api_key="x")
        agent = ReAct("question -> answer", [look], lm=model)
        results = await asyncio.gather(*(agent.run(name) for name in NAMES))
    assert [result.outputs for result in results] == [{"answer": f"bye {name}"} for name in NAMES]
    for body in server.bodies:
        said = json.dumps(body["messages"])
        assert [name in said for name in NAMES].count(True) == 1
    for result in results:
        last = next(b for b in reversed(server.bodies) if result.text.split()[1] in json.dumps(b["messages"]))
        asked = Request(model="m", messages=result.messages[:-1])
        assert last["messages"][1:] == json.loads(whole(asked))["messages"]
