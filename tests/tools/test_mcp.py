"""MCP servers as sources of tools: real processes, and how they fail."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from corral.tools import (
    BadArguments,
    Effect,
    MCPServer,
    Observation,
    StdioServer,
    Tool,
    Toolbox,
    ToolSourceError,
    load_mcp_config,
)
from corral.tools.connection import Connection
from corral.tools.stdio import StdioTransport

Perform = Callable[[Tool, dict[str, Any]], Awaitable[Observation]]
Server = Callable[..., MCPServer]
IsAlive = Callable[[int], bool]


async def test_a_real_server_of_a_config_file_tells_the_time(perform: Perform, tmp_path: Path) -> None:
    path = tmp_path / "servers.json"
    entry = {"command": sys.executable, "args": ["-m", "mcp_server_time", "--local-timezone", "${ZONE:-Etc/UTC}"]}
    path.write_text(json.dumps({"mcpServers": {"time": {**entry, "trust": True}}}), encoding="utf-8")
    async with Toolbox(*load_mcp_config(path, environ={"ZONE": "Europe/Zurich"})) as box:
        assert box.failures == {}
        now = box["time_get_current_time"]
        assert (now.resource, now.effect, now.read_only) == ("tool:time/get_current_time", Effect.READ, True)
        assert "Europe/Zurich" in now.input_schema["properties"]["timezone"]["description"]
        assert now.signature().startswith("def time_get_current_time(timezone: str) -> dict:\n")
        seen = await perform(now, {"timezone": "Asia/Tokyo"})
        assert not seen.is_error
        assert seen.label.sources == {"tool:time/get_current_time"}
        assert isinstance(seen.structured, dict)
        assert seen.structured["timezone"] == "Asia/Tokyo"
        assert json.loads(seen.text) == seen.structured
        assert (await perform(now, {"timezone": "Mars/Olympus"})).is_error
        with pytest.raises(BadArguments, match="missing argument 'timezone'"):
            now.check({})


async def test_calls_over_one_connection_run_at_the_same_time(perform: Perform, server: Server) -> None:
    async with Toolbox(server("odd")) as box:
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(perform, box["odd_meet"], {})
                group.start_soon(perform, box["odd_meet"], {})


async def test_each_kind_of_content_is_named_and_kept(perform: Perform, server: Server) -> None:
    async with Toolbox(server("odd")) as box:
        seen = await perform(box["odd_mixed"], {})
    assert seen.text.splitlines() == [
        "a picture:",
        "[image image/png, 12 kB]",
        "[audio audio/wav, 3 B]",
        "[resource link notes: file:///notes.md]",
        "embedded words",
        "[resource file:///a.bin application/x-bin, 3 B]",
    ]
    assert seen.structured == {"seen": 6}
    assert [content.type for content in seen.contents][:2] == ["text", "image"]


async def test_errors_of_tool_and_server_are_observations(perform: Perform, server: Server) -> None:
    async with Toolbox(server("odd")) as box:
        failed = await perform(box["odd_fail"], {})
        assert (failed.is_error, failed.text) == (True, "no such city")
        refused = await perform(box["odd_refuse"], {})
        assert refused.is_error
        assert refused.text.startswith("MCPError: ")
        assert (await perform(box["odd_pid"], {})).text.isdigit()


async def test_a_server_sees_few_of_our_variables(
    perform: Perform, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "x")
    async with Toolbox(server("odd", env={"GIVEN": "${SECRET_TOKEN}"})) as box:
        names = (await perform(box["odd_environment"], {})).text.split()
    assert "GIVEN" in names
    assert "PATH" in names
    assert "SECRET_TOKEN" not in names


async def test_hints_count_only_from_trusted_servers_and_never_make_open_world_tools_read_only(server: Server) -> None:
    async with Toolbox(server("odd")) as box:
        assert [(each.effect, each.read_only) for each in box.tools] == [(Effect.ONCE, False)] * len(box)
        assert box["odd_pid"].annotations == {"readOnlyHint": True, "openWorldHint": False}
    async with Toolbox(server("odd", trust=True)) as box:
        assert (box["odd_pid"].effect, box["odd_pid"].read_only) == (Effect.READ, True)
        assert (box["odd_search"].effect, box["odd_search"].read_only) == (Effect.READ, False)
        assert box["odd_die_idempotently"].effect is Effect.IDEMPOTENT


async def test_a_call_past_its_limit_is_stopped_and_the_next_one_works(perform: Perform, server: Server) -> None:
    async with Toolbox(server("odd", timeout=0.3)) as box:
        start = time.perf_counter()
        seen = await perform(box["odd_wait"], {})
        assert time.perf_counter() - start < 2
        assert (
            seen.text
            == "odd_wait ran past its limit of 0.3 s and was given up; whether the call took effect is unknown"
        )
        assert not (await perform(box["odd_pid"], {})).is_error


async def test_a_server_that_dies_in_a_call_leaves_its_outcome_unknown(perform: Perform, server: Server) -> None:
    async with Toolbox(server("odd", trust=True)) as box:
        observed: list[Observation] = []

        async def wait() -> None:
            observed.append(await perform(box["odd_wait"], {}))

        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(wait)
                dead = await perform(box["odd_die"], {})
        text = "the server 'odd' stopped during the call (signal 9); whether the call took effect is unknown"
        assert (dead.is_error, dead.text) == (True, text)
        assert [each.text for each in observed] == [text]


async def test_a_server_that_died_is_started_again_by_the_next_call(perform: Perform, server: Server) -> None:
    async with Toolbox(server("odd", trust=True)) as box:
        first = await perform(box["odd_pid"], {})
        os.kill(int(first.text), signal.SIGKILL)
        with anyio.fail_after(10):
            second = await perform(box["odd_pid"], {})
        assert not second.is_error
        assert second.text != first.text


async def test_calls_that_find_a_server_dead_share_one_new_process(perform: Perform, server: Server) -> None:
    async with Toolbox(server("odd")) as box:
        first = await perform(box["odd_pid"], {})
        os.kill(int(first.text), signal.SIGKILL)
        seen: list[str] = []

        async def ask() -> None:
            seen.append((await perform(box["odd_pid"], {})).text)

        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(ask)
        # Those that were sent before the death was seen have no known outcome.
        assert len({text for text in seen if text.isdigit()}) <= 1
        assert all(text.isdigit() or "whether the call took effect is unknown" in text for text in seen)


async def test_a_repeatable_call_that_a_dying_server_lost_is_repeated_once(perform: Perform, server: Server) -> None:
    async with Toolbox(server("odd", trust=True)) as box:
        seen = await perform(box["odd_die_idempotently"], {})
    assert seen.text == ("the server 'odd' stopped during the call (signal 9); the call was repeated, and failed again")


async def test_a_server_that_crashes_again_and_again_is_left_alone(perform: Perform, server: Server) -> None:
    async with Toolbox(server("odd")) as box:
        seen = [await perform(box["odd_die"], {}) for _ in range(7)]
    assert "whether the call took effect is unknown" in seen[0].text
    assert "it has stopped too often and is left alone for" in seen[-1].text


async def test_megabytes_arrive_fast(perform: Perform, server: Server) -> None:
    async with Toolbox(server("odd")) as box:
        start = time.perf_counter()
        seen = await perform(box["odd_big"], {"size": 5_000_000})
        assert len(seen.text) == 5_000_000
        assert time.perf_counter() - start < 5


@pytest.mark.parametrize("order", ["huge-first", "huge-last"])
async def test_an_oversized_answer_fails_its_call_only(order: str, server: Server) -> None:
    config = server("raw", order).config
    transport = StdioTransport((config.command, *config.args), dict(os.environ), None, max_line_bytes=1024**2)
    connection = Connection(transport, "auto")
    await connection.open(30)
    with anyio.fail_after(10):
        with pytest.raises(Exception, match=r"the answer of 2\.9 MiB is longer than 1 MiB and was dropped"):
            await connection.call("misbehave", {})
        result = await connection.call("greet", {})
    assert result.content[0].text == "hello"
    await connection.close()


async def test_every_page_is_listed_and_what_cannot_be_offered_is_told(perform: Perform, server: Server) -> None:
    async with Toolbox(server("many")) as box:
        assert len(box) == 147
        assert [each.name for each in box.tools][:3] == ["many_tool0", "many_tool1", "many_tool2"]
        assert set(box.failures) == {"many/broken", "many/twice", "many/'two\\nlines'"}
        assert "'strnig'" in box.failures["many/broken"]
        assert box["many_twice"].description == "the first"
        assert {"same.name", "same-name"} == {
            each.resource.partition("/")[2] for each in box.tools if each.name.startswith("many_same_name_")
        }
        assert all(len(each.name) <= 64 and each.name.isidentifier() for each in box.tools)
        tree = {"tree": {"value": 1, "next": {"value": "x"}}}
        assert (await perform(box["many_recursive"], tree)).text == "recursive"
        with pytest.raises(BadArguments, match=r"'tree\.next\.value' must be integer or string"):
            box["many_recursive"].check({"tree": {"value": 1, "next": {"value": []}}})
        with pytest.raises(BadArguments, match="which is not in it"):
            box["many_remote"].check({"a": 1})
        with pytest.raises(BadArguments):
            box["many_either"].check({"id": 1, "name": "x"})


async def test_a_servers_own_filter_takes_its_own_names(server: Server) -> None:
    async with Toolbox(server("many", include=("tool1?",), exclude=("tool:many/tool11",))) as box:
        assert [each.name for each in box.tools] == [f"many_tool1{digit}" for digit in "023456789"]


async def test_a_server_of_an_old_version_works_through_junk_on_its_output(perform: Perform, server: Server) -> None:
    async with Toolbox(server("raw", "junk")) as box:
        assert box.failures == {}
        assert (await perform(box["raw_greet"], {})).text == "hello"


async def test_a_server_that_ends_on_an_unknown_method_is_asked_in_the_older_way(
    perform: Perform, server: Server
) -> None:
    async with Toolbox(server("raw", "brittle")) as box:
        assert box.failures == {}
        assert (await perform(box["raw_greet"], {})).text == "hello"


async def test_a_list_without_end_is_refused(server: Server) -> None:
    async with Toolbox(server("raw", "endless")) as box:
        assert box.failures == {
            "raw": "raw: the server can't be used: ValueError: its list of tools does not end after 100 pages"
        }


async def test_a_malformed_answer_is_an_observation(perform: Perform, server: Server) -> None:
    async with Toolbox(server("raw", "malformed")) as box:
        seen = await perform(box["raw_misbehave"], {})
        assert seen.is_error
        assert seen.text == (
            "the server 'raw' answered with what is no result (content: Input should be a valid list); "
            "whether the call took effect is unknown"
        )
        assert (await perform(box["raw_greet"], {})).text == "hello"


async def test_a_server_that_closes_its_output_has_stopped(perform: Perform, server: Server) -> None:
    async with Toolbox(server("raw", "deaf")) as box:
        with anyio.fail_after(10):
            seen = await perform(box["raw_misbehave"], {})
        assert "stopped during the call (it closed its output)" in seen.text


async def test_a_command_that_does_not_exist_is_told() -> None:
    with pytest.raises(ToolSourceError, match="ghost: the command 'no-such-command' was not found; install it"):
        async with MCPServer("ghost", StdioServer("no-such-command")):
            pass
    with pytest.raises(ToolSourceError, match="ghost: its folder '/no/such/folder' does not exist"):
        async with MCPServer("ghost", StdioServer(sys.executable, cwd="/no/such/folder")):
            pass


async def test_a_server_that_dies_at_its_start_is_told_with_its_last_words() -> None:
    config = StdioServer(sys.executable, ("-c", "raise SystemExit('the licence is missing')"))
    with pytest.raises(ToolSourceError) as caught:
        async with MCPServer("dead", config):
            pass
    assert str(caught.value) == (
        "dead: the server stopped at its start (exit status 1); it last wrote: the licence is missing"
    )


async def test_a_silent_server_is_given_up_and_killed(server: Server, is_alive: IsAlive, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with anyio.fail_after(20), pytest.raises(ToolSourceError) as caught:
        async with server("raw", "silent", str(pid_file), connect_timeout=0.7):
            pass
    assert str(caught.value) == "raw: the server did not answer within 0.7 s; it last wrote: waiting for a licence"
    assert not is_alive(int(pid_file.read_text()))


async def test_no_process_is_left_after_the_toolbox(perform: Perform, server: Server, is_alive: IsAlive) -> None:
    async with Toolbox(server("odd")) as box:
        pids = [int((await perform(box[name], {})).text) for name in ("odd_pid", "odd_child")]
        assert all(map(is_alive, pids))
    assert not any(map(is_alive, pids))


async def test_no_process_is_left_after_a_cancelled_run(perform: Perform, server: Server, is_alive: IsAlive) -> None:
    pids: list[int] = []
    with anyio.CancelScope() as scope:
        async with Toolbox(server("odd")) as box:
            pids += [int((await perform(box[name], {})).text) for name in ("odd_pid", "odd_child")]
            scope.cancel()
            await perform(box["odd_wait"], {})
    assert scope.cancelled_caught
    assert not any(map(is_alive, pids))


async def test_no_process_is_left_after_a_cancelled_start(server: Server, is_alive: IsAlive, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"

    async def start() -> None:
        async with Toolbox(server("raw", "silent", str(pid_file))):
            pytest.fail("it never answers")

    task = asyncio.create_task(start())
    with anyio.fail_after(20):
        while not pid_file.exists() or not pid_file.read_text():
            await anyio.lowlevel.checkpoint()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not is_alive(int(pid_file.read_text()))


def test_no_process_is_left_when_the_loop_ends_without_closing(server: Server, is_alive: IsAlive) -> None:
    async def forget() -> int:
        source = server("odd")
        await source.__aenter__()
        assert source._links is not None
        return int((await (await source._links.first.live()).call("pid", {})).content[0].text)

    assert not is_alive(asyncio.run(forget()))


async def test_a_killed_server_leaves_no_child_behind(perform: Perform, server: Server, is_alive: IsAlive) -> None:
    async with Toolbox(server("odd")) as box:
        child = int((await perform(box["odd_child"], {})).text)
        os.kill(int((await perform(box["odd_pid"], {})).text), signal.SIGKILL)
    assert not is_alive(child)


async def test_a_source_can_be_opened_again_but_not_twice(server: Server) -> None:
    source = server("raw", "junk")
    for _ in range(2):
        async with source:
            assert len(await source.tools()) == 2
            with pytest.raises(RuntimeError, match="is open already"):
                await source.__aenter__()


async def test_a_tool_kept_past_its_server_says_that_it_is_closed(perform: Perform, server: Server) -> None:
    async with Toolbox(server("raw", "junk")) as box:
        kept = box["raw_greet"]
    assert "the server 'raw' is closed; nothing was sent" in (await perform(kept, {})).text
