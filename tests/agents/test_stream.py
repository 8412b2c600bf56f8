import asyncio
import threading
from contextlib import aclosing
from typing import Any

import anyio
import pytest

from corral.agents import DefinitionError, Feed, ModelSpec, ReAct
from corral.agents.feed import Reader
from corral.agents.start import Start
from corral.agents.testing import Call, Reply, ScriptedServer, scripted_lm
from corral.policy import Event, RunFinished, TextDelta, ToolReturned
from corral.tools import tool

from .conftest import Recorder


async def test_text_arrives_in_pieces_and_the_last_event_is_the_end() -> None:
    with ScriptedServer(["A long answer in many pieces."]) as server:
        agent = ReAct("question -> answer", lm=ModelSpec(model="openai/m", api_base=server.url))
        events = [event async for event in agent.stream("?")]
    pieces = [event.text for event in events if isinstance(event, TextDelta)]
    assert len(pieces) > 2
    assert "".join(pieces) == "A long answer in many pieces."
    assert isinstance(events[-1], RunFinished)
    assert events[-1].outputs == {"answer": "A long answer in many pieces."}


async def test_leaving_the_stream_cancels_the_run_and_not_the_caller(recorder: Recorder) -> None:
    cancelled = anyio.Event()

    @tool(effect="read")
    async def hang() -> str:
        """Hang."""
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()
        return ""

    lm, _ = scripted_lm([Reply(calls=[Call("hang")])])
    agent = ReAct("question -> answer", [hang], lm=lm, sinks=[recorder])
    with anyio.fail_after(5):
        async with aclosing(agent.stream("?")) as events:
            async for _ in events:
                if recorder.events and type(recorder.events[-1]).__name__ == "ToolCalled":
                    break
        await cancelled.wait()
    assert recorder.of(RunFinished)[0].reason == "cancelled"


async def test_a_slow_reader_does_not_hold_the_run_up(recorder: Recorder) -> None:
    finished = anyio.Event()

    class Watch:
        def emit(self, event: object) -> None:
            if isinstance(event, RunFinished):
                finished.set()

    @tool(effect="read")
    def add(a: int) -> int:
        """Add."""
        return a

    lm, _ = scripted_lm([Reply(calls=[Call("add", {"a": n}) for n in range(50)]), "done"])
    agent = ReAct("question -> answer", [add], lm=lm, sinks=[Watch()])
    with anyio.fail_after(5):
        async with aclosing(agent.stream("?")) as events:
            first = await anext(events)
            await finished.wait()
            rest = [event async for event in events]
    assert first.seq == 1
    assert len([event for event in rest if isinstance(event, ToolReturned)]) == 50


async def test_a_run_that_can_not_start_raises_from_the_stream() -> None:
    agent = ReAct("question -> answer")
    with pytest.raises(DefinitionError):
        async for _ in agent.stream("?"):
            pass


def test_the_sync_door_works_in_plain_code_in_threads_and_inside_a_running_loop() -> None:
    lm, _ = scripted_lm(["hi"])
    agent = ReAct("question -> answer", lm=lm)
    assert agent.run_sync("?").outputs == {"answer": "hi"}

    async def inside() -> object:
        return agent.run_sync("?").outputs

    assert asyncio.run(inside()) == {"answer": "hi"}
    results: list[object] = []
    threads = [threading.Thread(target=lambda: results.append(agent.run_sync("?").outputs)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert results == [{"answer": "hi"}] * 8


async def test_an_agent_that_runs_in_one_loop_refuses_another() -> None:
    lm, _ = scripted_lm(["hi"])
    agent = ReAct("question -> answer", lm=lm)
    async with agent:
        with pytest.raises(DefinitionError, match="another event loop"):
            await anyio.to_thread.run_sync(agent.run_sync, "?")


async def test_any_number_of_readers_hear_a_run_each_at_its_own_pace() -> None:
    def script(request: Any, number: int) -> Reply:
        return Reply(calls=[Call("nothing")]) if number < 20 else Reply("done")

    feed = Feed()
    agent = ReAct("question -> answer", lm=scripted_lm(script)[0], sinks=[feed])
    heard: list[list[Event]] = [[] for _ in range(5)]
    slow_may_go_on = anyio.Event()

    async def listen(reader: Reader, number: int) -> None:
        with reader:
            async for event in reader:
                heard[number].append(event)
                if number == 0:
                    await slow_may_go_on.wait()
                if isinstance(event, RunFinished):
                    return

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(listen, feed.read(), number)
            assert (await agent.run("?")).ok
            assert len(heard[0]) <= 1
            slow_may_go_on.set()
    assert heard[0] == heard[4]
    assert [event.seq for event in heard[0]] == list(range(1, len(heard[0]) + 1))
    assert feed._readers == ()  # pyright: ignore[reportPrivateUsage]


async def test_a_reader_of_one_run_hears_no_other_and_ends_with_it() -> None:
    feed = Feed()
    agent = ReAct("question -> answer", lm=scripted_lm(["hi"])[0], sinks=[feed])
    with anyio.fail_after(5):
        reader = feed.read("wanted")
        await agent.run("?")
        await agent.start("?", {}, Start(run_id="wanted"))
        assert {event.run_id async for event in reader} == {"wanted"}
        assert [event async for event in reader] == []


def test_a_reader_in_another_thread_has_its_own_loop_and_may_vanish() -> None:
    feed = Feed()
    agent = ReAct("question -> answer", lm=scripted_lm(["hi"])[0], sinks=[feed])
    ready = threading.Event()
    kinds: list[str] = []

    async def listen() -> None:
        with feed.read() as reader:
            ready.set()
            async for event in reader:
                kinds.append(type(event).__name__)
                if isinstance(event, RunFinished):
                    return

    async def vanish() -> None:
        feed.read()

    asyncio.run(vanish())
    thread = threading.Thread(target=lambda: asyncio.run(listen()))
    thread.start()
    assert ready.wait(5)
    agent.run_sync("?")
    thread.join(5)
    assert kinds[0] == "RunStarted"
    assert kinds[-1] == "RunFinished"
    assert feed._readers == ()  # pyright: ignore[reportPrivateUsage]
