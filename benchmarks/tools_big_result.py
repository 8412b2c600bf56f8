"""A result of 50 MB over MCP: how long it takes, and what it adds to this process's memory at the peak.

python benchmarks/tools_big_result.py [MEGABYTES]

Over stdio and HTTP (JSON, events), each in a fresh process: kept whole in memory; spilled into a file, with head and
tail shown; and past the cap of a message.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio

from corral.policy import Action, Gate, Policy, SecurityPolicy
from corral.tools import Artifacts, HttpServer, MCPServer, Observation, StdioServer, Toolbox

SERVERS = Path(__file__).parents[1] / "tests" / "tools" / "servers"
WAYS = ("whole", "spilled", "past the cap")
TRANSPORTS = ("stdio", "http", "events")


def peak() -> float:
    """Megabytes of memory that this process had at most since the last look."""
    status = Path("/proc/self/status").read_text()
    Path("/proc/self/clear_refs").write_text("5")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


@contextmanager
def server(transport: str, **options: Any) -> Generator[MCPServer]:
    if transport == "stdio":
        yield MCPServer("it", StdioServer(sys.executable, (str(SERVERS / "odd.py"),), **options))
        return
    env = {**os.environ, "JSON_RESPONSE": "1" if transport == "http" else "", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, str(SERVERS / "web.py")]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = process.stdout.readline().split()[1]
        try:
            yield MCPServer("it", HttpServer(f"http://127.0.0.1:{port}/mcp", **options))
        finally:
            process.kill()


async def measure(megabytes: int, transport: str, way: str) -> tuple[Observation, float, float]:
    """The result, seconds, and megabytes more at the peak."""
    gate = Gate(Policy(rules=[SecurityPolicy(resource="*", actions=["*"])]))
    options = {"max_message_bytes": megabytes * 333_333} if way == "past the cap" else {}
    with tempfile.TemporaryDirectory() as folder, server(transport, **options) as source:
        async with Toolbox(source, artifacts=Artifacts(folder) if way == "spilled" else None) as box:
            tool = box["it_big"]

            async def call(size: int) -> Observation:
                action = Action(tool.resource, "call", arguments={"size": size})
                return await gate.perform(action, lambda admission: tool.call({"size": size}, admission))

            await call(1000)
            peak()
            before, start = peak(), time.perf_counter()
            seen = await call(megabytes * 1_000_000)
            return seen, time.perf_counter() - start, peak() - before


def main(megabytes: int) -> None:
    for transport in TRANSPORTS:
        for way in WAYS:
            subprocess.run([sys.executable, __file__, str(megabytes), transport, way], check=True)


async def report(megabytes: int, transport: str, way: str) -> None:
    seen, seconds, added = await measure(megabytes, transport, way)
    kept = f", {len(seen.whole):,} in a file" if seen.whole else ""
    said = seen.text[:100] if seen.is_error else f"{len(seen.text):,} characters shown{kept}"
    print(f"{transport:7} {way:13} {seconds:.2f} s, {added:4.0f} MB more at the peak; {said}")  # noqa: T201


if __name__ == "__main__":
    given = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    if len(sys.argv) > 2:
        anyio.run(report, given, sys.argv[2], sys.argv[3])
    else:
        main(given)
