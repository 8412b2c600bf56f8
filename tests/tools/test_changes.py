"""What servers tell and ask between calls: changed tools, progress, questions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from corral.tools import Elicitation, Handlers, MCPServer, Observation, Progress, StdioServer, Tool, Toolbox

Perform = Callable[[Tool, dict[str, Any]], Awaitable[Observation]]
Server = Callable[..., MCPServer]


@pytest.mark.parametrize(("script", "args", "call"), [("raw", ("growing",), "misbehave"), ("lively", (), "grow")])
async def test_a_list_that_changed_is_noticed_and_taken_by_refresh(
    perform: Perform, server: Server, script: str, args: tuple[str, ...], call: str
) -> None:
    async with Toolbox(server(script, *args)) as box:
        count = len(box)
        assert not box.has_changed
        await perform(box[f"{script}_{call}"], {})
        with anyio.fail_after(10):
            while not box.has_changed:
                await anyio.lowlevel.checkpoint()
        assert len(box) == count
        await box.refresh()
        assert not box.has_changed
        assert len(box) == count + 1
        assert not (await perform(box[f"{script}_grown"], {})).is_error


async def test_a_tool_that_changed_in_a_restart_is_not_called_until_it_is_refreshed(
    perform: Perform, server: Server, tmp_path: Path
) -> None:
    async with Toolbox(server("raw", "fickle", str(tmp_path / "starts"))) as box:
        assert box["raw_greet"].description == "version 1"
        await perform(box["raw_misbehave"], {})
        with anyio.fail_after(10):
            seen = await perform(box["raw_greet"], {})
        assert seen.text == (
            "the server 'raw' was started again, and its tool 'greet' has another definition; nothing was sent to it"
        )
        assert box.has_changed
        await box.refresh()
        assert box["raw_greet"].description == "version 2"
        assert (await perform(box["raw_greet"], {})).text == "hello"


async def test_refresh_keeps_what_a_dead_source_had_and_tells_it(server: Server, perform: Perform) -> None:
    async with Toolbox(server("raw", "brittle"), MCPServer("ghost", StdioServer("no-such-command"))) as box:
        await box.refresh()
        assert len(box) == 2
        assert set(box.failures) == {"ghost"}


async def test_progress_of_a_call_is_told(server: Server, perform: Perform) -> None:
    told: list[Progress] = []
    source = server("lively")
    async with Toolbox(MCPServer("lively", source.config, handlers=Handlers(progress=told.append))) as box:
        await perform(box["lively_work"], {})
    assert [(each.server, each.tool, each.done, each.total, each.message) for each in told] == [
        ("lively", "work", 1, 2, "step 1"),
        ("lively", "work", 2, 2, "step 2"),
    ]


@pytest.mark.node
async def test_a_servers_question_goes_to_the_person(perform: Perform, node_server: Callable[..., StdioServer]) -> None:
    asked: list[Elicitation] = []
    answers: list[dict[str, Any] | bool | None] = [{"name": "Ada", "check": True}, False, None]

    async def elicit(elicitation: Elicitation) -> dict[str, Any] | bool | None:
        asked.append(elicitation)
        return answers[len(asked) - 1]

    source = MCPServer("everything", node_server("everything", "stdio"), handlers=Handlers(elicit=elicit))
    async with Toolbox(source) as box:
        tool = next(tool for tool in box if "elicit" in tool.name and "async" not in tool.name)
        seen = [await perform(tool, {}) for _ in answers]
    assert [each.server for each in asked] == ["everything"] * 3
    assert asked[0].schema is not None
    assert "name" in asked[0].schema["properties"]
    assert "Ada" in seen[0].text
    assert "declin" in seen[1].text.lower()
    assert "cancel" in seen[2].text.lower()


@pytest.mark.parametrize("how", ["cancelled", "out of time"])
async def test_a_server_hears_that_nobody_waits_for_a_call_any_more(
    perform: Perform, server: Server, tmp_path: Path, how: str
) -> None:
    note = tmp_path / "note"
    config = server("lively", timeout=0.5 if how == "out of time" else 20.0).config
    async with Toolbox(MCPServer("lively", config)) as box:
        with anyio.move_on_after(0.5):
            await perform(box["lively_linger"], {"path": str(note)})
        with anyio.fail_after(10):
            while not await anyio.Path(note).exists():  # noqa: ASYNC110 - another process
                await anyio.sleep(0.02)
        assert (await perform(box["lively_work"], {})).text == "done"


@pytest.mark.parametrize(
    ("mode", "is_error", "said"),
    [
        ("sampling", False, '"error":'),
        ("tasked", True, "answered with a task in the background, which is not supported; whether"),
    ],
)
async def test_what_is_not_supported_is_answered_and_holds_nobody_up(
    perform: Perform, server: Server, mode: str, is_error: bool, said: str
) -> None:
    async with Toolbox(server("raw", mode)) as box:
        with anyio.fail_after(10):
            seen = await perform(box["raw_misbehave"], {})
            assert (seen.is_error, said in seen.text) == (is_error, True), seen.text
            assert (await perform(box["raw_greet"], {})).text == "hello"
