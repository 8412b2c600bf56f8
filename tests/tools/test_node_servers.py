"""The reference servers of MCP, on Node."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from corral.tools import (
    Elicitation,
    Handlers,
    LogEntry,
    MCPServer,
    Observation,
    Progress,
    StdioServer,
    Tool,
    Toolbox,
    reporting,
)

pytestmark = pytest.mark.node

Perform = Callable[[Tool, dict[str, Any]], Awaitable[Observation]]
NodeServer = Callable[..., StdioServer]


class Listener:
    """Hears of calls, and answers forms with a name, and URLs with yes."""

    def __init__(self) -> None:
        self.steps: list[Progress] = []
        self.entries: list[LogEntry] = []
        self.asked: list[Elicitation] = []

    def progress(self, progress: Progress) -> None:
        self.steps.append(progress)

    def log(self, entry: LogEntry) -> None:
        self.entries.append(entry)

    async def elicit(self, elicitation: Elicitation) -> dict[str, Any] | bool:
        self.asked.append(elicitation)
        return elicitation.filled({"name": "Ada"}) if elicitation.schema is not None else True


async def test_server_everything_sends_contents_of_all_kinds(perform: Perform, node_server: NodeServer) -> None:
    async with Toolbox(MCPServer("everything", node_server("everything", "stdio"))) as box:
        assert box.failures == {
            "everything/simulate-research-query": "it runs only as a task in the background, which is not supported"
        }
        assert (await perform(box["everything_echo"], {"message": "hello"})).text == "Echo: hello"
        assert box["everything_echo"].title == "Echo Tool"
        image = await perform(box["everything_get_tiny_image"], {})
        assert "[image image/png," in image.text
        assert base64.b64decode(image.contents[1].data).startswith(b"\x89PNG")
        links = await perform(box["everything_get_resource_links"], {"count": 2})
        assert "[resource link Text Resource 2: demo://resource/dynamic/text/2]" in links.text
        for kind, seen in (("Text", "This is a plaintext resource"), ("Blob", "[resource demo://resource/dynamic/b")):
            given = {"resourceType": kind, "resourceId": 1}
            assert seen in (await perform(box["everything_get_resource_reference"], given)).text
        weather = await perform(box["everything_get_structured_content"], {"location": "New York"})
        assert isinstance(weather.structured, dict)
        assert weather.structured.keys() == {"temperature", "conditions", "humidity"}
        note = await perform(box["everything_get_annotated_message"], {"messageType": "error", "includeImage": True})
        assert [(block.type, block.annotations.priority) for block in note.contents] == [("text", 1.0), ("image", 0.5)]
        for each in box.tools:
            compile(each.signature() + ("" if each.description else "\n    ..."), each.name, "exec")


async def test_who_makes_a_call_hears_its_progress_its_log_and_its_questions(
    perform: Perform, node_server: NodeServer
) -> None:
    listener = Listener()
    async with Toolbox(MCPServer("everything", node_server("everything", "stdio"))) as box:
        with reporting(listener):
            await perform(box["everything_trigger_long_running_operation"], {"duration": 0.3, "steps": 3})
            await perform(box["everything_toggle_simulated_logging"], {})
            form = await perform(box["everything_trigger_elicitation_request"], {})
            given = {"url": "https://farm.example/consent", "message": "Consent", "elicitationId": "1"}
            sent = await perform(box["everything_trigger_url_elicitation"], {**given, "errorPath": True})
        unheard = await perform(box["everything_trigger_elicitation_request"], {})
    assert [(step.tool, step.done, step.total) for step in listener.steps] == [
        ("trigger-long-running-operation", number, 3) for number in (1, 2, 3)
    ]
    assert {entry.server for entry in listener.entries} <= {"everything"}
    assert "Name: Ada" in form.text
    assert "Favorite Integer: 42" in form.text
    assert "User completed the URL elicitation flow" in sent.text
    urls = [each.url for each in listener.asked if each.schema is None]
    assert urls == ["https://modelcontextprotocol.io", "https://farm.example/consent"]
    assert "cancel" in unheard.text


async def test_a_person_may_take_longer_than_the_call(perform: Perform, node_server: NodeServer) -> None:
    async def think(elicitation: Elicitation) -> dict[str, Any]:
        await anyio.sleep(0.8)
        return elicitation.filled({"name": "Ada"})

    config = node_server("everything", "stdio")
    hurried = StdioServer(config.command, config.args, timeout=0.5)
    async with Toolbox(MCPServer("everything", hurried, handlers=Handlers(elicit=think))) as box:
        assert "Name: Ada" in (await perform(box["everything_trigger_elicitation_request"], {})).text
        slow = await perform(box["everything_trigger_long_running_operation"], {"duration": 5, "steps": 2})
        assert "ran past its limit of 0.5 s" in slow.text


async def test_resources_prompts_and_completions_are_calls_like_others(
    perform: Perform, node_server: NodeServer
) -> None:
    source = MCPServer("everything", node_server("everything", "stdio"))
    async with Toolbox(source) as box:
        listing = await perform(box["everything_list_resources"], {})
        assert "demo://resource/static/document/architecture.md  architecture.md: " in listing.text
        assert "demo://resource/dynamic/text/{resourceId}" in listing.text
        read = box["everything_read_resource"]
        assert (read.resource, read.read_only) == ("tool:everything/read_resource", False)
        assert "plaintext resource" in (await perform(read, {"uri": "demo://resource/dynamic/text/7"})).text
        assert "blob" in (await perform(read, {"uri": "demo://resource/dynamic/blob/7"})).text
        assert (await perform(read, {"uri": "demo://resource/none"})).is_error
        prompts = {prompt.name: prompt for prompt in await box.prompts()}
        assert "everything_args_prompt" not in box
        weather = prompts["everything_args_prompt"]
        assert weather.resource == "tool:everything/prompts/args-prompt"
        assert weather.input_schema["required"] == ["city"]
        assert (await perform(weather, {"city": "Oslo"})).text == "What's weather in Oslo?"
        typed = {"prompt": "completable-prompt", "argument": "department", "value": "S"}
        assert (await perform(source.completion(), typed)).structured == ["Sales", "Support"]


async def test_server_filesystem_keeps_to_its_folder(perform: Perform, node_server: NodeServer, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("remember the milk", encoding="utf-8")
    async with Toolbox(MCPServer("disk", node_server("filesystem", str(tmp_path)))) as box:
        seen = await perform(box["disk_read_text_file"], {"path": str(tmp_path / "note.txt")})
        assert (seen.is_error, seen.text) == (False, "remember the milk")
        assert (await perform(box["disk_read_text_file"], {"path": "/etc/hostname"})).is_error
        written = await perform(box["disk_write_file"], {"path": str(tmp_path / "new.txt"), "content": "hay"})
        assert not written.is_error
    assert (tmp_path / "new.txt").read_text() == "hay"


async def test_server_filesystem_takes_its_folders_from_our_roots(
    perform: Perform, node_server: NodeServer, tmp_path: Path
) -> None:
    for name in ("barn", "house"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "note.txt").write_text(name, encoding="utf-8")
    config = node_server("filesystem", str(tmp_path / "house"))
    handlers = Handlers(roots=((tmp_path / "barn").as_uri(),))
    async with Toolbox(MCPServer("disk", config, handlers=handlers)) as box:
        with anyio.fail_after(10):  # it asks for the roots after it has listed its tools
            while "barn" not in (await perform(box["disk_list_allowed_directories"], {})).text:  # noqa: ASYNC110
                await anyio.sleep(0.05)
        assert (await perform(box["disk_read_text_file"], {"path": str(tmp_path / "barn/note.txt")})).text == "barn"
        assert (await perform(box["disk_read_text_file"], {"path": str(tmp_path / "house/note.txt")})).is_error


async def test_server_memory_remembers_across_starts(perform: Perform, node_server: NodeServer, tmp_path: Path) -> None:
    config = node_server("memory")
    kept = StdioServer(config.command, config.args, env={"MEMORY_FILE_PATH": str(tmp_path / "memory.jsonl")})
    cow = {"name": "Bella", "entityType": "cow", "observations": ["brown"]}
    async with Toolbox(MCPServer("memory", kept)) as box:
        made = await perform(box["memory_create_entities"], {"entities": [cow]})
        assert made.structured == {"entities": [cow]}
    async with Toolbox(MCPServer("memory", kept)) as box:
        found = await perform(box["memory_search_nodes"], {"query": "brown"})
    assert isinstance(found.structured, dict)
    assert found.structured["entities"] == [cow]
