"""A result of 50 MB over stdio: how long it takes, what it adds to memory, and what a cap of 16 MB makes of it.

python benchmarks/tools_big_result.py [MEGABYTES]
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import anyio

from corral.policy import Action, Gate, Policy, SecurityPolicy
from corral.tools import Artifacts, MCPServer, Observation, StdioServer, Toolbox

SCRIPT = str(Path(__file__).parents[1] / "tests" / "tools" / "servers" / "odd.py")


def peak() -> float:
    """Megabytes of memory that this process had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def measure(megabytes: int, **options: Any) -> tuple[Observation, float, float]:
    gate = Gate(Policy(rules=[SecurityPolicy(resource="*", actions=["*"])]))
    config = StdioServer(sys.executable, (SCRIPT,), **options)
    with tempfile.TemporaryDirectory() as folder:
        async with Toolbox(MCPServer("odd", config), artifacts=Artifacts(folder)) as box:
            tool, given = box["odd_big"], {"size": megabytes * 1_000_000}
            await gate.perform(Action(box["odd_pid"].resource, "call"), lambda ours: box["odd_pid"].call({}, ours))
            before, start = peak(), time.perf_counter()
            action = Action(tool.resource, "call", arguments=given)
            seen = await gate.perform(action, lambda admission: tool.call(given, admission))
            return seen, time.perf_counter() - start, peak() - before


async def main(megabytes: int) -> None:
    # The cap first: memory that was taken once is not given back to the peak.
    for name, options in ((f"cap of {megabytes // 3} MB", {"max_message_bytes": megabytes * 333_333}), ("whole", {})):
        seen, seconds, added = await measure(megabytes, **options)
        kept = f"{len(seen.whole):,} characters kept in a file" if seen.whole else seen.text[:90]
        print(f"{name:14} {seconds:.2f} s, {added:.0f} MB more at the peak; {kept}")  # noqa: T201


anyio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 50)
