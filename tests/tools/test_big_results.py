"""Results of many megabytes: in memory once, or not at all, whichever way they come."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from corral.policy import Redactor
from corral.tools import Artifacts, HttpServer, MCPServer, Observation, StdioServer, Tool, Toolbox
from corral.tools.long_text import LongText

from .processes import Process

Perform = Callable[[Tool, dict[str, Any]], Awaitable[Observation]]
Server = Callable[..., MCPServer]
SERVERS = Path(__file__).parent / "servers"
BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "tools_big_result.py"
MEGABYTES = 24


def kept_in(folder: Path, ending: str) -> Path:
    (found,) = folder.glob(f"*{ending}")
    return found


@pytest.mark.parametrize(
    ("transport", "way", "most"),
    [
        ("stdio", "whole", MEGABYTES + 6),
        ("stdio", "spilled", 12),
        ("http", "whole", MEGABYTES + 6),
        ("events", "spilled", 12),
        ("events", "past the cap", 8),
    ],
)
def test_memory_is_bounded_by_the_result_or_by_the_cap(transport: str, way: str, most: int) -> None:
    # In a process of its own: where large texts were freed before, the allocator may move one that grows.
    command = [sys.executable, str(BENCHMARK), str(MEGABYTES), transport, way]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    match = re.search(r" (\d+\.\d+) s, +(\d+) MB more at the peak; (.*)", said)
    assert match is not None, said
    assert int(match[2]) < most
    assert float(match[1]) < 5
    match way:
        case "whole":
            assert match[3] == "24,000,000 characters shown"
        case "spilled":
            assert re.fullmatch(r"20,\d\d\d characters shown, 24,000,000 in a file", match[3])
        case _:
            assert "than 7.62" in match[3]


async def test_a_long_text_is_the_whole_text_or_its_ends(perform: Perform, server: Server, tmp_path: Path) -> None:
    async with Toolbox(server("odd")) as box:
        seen = await perform(box["odd_big"], {"size": 3_000_000})
        assert seen.text == seen.contents[0].text == "x" * 3_000_000
        assert seen.whole is None
    async with Toolbox(server("odd"), artifacts=Artifacts(tmp_path)) as box:
        seen = await perform(box["odd_big"], {"size": 3_000_000})
        assert len(seen.text) < 21_000
        assert isinstance(seen.whole, LongText)
        assert str(seen.whole) == "x" * 3_000_000
        assert seen.contents[0].text == "[a text of 3000000 characters]"


async def test_long_strings_come_wherever_they_stand(perform: Perform, server: Server) -> None:
    async with Toolbox(server("raw", "various")) as box:
        seen = await perform(box["raw_misbehave"], {})
    long = "é" * 400_000
    assert seen.text == f"{long}\nshort\n{long}"
    assert seen.structured == {"result": long}
    assert [seen.contents[0].text, seen.contents[2].resource.text] == [long, long]


@pytest.mark.parametrize(
    ("mode", "problem"),
    [
        ("halved", "the answer of 50 bytes is no JSON-RPC message and was dropped"),
        ("long half", "the answer of 1.9 MiB is no JSON and was dropped"),
        ("cut", "stopped during the call (exit status 3); whether the call took effect is unknown"),
    ],
)
async def test_an_answer_that_is_broken_off_fails_its_call_at_once(
    perform: Perform, server: Server, mode: str, problem: str
) -> None:
    async with Toolbox(server("raw", mode)) as box:
        with anyio.fail_after(10):
            seen = await perform(box["raw_misbehave"], {})
            assert seen.is_error
            assert problem in seen.text
            assert (await perform(box["raw_greet"], {})).text == "hello"


async def test_what_is_secret_is_taken_out_of_a_long_text_before_it_is_kept(
    perform: Perform, server: Server, tmp_path: Path
) -> None:
    kept = Artifacts(tmp_path, redactor=Redactor(["x" * 100]))
    async with Toolbox(server("odd"), artifacts=kept) as box:
        seen = await perform(box["odd_big"], {"size": 3_000_050})
        assert str(seen.whole) == "[secret]" * 30_000 + "x" * 50
        part = await perform(box["read_result"], {"artifact": kept_in(tmp_path, ".txt").name, "length": 9})
    assert part.text.startswith("[secret][")
    assert seen.text.startswith("[secret]" * 20)


async def test_a_token_is_hidden_in_a_long_text(perform: Perform) -> None:
    command = [sys.executable, str(SERVERS / "web.py")]
    with Process(command, r"ready (\d+)", env={"JSON_RESPONSE": "1"}) as web:
        headers = {"Authorization": "Bearer " + "x" * 1000}
        config = HttpServer(f"http://127.0.0.1:{web.port}/mcp", headers)
        async with Toolbox(MCPServer("web", config)) as box:
            seen = await perform(box["web_big"], {"size": 3_000_000})
    assert seen.text == "[hidden]" * 3000


async def test_code_gets_all_of_a_result_that_is_in_a_file(perform: Perform, tmp_path: Path) -> None:
    config = StdioServer(sys.executable, (str(SERVERS / "odd.py"),))
    async with Toolbox(MCPServer("odd", config), artifacts=Artifacts(tmp_path)) as box:
        seen = await perform(box["odd_big"], {"size": 600_000})
        assert box["odd_big"].result(seen) == "x" * 600_000
    assert kept_in(tmp_path, ".txt").read_text() == "x" * 600_000
    assert "UNTRUSTED" in kept_in(tmp_path, ".label").read_text()
