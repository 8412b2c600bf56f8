"""A remote agent, served by a2a-sdk on this machine."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from a2a.helpers.proto_helpers import new_data_part, new_task_from_user_message, new_text_message, new_text_part
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types.a2a_pb2 import AgentCapabilities, AgentCard, AgentInterface, AgentSkill
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from corral.policy import Integrity
from corral.tools import A2AAgent, Toolbox, ToolConfigError

from .conftest import Perform

HEARD: list[str] = []


class Herd(AgentExecutor):
    """Answers at once, by a task, with a question, with a failure, or with far too much."""

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        asked = context.get_user_input()
        HEARD.append(asked)
        if asked == "hello":
            await event_queue.enqueue_event(new_text_message(f"Hello! {context.context_id}"))
            return
        task = context.current_task or new_task_from_user_message(context.message)
        await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, task.id, task.context_id)
        match asked:
            case "count":
                await updater.add_artifact([new_text_part("17 cows"), new_data_part({"cows": 17})])
                await updater.complete()
            case "which":
                await updater.requires_input(updater.new_agent_message([new_text_part("Which herd?")]))
            case "flood":
                await updater.add_artifact([new_text_part("x" * 5_000_000)])
                await updater.complete()
            case "hang":
                await asyncio.sleep(30)
            case _:
                await updater.failed(updater.new_agent_message([new_text_part("The gate is stuck.")]))

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        pass


Serve = Callable[..., Any]


@asynccontextmanager
async def served(*, elsewhere: str = "", routes: list[Route] | None = None) -> AsyncIterator[str]:
    """The agent on a port of this machine; its card may name another address."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    card = AgentCard(
        name="herd",
        description="Knows the herd.",
        version="1.0",
        supported_interfaces=[
            AgentInterface(url=elsewhere or f"{url}/a2a", protocol_binding="JSONRPC", protocol_version="1.0")
        ],
        capabilities=AgentCapabilities(streaming=True),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id="count", name="Counting", description="Counts cows.", tags=["cows"])],
    )
    handler = DefaultRequestHandler(agent_executor=Herd(), task_store=InMemoryTaskStore(), agent_card=card)
    made = routes or [*create_agent_card_routes(card), *create_jsonrpc_routes(handler, "/a2a")]
    config = uvicorn.Config(Starlette(routes=made), log_level="error", lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield url
    finally:
        server.should_exit = True
        await running
        if hasattr(handler, "aclose"):
            await handler.aclose()


async def test_an_agent_is_one_tool_that_asks_it(perform: Perform) -> None:
    HEARD.clear()
    async with served() as url, Toolbox(A2AAgent("herd", url)) as box:
        (ask,) = box.tools
        assert (ask.name, ask.resource) == ("herd_ask", "tool:herd/ask")
        assert ask.description == "Ask the agent herd. Knows the herd. It can: Counting: Counts cows."
        assert not ask.read_only
        said = await perform(ask, {"message": "hello"})
        assert said.text.startswith("Hello!")
        assert said.label.integrity is Integrity.UNTRUSTED
        again = await perform(ask, {"message": "hello", "context": "pasture-1"})
        assert again.text == "Hello! pasture-1"
        assert "17 cows" in (await perform(ask, {"message": "count"})).text
        which = await perform(ask, {"message": "which"})
        assert "Which herd?\n(it asks for more; go on with context=" in which.text
        failed = await perform(ask, {"message": "open"})
        assert (failed.is_error, failed.text) == (True, "its task is failed: The gate is stuck.")
    assert HEARD == ["hello", "hello", "count", "which", "open"]
    assert await A2AAgent("herd", url).tools() == []


async def test_one_that_hangs_or_floods_is_an_observation(perform: Perform) -> None:
    async with served() as url:
        async with Toolbox(A2AAgent("herd", url, timeout=0.5)) as box:
            said = await perform(box["herd_ask"], {"message": "hang"})
            assert said.is_error
        async with Toolbox(A2AAgent("herd", url)) as box:
            said = await perform(box["herd_ask"], {"message": "flood"})
            assert said.is_error
            assert "more than 4 MiB" in said.text
    async with Toolbox(A2AAgent("herd", url)) as box:
        assert box.tools == ()
        assert "its card can't be had" in box.failures["herd"]


async def test_a_card_sends_nobody_elsewhere() -> None:
    async with served(elsewhere="http://192.0.2.1/a2a") as url, Toolbox(A2AAgent("herd", url)) as box:
        assert "names an address on another server" in box.failures["herd"]

    async def away(request: Request) -> Response:
        return RedirectResponse("http://192.0.2.1/card")

    async with (
        served(routes=[Route("/.well-known/agent-card.json", away)]) as url,
        Toolbox(A2AAgent("herd", url)) as box,
    ):
        assert "its card can't be had" in box.failures["herd"]


def test_secrets_go_over_https() -> None:
    with pytest.raises(ToolConfigError, match="https only"):
        A2AAgent("herd", "http://herd.example", headers={"Authorization": "Bearer ${TOKEN}"})
    with pytest.raises(ToolConfigError, match="begins with https"):
        A2AAgent("herd", "ftp://herd.example")
